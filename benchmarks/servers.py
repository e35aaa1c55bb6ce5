"""The bare Django of `benchmarks.bare` under the servers that the product could run on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.installation import Running, free_port, serving

_BARE = {"DJANGO_SETTINGS_MODULE": "benchmarks.bare.settings"}
_APPS = "benchmarks.bare.apps"


@contextmanager
def uvicorn(application: str) -> Iterator[Running]:
    """An application of `benchmarks.bare.apps` under uvicorn, set up as `manage.py serve` does it."""
    port = free_port()
    quiet = ["--no-access-log", "--no-server-header", "--no-proxy-headers", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", f"{_APPS}:{application}", "--port", str(port), "--lifespan", "off"]
    with serving(f"uvicorn-{application}", [*command, *quiet, "--ws", "websockets-sansio"], port, _BARE) as running:
        yield running


@contextmanager
def sockets(application: str, redis_url: str) -> Iterator[Running]:
    """An application of `benchmarks.bare.sockets` under uvicorn, its sockets set up as `manage.py serve` does it."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.bare.sockets:{application}", "--port", str(port)]
    options = ["--lifespan", "off", "--no-access-log", "--log-level", "warning", "--ws", "websockets-sansio"]
    deflate = ["--ws-per-message-deflate", "false"]
    environment = {"BENCH_REDIS_URL": redis_url, "DJANGO_SETTINGS_MODULE": ""}
    with serving(f"sockets-{application}", [*command, *options, *deflate], port, environment) as running:
        yield running


@contextmanager
def granian(application: str, interface: str) -> Iterator[Running]:
    """The same under granian, one worker; `interface` is `asginl` (ASGI without lifespan) or `wsgi`."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", interface, "--port", str(port), "--workers", "1"]
    threads = ["--blocking-threads", "16"] if interface == "wsgi" else []
    options = ["--log-level", "warning", *threads, f"{_APPS}:{application}"]
    with serving(f"granian-{application}", [*command, *options], port, _BARE) as running:
        yield running
