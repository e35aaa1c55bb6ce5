"""`manage.py serve`: the web process, HTTP and WebSocket on one port."""

from __future__ import annotations

from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from aurora.warming import warm_up


class Command(BaseCommand):
    help = "Serves HTTP and WebSocket on one port."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.HOST)
        parser.add_argument("--port", type=int, default=settings.PORT)

    def handle(self, *args: Any, **options: Any) -> None:
        config = uvicorn.Config(
            "aurora.asgi:application",
            host=options["host"],
            port=options["port"],
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whose X-Forwarded-For is believed, `aurora.rest.auth` decides
            http="aurora.protocol:HttpProtocol",
            ws="realtime.protocol:WebSocketProtocol",
            ws_per_message_deflate=False,  # frames are small and many; deflating each for each client costs more than it saves
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
            ws_max_size=64 * 1024,
            timeout_graceful_shutdown=5,
            backlog=2048,
        )
        config.load()
        warm_up()
        uvicorn.Server(config).run()
