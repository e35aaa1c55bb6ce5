"""The fault bench's callers: a seeded mix of what sensors, analysts, browsers and consoles do, each writing down every answer."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.group import PASSWORD, RunningGroup

PAUSE = 0.02, 0.12
PAGES = ("/admin/", "/admin/cases/alert/", "/admin/cases/case/", "/admin/agents/agent/")
LISTS = ("/alerts", "/cases", "/iocs", "/agents", "/investigations")
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as its caller saw it. `status` is 0 when none came; `titles` are the alerts that the call brought."""

    kind: str
    began: float
    seconds: float
    status: int
    titles: tuple[str, ...] = ()
    fault: str = ""
    """Why its body is none of the contract's; empty when it is."""


@dataclass(slots=True)
class Record:
    """What all callers saw."""

    answers: list[Answer] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)
    """Ids of alerts that a socket told of."""
    gaps: int = 0


class Callers:
    """All callers of one round, until `stop`."""

    def __init__(self, group: RunningGroup, key: str, token: str, console: httpx.Client, seed: int) -> None:
        self.group, self.key, self.token, self.console, self.seed = group, key, token, console, seed
        self.record = Record()
        self._stop, self._deaf, self._listens = threading.Event(), threading.Event(), threading.Event()
        self._number = iter(range(10**9))
        self._lock = threading.Lock()
        kinds = [self._socket] + [self._sensor] * 3 + [self._reader] * 2 + [self._analyst, self._page, self._signer]
        self._threads = [
            threading.Thread(target=kind, args=(random.Random(f"{seed}.{place}"),), daemon=True)
            for place, kind in enumerate(kinds)
        ]

    def start(self) -> None:
        socket, *others = self._threads
        socket.start()
        assert self._listens.wait(60), "no socket was opened"
        for thread in others:
            thread.start()

    def stop(self) -> Record:
        """All but the socket; what they saw, when each has its last answer."""
        self._stop.set()
        for thread in self._threads[1:]:
            thread.join(60)
            assert not thread.is_alive(), "a caller was never answered"
        return self.record

    def stop_listening(self) -> None:
        self._deaf.set()
        self._threads[0].join(60)

    def _sensor(self, dice: random.Random) -> None:
        """Single alerts, deliveries of several, and now and then something that must be refused."""

        def once(client: httpx.Client) -> None:
            choice = dice.random()
            if choice < 0.6:
                (title,) = titles = self._titles(1)
                self._call(client, "alert", "POST", "/alerts", titles, json=_alert(title))
            elif choice < 0.9:
                titles = self._titles(5)
                self._call(client, "bulk", "POST", "/ingest/generic", titles, json=[_alert(title) for title in titles])
            else:
                (title,) = titles = self._titles(1)
                body = _alert(title) | {"severity": "enormous"}
                self._call(client, "refused", "POST", "/alerts", titles, json=body)

        self._repeat(once, dice, {"X-API-Key": self.key})

    def _reader(self, dice: random.Random) -> None:
        def once(client: httpx.Client) -> None:
            if dice.random() < 0.2:
                self._call(client, "mode", "GET", "/system/mode")
            else:
                self._call(client, "list", "GET", f"{dice.choice(LISTS)}?limit=20")

        self._repeat(once, dice, {"X-API-Key": self.key})

    def _analyst(self, dice: random.Random) -> None:
        def once(client: httpx.Client) -> None:
            body = {"title": f"Case {next(self._number)}", "severity": "low"}
            self._call(client, "case", "POST", "/cases", json=body)

        self._repeat(once, dice, {"Authorization": f"Bearer {self.token}"})

    def _signer(self, dice: random.Random) -> None:
        def once(client: httpx.Client) -> None:
            body = {"username": "admin", "password": PASSWORD}
            self._call(client, "sign-in", "POST", "/auth/token", json=body)

        self._repeat(once, dice, {}, pause=(0.3, 0.6))

    def _page(self, dice: random.Random) -> None:
        while not self._stop.is_set():
            self._seen("page", lambda: self.console.get(dice.choice(PAGES)), (), lambda _answer: "")
            self._stop.wait(dice.uniform(0.1, 0.3))

    def _socket(self, dice: random.Random) -> None:
        last = ""
        address = f"ws://127.0.0.1:{self.group.port}/api/v1/ws/alerts"
        while not self._deaf.is_set():
            try:
                query = f"?last_event_id={last}" if last else ""
                with connect(
                    f"{address}{query}", additional_headers={"Authorization": f"Bearer {self.token}"}, open_timeout=10
                ) as socket:
                    while not self._deaf.is_set():
                        try:
                            last = self._heard(json.loads(socket.recv(timeout=0.3))) or last
                        except TimeoutError:
                            continue
            except (OSError, WebSocketException, TimeoutError):
                self._deaf.wait(0.2)

    def _heard(self, frame: dict[str, Any]) -> str:
        if frame["type"] == "hello":
            self._listens.set()
        elif frame["type"] == "gap":
            self.record.gaps += 1
        elif frame["type"] in ("alert.created", "alert.updated"):
            self.record.heard.add(frame["data"]["id"])
        return str(frame.get("id") or "")

    def _repeat(
        self,
        once: Callable[[httpx.Client], None],
        dice: random.Random,
        headers: dict[str, str],
        pause: tuple[float, float] = PAUSE,
    ) -> None:
        base = f"{self.group.base}/api/v1"
        with httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT_SECONDS) as client:
            while not self._stop.is_set():
                once(client)
                self._stop.wait(dice.uniform(*pause))

    def _call(
        self, client: httpx.Client, kind: str, method: str, path: str, titles: tuple[str, ...] = (), **options: Any
    ) -> None:
        self._seen(kind, lambda: client.request(method, path, **options), titles, lambda answer: fault_of(kind, answer))

    def _seen(
        self,
        kind: str,
        ask: Callable[[], httpx.Response],
        titles: tuple[str, ...],
        fault: Callable[[httpx.Response], str],
    ) -> None:
        began = time.monotonic()
        try:
            answer = ask()
            status, wrong = answer.status_code, fault(answer)
        except httpx.HTTPError:
            status, wrong = 0, ""
        self.record.answers.append(Answer(kind, began, time.monotonic() - began, status, titles, wrong))

    def _titles(self, count: int) -> tuple[str, ...]:
        with self._lock:
            return tuple(f"Fault {self.seed}.{next(self._number)}" for _ in range(count))


