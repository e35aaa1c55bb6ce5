"""The one ASGI application: HTTP to Django's WSGI handler in request threads, WebSockets to `realtime`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aurora.settings")

from aurora.wsgi import application as wsgi_application  # isort: skip - sets Django up, which everything below needs

from channels.routing import ProtocolTypeRouter
from django.conf import settings

from aurora.bridge import WsgiBridge
from realtime.routing import application as sockets

REQUEST_THREADS = 16
"""As many requests run at once; the database pool has a connection for each of them (`settings.DATABASES`)."""

application = ProtocolTypeRouter(  # type: ignore[no-untyped-call]
    {
        "http": WsgiBridge(wsgi_application, threads=REQUEST_THREADS, max_body=settings.MAX_BODY_BYTES),
        "websocket": sockets,
    }
)
