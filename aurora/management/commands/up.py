"""`manage.py up`: what `make run` ends in."""

from __future__ import annotations

import math
import secrets
import signal
import socket
import time
import urllib.error
import urllib.request
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from aurora.embedded import group, locations
from aurora.embedded.group import AlreadyRunning, Child, Group
from aurora.embedded.servers import Postgres, Redis, Server, ServerFailed
from aurora.identity import accounts
from aurora.observability import metrics
from aurora.observability.probe import LOOPBACK_OF

READY_SECONDS = 60.0
"""After so long without an answer from the web process there is a log line; the start goes on."""
DEMO_ROLES = ("analyst", "operator", "viewer")

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Runs everything in one foreground process group: embedded servers where no URL is given, web, workers. Ctrl-C stops it."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            lock = group.lock(settings.DATA_DIR)
        except AlreadyRunning as error:
            raise CommandError(str(error)) from None
        _require_free_port()
        metrics.forget_dead_processes()
        manage = str(settings.BASE_DIR / "manage.py")
        children = [Child("web", [manage, "serve"]), Child("work", [manage, "work"])]
        running = Group(_servers(), children, settings.DATA_DIR)
        _stop_on_signals(running)
        try:
            self._run(running)
        except ServerFailed as error:
            raise CommandError(str(error)) from None
        except OperationalError as error:
            raise CommandError(f"PostgreSQL does not answer: {error}") from None
        finally:
            running.stop()
            lock.close()

    def _run(self, running: Group) -> None:
        for step in (running.start_servers, _migrate):
            step()
            if running.is_stopping:
                return
        sign_in = _prepare()
        running.start_children()
        if _wait_until_ready(running):
            self._greet(sign_in)
        else:
            self._tell(_passwords(sign_in))
        running.watch()

    def _greet(self, sign_in: list[tuple[str, str]]) -> None:
        address = _address()
        lines = ["", f"  AuroraSOC is up at {address}/  (console {address}/admin/, API {address}/api/docs)"]
        lines += _passwords(sign_in) or [
            f"  sign in as {settings.BOOTSTRAP_ADMIN}; `manage.py changepassword` sets a new password"
        ]
        self._tell([*lines, "  Ctrl-C stops it.", ""])

    def _tell(self, lines: list[str]) -> None:
        if lines:
            self.stdout.write("\n".join(lines))
            self.stdout.flush()


def _servers() -> list[Server]:
    sockets = locations.socket_dir(settings.DATA_DIR)
    servers: list[Server] = []
    if settings.USES_EMBEDDED_POSTGRES:
        servers.append(Postgres(settings.DATA_DIR / "postgres", sockets))
    if settings.USES_EMBEDDED_REDIS:
        servers.append(Redis(settings.DATA_DIR / "redis", sockets))
    return servers


def _migrate() -> None:
    if MigrationExecutor(connection).migration_plan(MigrationExecutor(connection).loader.graph.leaf_nodes()):
        call_command("migrate", verbosity=0, interactive=False)


def _prepare() -> list[tuple[str, str]]:
    """On the first start accounts and demo data. Returns the sign-ins to print, which are not kept anywhere else.

    In one transaction: a start that is killed half-way leaves the next one the first, rather than an admin whose password nobody has seen.
    """
    chosen = settings.BOOTSTRAP_PASSWORD
    password = chosen or secrets.token_urlsafe(12)
    sign_in: list[tuple[str, str]] = []
    with transaction.atomic():
        if accounts.ensure_admin(username=settings.BOOTSTRAP_ADMIN, password=password):
            sign_in.append((settings.BOOTSTRAP_ADMIN, "(AURORA_BOOTSTRAP_PASSWORD)" if chosen else password))
            if not settings.IS_PRODUCTION:
                sign_in += [(role, accounts.add_demo_account(role)) for role in DEMO_ROLES]
                call_command("load_demo", verbosity=0)
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    return sign_in


def _passwords(sign_in: list[tuple[str, str]]) -> list[str]:
    return [f"  sign in as  {name:<10} {password}" for name, password in sign_in]


def _require_free_port() -> None:
    family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.HOST, settings.PORT))
        except OSError as error:
            raise CommandError(f"{settings.HOST}:{settings.PORT}: {error.strerror}; set AURORA_PORT") from None


def _address() -> str:
    """Where the web process is reached from this machine, also when it listens on all addresses."""
    host = LOOPBACK_OF.get(settings.HOST, settings.HOST)
    return f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"


def _wait_until_ready(running: Group) -> bool:
    """False when the group was asked to stop before it answered. What dies meanwhile is started again."""
    late_at = time.monotonic() + READY_SECONDS
    while not running.is_stopping:
        running.look_after_all()
        if time.monotonic() > late_at:
            log.error("web_does_not_answer", address=_address(), seconds=READY_SECONDS)
            late_at = math.inf
        try:
            with urllib.request.urlopen(f"{_address()}/health/live", timeout=2):  # noqa: S310 - our own address
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            time.sleep(0.05)
    return False


def _stop_on_signals(running: Group) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        running.ask_to_stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