def fault_of(kind: str, answer: httpx.Response) -> str:
    """Why the body is none of the contract's shape, empty when it is."""
    try:
        body = answer.json()
    except ValueError:
        return f"{kind}: {answer.status_code} is no JSON: {answer.text[:80]}"
    if not isinstance(body, dict):
        return f"{kind}: {answer.status_code} is no object"
    if answer.status_code >= 400:
        return "" if set(body) == {"detail"} else f"{kind}: {answer.status_code} with {sorted(body)}"
    wanted = _SHAPES[kind].get(answer.status_code)
    if wanted is None:
        return f"{kind}: answered {answer.status_code}"
    is_spooled = answer.status_code == 202 and {"receipt", "received", "spooled"} == set(body)
    return "" if is_spooled or wanted <= set(body) else f"{kind}: {answer.status_code} with {sorted(body)}"


_ALERT = {"id", "title", "severity", "status", "count"}
_SHAPES: dict[str, dict[int, set[str]]] = {
    "alert": {201: _ALERT, 200: _ALERT, 202: {"receipt"}},
    "bulk": {202: {"receipt", "received", "created", "merged", "ignored", "rejected"}},
    "refused": {},
    "list": {200: {"items", "next_cursor", "total", "total_is_exact", "data_source"}},
    "mode": {200: {"mode", "is_database_available", "read_data_source", "spool_depth", "degraded_since"}},
    "case": {201: {"id", "title", "status"}},
    "sign-in": {200: {"access_token", "refresh_token", "token_type", "expires_in", "role"}},
}


def _alert(title: str) -> dict[str, Any]:
    return {"title": title, "severity": "low", "source": "faults", "affected_assets": ["ws-1"]}
