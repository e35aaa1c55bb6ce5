"""`manage.py drill postgres|redis|agent|worker`: takes a part down under live traffic, brings it back, and says what callers saw and what was lost."""

from __future__ import annotations

import os
import signal
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import httpx
import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils import timezone

from aurora import actors
from aurora.bus.metrics import group_standings
from aurora.embedded import drills, group, locations
from aurora.embedded.servers import Postgres, Redis, Server
from aurora.errors import AuroraError
from aurora.identity import api_keys
from aurora.ids import new_id
from aurora.observability.probe import LOOPBACK_OF
from cases import drilling
from cases.drilled_agent import DrilledAgent, NoAgent, drilled_agent

BEFORE_SECONDS, AFTER_SECONDS = 2.0, 2.0
PATIENCE_SECONDS = 90.0
"""What the product is given to come back, the spool to empty, and the groups to catch up."""

_ACTOR = actors.system("drill")


class Command(BaseCommand):
    help = "Takes a part of this local installation down while traffic goes on. Fails when anything accepted is lost or doubled."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("part", choices=["postgres", "redis", "agent", "worker"])
        parser.add_argument("--seconds", type=float, default=5.0, help="how long it stays down (default: 5)")

    def handle(self, *args: Any, **options: Any) -> None:
        _require_drillable(options["part"])
        role = "admin" if options["part"] == "agent" else "api_service"
        row, key = api_keys.create(
            name="drill", role=role, expires_at=timezone.now() + timedelta(hours=1), actor=_ACTOR
        )
        connection.close()  # this command's own must not be among what breaks
        try:
            if options["part"] == "agent":
                with drilled_agent(_address(), key) as agent:
                    self._drill("agent", options["seconds"], key, agent)
            else:
                self._drill(options["part"], options["seconds"], key)
        except NoAgent as error:
            raise CommandError(str(error)) from None
        finally:
            api_keys.revoke(key_id=row.id, actor=_ACTOR)

    def _drill(self, part: str, seconds: float, key: str, agent: DrilledAgent | None = None) -> None:
        asked = agent.agent_type if agent else None
        traffic = drilling.Traffic(_address(), key, source=f"drill-{new_id().hex[-12:]}", agent_type=asked)
        traffic.start()
        try:
            time.sleep(BEFORE_SECONDS)
            with _agent_killed(agent) if agent else _down(part):
                down_at = time.monotonic()
                self.stdout.write(f"{part} is down; traffic goes on for {seconds:g} s")
                time.sleep(seconds)
            back_at = time.monotonic()
            caught_up = _until(
                lambda: (
                    _has_caught_up(key)
                    and (agent is None or drilling.answered_again_after(traffic.seen, back_at) is not None)
                )
            )
            time.sleep(AFTER_SECONDS)
        finally:
            traffic.stop()
        is_whole = caught_up is not None and _until(lambda: _has_caught_up(key)) is not None
        self._report(part, traffic, down_at, back_at, caught_up)
        if not is_whole or not traffic.account().is_clean:
            raise CommandError("the drill failed")

    def _report(
        self, part: str, traffic: drilling.Traffic, down_at: float, back_at: float, caught_up: float | None
    ) -> None:
        account = traffic.account()
        read = drilling.first_good_read_after(traffic.seen, down_at)
        lines = [
            "",
            *drilling.table(traffic.seen, down_at=down_at, back_at=back_at),
            "",
            f"first good read after {part} went down: {'none' if read is None else f'{read:.2f} s'}",
            f"brought back, everything caught up: {'not in time' if caught_up is None else f'after {caught_up:.2f} s'}",
            f"alerts accepted {account.accepted}, lost {len(account.lost)}, doubled {len(account.doubled)}, "
            f"answers that were none of the contract's {len(account.wrong)}",
        ]
        self.stdout.write("\n".join(lines))


def _require_drillable(part: str) -> None:
    """Raises CommandError for an installation that somebody may depend on, and for one that does not run."""
    if settings.IS_PRODUCTION:
        raise CommandError("a drill is for local and test installations, and AURORA_ENV is production")
    embedded = {"postgres": settings.USES_EMBEDDED_POSTGRES, "redis": settings.USES_EMBEDDED_REDIS}
    if not embedded.get(part, True):
        raise CommandError(f"{part} is not embedded: it is not this command's to take down")
    if not group.is_running(settings.DATA_DIR):
        raise CommandError(f"nothing runs in {settings.DATA_DIR}: start `manage.py up` first")


def _down(part: str) -> AbstractContextManager[None]:
    sockets = locations.socket_dir(settings.DATA_DIR)
    servers: dict[str, Server] = {
        "postgres": Postgres(settings.DATA_DIR / "postgres", sockets),
        "redis": Redis(settings.DATA_DIR / "redis", sockets),
    }
    if part in servers:
        return _killed(part, servers[part].left_behind)
    return _killed("work", lambda: group.process_of(settings.DATA_DIR, "work"))


@contextmanager
def _killed(name: str, process: Callable[[], int | None]) -> Iterator[None]:
    """The part is killed as a crash would, and left alone by its group until the end of the block."""
    with drills.held_down(settings.DATA_DIR, name):
        pid = process()
        if pid is None:
            raise CommandError(f"{name} does not run")
        os.kill(pid, signal.SIGKILL)
        yield


@contextmanager
def _agent_killed(agent: DrilledAgent) -> Iterator[None]:
    """Its process is killed as a crash would, and begun again at the end of the block."""
    agent.kill()
    try:
        yield
    finally:
        agent.start()


def _until(condition: Callable[[], bool]) -> float | None:
    """Seconds until it held; None when it did not in time."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_SECONDS:
        if condition():
            return time.monotonic() - began
        time.sleep(0.1)
    return None


def _has_caught_up(key: str) -> bool:
    """PostgreSQL and Redis are there, nothing waits on its way between disk, outbox and groups."""
    try:
        answer = httpx.get(f"{_address()}/api/v1/system/mode", headers={"X-API-Key": key}, timeout=5)
        mode = answer.json()
        is_there = answer.status_code == 200 and mode["is_database_available"] and mode["is_bus_available"]
        return bool(
            is_there
            and not mode["spool_depth"]
            and not mode["outbox_depth"]
            and not any(standing.pending or standing.lag for standing in group_standings())
        )
    except (httpx.HTTPError, KeyError, ValueError, redis.RedisError, AuroraError):
        return False


def _address() -> str:
    host = LOOPBACK_OF.get(settings.HOST, settings.HOST)
    return f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"
