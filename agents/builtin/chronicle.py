"""Everything that is on record about a case, in order of time, each line with its source: alerts, the case's own timeline, evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from agents.builtin import killchain
from agents.builtin.contract import Evidence
from agents.builtin.pivoting import Web
from agents.builtin.scope import cite
from agents.builtin.wording import line, many
from cases.models import Alert, Case
from cases.models import Evidence as CaseFile
from cases.states import TimelineKind

LEAST_GAP = timedelta(minutes=45)
_MAX_ENTRIES = 200
_MAX_FILES = 50
_UNUSUAL = 4.0
# What is a note about the inquiry, and no event of what is inquired into.
_NOT_EVENTS = (
    TimelineKind.ALERT_LINKED,
    TimelineKind.AGENT_FINDING,
    TimelineKind.AGENT_FAILED,
    TimelineKind.INVESTIGATION,
    TimelineKind.TASK,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `tactic` is the alert's latest, empty for all else; `until` is later than `at` for what went on."""

    at: datetime
    until: datetime
    source: str
    kind: str
    text: str
    where: str
    tactic: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in the middle of it of which no sensor told anything."""

    before: Alert
    after: Alert

    @property
    def length(self) -> timedelta:
        return self.after.first_seen - self.before.last_seen


def chronicle(web: Web, case: Case | None, files: Iterable[CaseFile]) -> list[Entry]:
    """In order of time; of things at the same moment what a sensor saw comes first."""
    entries = [*(_of_alert(web, alert) for alert in web.alerts), *_of_case(case), *map(_of_file, files)]
    return sorted(entries, key=lambda entry: (entry.at, entry.kind != "alert", entry.evidence.id))


def files_of(case: Case | None) -> list[CaseFile]:
    return list(case.evidence.order_by("id")[:_MAX_FILES]) if case else []


def gaps(alerts: Sequence[Alert]) -> list[Gap]:
    """Silences far longer than is usual between these alerts, the longest first. What repeats itself meanwhile breaks no silence."""
    ordered = sorted(alerts, key=lambda alert: (alert.first_seen, alert.id))
    steps = [later.first_seen - earlier.first_seen for earlier, later in pairwise(ordered)]
    if len(steps) < 3:
        return []
    usual = median(step.total_seconds() for step in steps)
    found = [
        Gap(earlier, later)
        for (earlier, later), step in zip(pairwise(ordered), steps, strict=True)
        if step >= LEAST_GAP
        and step.total_seconds() >= _UNUSUAL * usual
        and later.first_seen - earlier.last_seen >= LEAST_GAP
    ]
    return sorted(found, key=lambda gap: -gap.length)


def _of_alert(web: Web, alert: Alert) -> Entry:
    tactics = killchain.alert_tactics(web.scope, alert)
    times = f" ({many(alert.count, 'time')})" if alert.count > 1 else ""
    return Entry(
        at=alert.first_seen,
        until=alert.last_seen,
        source=alert.source,
        kind="alert",
        text=f"{line(alert.title)}{times}",
        where=", ".join(line(host, 60) for host in web.hosts(alert)[:3]),
        tactic=tactics[-1] if tactics else "",
        evidence=cite(alert),
    )


def _of_case(case: Case | None) -> Iterator[Entry]:
    rows = case.timeline.exclude(kind__in=_NOT_EVENTS).order_by("-id")[:_MAX_ENTRIES] if case else ()
    for row in rows:
        cited = Evidence("timeline", str(row.id), row.kind)
        yield Entry(row.created_at, row.created_at, line(row.actor, 60), row.kind, line(row.text), "", "", cited)


def _of_file(row: CaseFile) -> Entry:
    cited = Evidence("file", str(row.id), f"SHA-256 {row.sha256}")
    text = f"Evidence {line(row.name, 80)} taken in ({row.size} bytes)"
    return Entry(row.created_at, row.created_at, line(row.added_by, 60), "evidence", text, "", "", cited)
