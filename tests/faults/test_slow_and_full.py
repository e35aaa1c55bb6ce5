"""The whole group while its PostgreSQL answers a few bytes at a time, or has no session left for it: slow or refusing is not away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from aurora.embedded import locations
from aurora.embedded.servers import Postgres
from aurora.rest.problems import DATABASE_UNAVAILABLE
from tests.group import RunningGroup
from tests.proxy import Proxy, Wire
from tests.waiting import until

pytestmark = pytest.mark.group

ROLE = "soc"
"""Whom the group signs in as: of a superuser no limit of sessions holds."""
READS = (
    "/alerts?limit=2",
    "/alerts?severity=high&status=new&q=powershell&limit=2",
    "/cases?limit=2",
    "/stats",
    "/iocs?limit=2",
    "/agents?limit=2",
    "/playbooks?limit=1",
    "/system/mode",
)


class Scene:
    """The running group, its server, the wire between them, and callers that were let in before."""

    def __init__(self, group: RunningGroup, server: Postgres, wire: Proxy) -> None:
        self.group, self.server, self.wire = group, server, wire
        self.api, self.console = group.api(), group.console()

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.conninfo(), autocommit=True) as session:
            cursor = session.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def deliver(self, title: str) -> httpx.Response:
        return self.api.post("/alerts", json={"title": title, "severity": "low", "source": "probe"})

    def until_stored(self, titles: list[str]) -> None:
        listed = ", ".join(f"'{title}'" for title in titles)
        until(
            lambda: (
                self.ask(f"SELECT title, count FROM cases_alert WHERE title IN ({listed}) ORDER BY title")
                == [(title, 1) for title in sorted(titles)]
            ),
            60,
            every=0.2,
        )

    def log(self) -> list[dict[str, Any]]:
        lines = self.group.log_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @contextmanager
    def without_sessions(self) -> Iterator[None]:
        """None is given, and none of those that were is left."""
        self.ask(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
        self.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")
        try:
            yield
        finally:
            self.ask(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("slow")
    server = Postgres(folder / "postgres", locations.socket_dir(folder))
    server.start()
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        session.execute(f"CREATE ROLE {ROLE} LOGIN")
        session.execute(f"ALTER DATABASE {locations.DATABASE} OWNER TO {ROLE}")
    wire = Proxy(server.sockets / ".s.PGSQL.5432").start()
    group = RunningGroup(folder / "data")
    group.environment["DATABASE_URL"] = f"postgresql://{ROLE}@127.0.0.1:{wire.port}/{locations.DATABASE}"
    group.start()
    try:
        opened = Scene(group, server, wire)
        with closing(opened.api), closing(opened.console):
            yield opened
        assert [line for line in opened.log() if line.get("code") == 500 or line["event"] == "request_failed"] == []
    finally:
        group.stop()
        wire.stop()
        server.stop()


@pytest.fixture
def dripping(scene: Scene) -> Iterator[Scene]:
    scene.wire.set(Wire.DRIP)
    yield scene
    scene.wire.set(Wire.WHOLE)
    until(lambda: scene.api.get("/system/mode").json()["is_mutations_allowed"])


def test_through_a_dripping_wire_every_read_is_answered_well(dripping):
    for path in READS:
        answer = dripping.api.get(path)
        assert answer.status_code == 200, (path, answer.text)
        body = answer.json()
        assert body.get("data_source", "database") == answer.headers.get("X-Aurora-Data-Source", "database"), path


def test_through_a_dripping_wire_nothing_that_was_accepted_is_lost_or_doubled(dripping):
    titles = [f"Dripped {number}" for number in range(3)]
    with ThreadPoolExecutor(3) as callers:
        answers = list(callers.map(dripping.deliver, titles))
    assert {answer.status_code for answer in answers} <= {201, 202}, [answer.text for answer in answers]
    case = dripping.api.post("/cases", json={"title": "Dripped case", "severity": "low"})
    assert case.status_code == 201 or (case.status_code, case.json()) == (503, {"detail": DATABASE_UNAVAILABLE})
    dripping.wire.set(Wire.WHOLE)
    dripping.until_stored(titles)


def test_through_a_dripping_wire_the_console_shows_its_pages(dripping):
    assert dripping.console.get("/admin/cases/case/").status_code == 200


def test_without_a_session_to_be_had_all_is_answered_and_it_is_named_as_what_it_is(scene):
    before = len(scene.log())
    with scene.without_sessions():
        with ThreadPoolExecutor(4) as callers:
            reads = list(callers.map(scene.api.get, READS[:4]))
        assert {answer.status_code for answer in reads} == {503}
        assert all(answer.json() == {"detail": DATABASE_UNAVAILABLE} for answer in reads)
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in reads)
        delivered = scene.deliver("Nobody had a session")
        assert (delivered.status_code, delivered.json()["spooled"]) == (202, 1)
        assert scene.api.post("/cases", json={"title": "Not kept", "severity": "low"}).status_code == 503
        assert httpx.get(f"{scene.group.base}/health/live").status_code == 200
    scene.until_stored(["Nobody had a session"])
    assert scene.ask("SELECT count(*) FROM cases_case WHERE title = 'Not kept'") == [(0,)]
    told = scene.log()[before:]
    refusals = {(line["reason"], line["sqlstate"]) for line in told if line["event"] == "database_refuses"}
    assert refusals == {("too_many_connections", "53300")}
    assert [line for line in told if line["event"] == "database_standing" and not line["is_up"]] == []


def test_with_few_sessions_many_callers_share_them(scene):
    until(lambda: scene.api.get("/cases?limit=1").status_code == 200)  # on a session that is kept
    (held,) = scene.ask(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'")[0]
    scene.ask(f"ALTER ROLE {ROLE} CONNECTION LIMIT {held}")
    try:
        with ThreadPoolExecutor(16) as callers:
            answers = list(callers.map(scene.api.get, ["/cases?limit=1"] * 64))
    finally:
        scene.ask(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")
    assert 200 in {answer.status_code for answer in answers} <= {200, 503}
    assert {answer.json()["data_source"] for answer in answers if answer.status_code == 200} == {"database"}
