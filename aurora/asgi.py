"""The one ASGI application: HTTP to Django's WSGI handler in request threads, WebSockets to `realtime`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aurora.settings")

from channels.routing import ProtocolTypeRouter
from django.conf import settings

from aurora.bridge import WsgiBridge
from aurora.wsgi import application as wsgi_application

REQUEST_THREADS = 16
"""As many requests run at once; the database pool has a connection for each of them (`settings.DATABASES`)."""

from realtime.routing import application as sockets  # noqa: E402 - needs Django's apps, which the import above loaded

application = ProtocolTypeRouter(  # type: ignore[no-untyped-call]
    {
        "http": WsgiBridge(wsgi_application, threads=REQUEST_THREADS, max_body=settings.MAX_BODY_BYTES),
        "websocket": sockets,
    }
)
