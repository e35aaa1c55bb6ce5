"""The bare Django as every kind of application that a server can be given."""

from __future__ import annotations

import os

from a2wsgi import WSGIMiddleware
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.bare.settings"

THREADS = 16
"""As many as the product has (`aurora.asgi.REQUEST_THREADS`)."""

wsgi = get_wsgi_application()
native = get_asgi_application()
a2wsgi = WSGIMiddleware(wsgi, workers=THREADS)  # type: ignore[arg-type]

from aurora.bridge import WsgiBridge  # noqa: E402 - needs Django's apps

bridge = WsgiBridge(wsgi, threads=THREADS, max_body=10 * 1024 * 1024)
