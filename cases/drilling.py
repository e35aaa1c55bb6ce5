"""A drill's traffic and its account: callers that go on while a part is down, what they were told, and whether all that was accepted is there once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from cases.models import Alert, AlertSighting

SENDERS, READERS = 4, 2
SEND_EVERY, READ_EVERY, ASK_EVERY = 0.1, 0.8, 6.0
"""Seconds. Agents are asked as often as the default limit lets one caller (`AURORA_RATE_INVESTIGATIONS`)."""
TIMEOUT_SECONDS = 10.0
STORED, ACCEPTED = (200, 201), (200, 201, 202)
_EXPECTED = (*ACCEPTED, 429, 503)


@dataclass(frozen=True, slots=True)
class Seen:
    """One call as its caller saw it. `status` is 0 when there was no answer; `number` is the alert's, None for a read and for a question."""

    began: float
    seconds: float
    status: int
    number: int | None
    is_shaped: bool
    is_question: bool = False
    """To an agent."""

    @property
    def is_wrong(self) -> bool:
        """An answer that the contract does not know. None at all is no answer, and nothing was promised."""
        return bool(self.status) and (self.status not in _EXPECTED or not self.is_shaped)


@dataclass(frozen=True, slots=True)
class Account:
    """What became of all alerts that were sent."""

    accepted: int
    lost: Sequence[int]
    doubled: Sequence[int]
    wrong: Sequence[Seen]

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


@dataclass(slots=True)
class Traffic:
    """Callers of the running product, until `stop`. Every sender's alerts are one alert, seen again and again; `raw_log` numbers them."""

    address: str
    key: str
    source: str
    agent_type: str | None = None
    """An agent to be asked meanwhile."""
    seen: list[Seen] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        callers = [(self._send, number) for number in range(SENDERS)] + [(self._read, 0)] * READERS
        if self.agent_type:
            callers.append((self._question, 0))
        self._threads = [threading.Thread(target=call, args=(number,), daemon=True) for call, number in callers]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when every caller has its answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def account(self) -> Account:
        """Holds what was answered against what is stored."""
        times = _stored(self.source)
        accepted = {item.number for item in self.seen if item.number is not None and item.status in ACCEPTED}
        return Account(
            accepted=len(accepted),
            lost=sorted(number for number in accepted if number not in times),
            doubled=sorted(number for number, count in times.items() if count > 1),
            wrong=[item for item in self.seen if item.is_wrong],
        )

    def _send(self, sender: int) -> None:
        number = sender
        with self._client() as client:
            while not self._stop.is_set():
                body = {"title": f"Drill, sender {sender}", "severity": "info", "source": self.source}
                self._call(client, "POST", "/alerts", number, json=body | {"raw_log": f"{number}"})
                number += SENDERS
                self._stop.wait(SEND_EVERY)

    def _read(self, _number: int) -> None:
        with self._client() as client:
            while not self._stop.is_set():
                self._call(client, "GET", "/alerts?limit=10", None)
                self._stop.wait(READ_EVERY)

    def _question(self, _number: int) -> None:
        """About one of the drill's own alerts, for most agents answer to no prompt alone."""
        with self._client() as client:
            while not (alert := self._an_alert(client)) and not self._stop.is_set():
                self._stop.wait(SEND_EVERY)
            body = {"agent_type": self.agent_type, "prompt": "Is this a drill?", "alert_id": alert}
            while not self._stop.is_set():
                self._call(client, "POST", "/orchestrator/dispatch", None, json=body)
                self._stop.wait(ASK_EVERY)

    def _an_alert(self, client: httpx.Client) -> str | None:
        try:
            items = client.get("/alerts", params={"source": self.source, "limit": 1}).raise_for_status().json()["items"]
        except httpx.HTTPError:
            return None
        return str(items[0]["id"]) if items else None

    def _call(self, client: httpx.Client, method: str, path: str, number: int | None, **options: Any) -> None:
        is_question = path == "/orchestrator/dispatch"
        began = time.monotonic()
        try:
            answer = client.request(method, path, **options)
            named = "output" if is_question else "items" if number is None else "id"
            status, is_shaped = answer.status_code, _is_shaped(answer, named)
        except httpx.HTTPError:
            status, is_shaped = 0, True
        self.seen.append(Seen(began, time.monotonic() - began, status, number, is_shaped, is_question))

    def _client(self) -> httpx.Client:
        headers = {"X-API-Key": self.key}
        return httpx.Client(base_url=f"{self.address}/api/v1", headers=headers, timeout=TIMEOUT_SECONDS)


def table(seen: Iterable[Seen], *, down_at: float, back_at: float) -> list[str]:
    """Lines that tell what callers saw before, while and after the part was down."""
    phases: dict[str, list[Seen]] = {"before": [], "down": [], "after": []}
    for item in seen:
        phase = "before" if item.began < down_at else "down" if item.began < back_at else "after"
        phases[phase].append(item)
    lines = [f"{'':<8}{'calls':>7}  {'median':>9}  {'slowest':>9}  answers"]
    for phase, items in phases.items():
        took = sorted(item.seconds * 1000 for item in items) or [0.0]
        counts = Counter(str(item.status or "none") for item in items)
        answers = ", ".join(f"{count} × {status}" for status, count in sorted(counts.items()))
        lines.append(f"{phase:<8}{len(items):>7}  {took[len(took) // 2]:>6.0f} ms  {took[-1]:>6.0f} ms  {answers}")
    return lines


def first_good_read_after(seen: Iterable[Seen], moment: float) -> float | None:
    """Seconds from `moment` to the end of the first read that began then or later and was answered."""
    ends = [
        item.began + item.seconds
        for item in seen
        if item.number is None and not item.is_question and item.began >= moment and item.status in STORED
    ]
    return min(ends) - moment if ends else None


def answered_again_after(seen: Iterable[Seen], moment: float) -> float | None:
    """Seconds from `moment` to the agent's first answer to a question that was asked then or later; None so far."""
    ends = [
        item.began + item.seconds for item in seen if item.is_question and item.began >= moment and item.status == 200
    ]
    return min(ends) - moment if ends else None


def _stored(source: str) -> Counter[int]:
    """How often each numbered alert is in PostgreSQL."""
    first = Alert.objects.filter(source=source).values_list("raw", flat=True)
    again = AlertSighting.objects.filter(alert__source=source).values_list("raw", flat=True)
    return Counter(int(raw) for raw in (*first, *again))


def _is_shaped(answer: httpx.Response, named: str) -> bool:
    """Whether the body is of the contract's shape: an error, a receipt, or what has the field that is `named`."""
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(body, dict):
        return False
    if answer.status_code >= 400:
        return set(body) == {"detail"}
    return ("receipt" if answer.status_code == 202 else named) in body
