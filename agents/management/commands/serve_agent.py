"""`manage.py serve_agent TYPE --port N`: one built-in agent as an A2A service."""

from __future__ import annotations

from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agents import served
from agents.builtin import ANALYSES
from agents.registry import OFFERED
from aurora.addresses import address_or_none


class Command(BaseCommand):
    help = "Serves one built-in agent over A2A: card, messages, streaming, task state, cancellation, health."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("agent_type", metavar="TYPE", choices=sorted(set(ANALYSES) & set(OFFERED)))
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--url", help="where others reach it, for its card; http://HOST:PORT/ by default")

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        address = address_or_none(host)
        is_local = host == "localhost" or (address is not None and address.is_loopback)
        if not is_local and not settings.AGENT_TOKEN:
            raise CommandError("Set AURORA_AGENT_TOKEN to listen on anything but loopback")
        url = options["url"] or f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        application = served.application(
            options["agent_type"], url=url, bearer=settings.AGENT_TOKEN, max_body=settings.MAX_BODY_BYTES
        )
        config = uvicorn.Config(
            application,
            host=host,
            port=port,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        uvicorn.Server(config).run()
