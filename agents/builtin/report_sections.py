"""The report's sections in Markdown. Whatever was written by others passes through `markdown.text` here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from agents.builtin import assets, killchain
from agents.builtin import markdown as md
from agents.builtin.dossier import Dossier
from agents.builtin.wording import many, moment
from aurora.texts import words
from cases import attack
from cases.models import Alert, TimelineEntry
from cases.states import TaskStatus, TimelineKind

_MAX_ROWS = 100
_MAX_IOCS = 100
_DONE = (TimelineKind.PLAYBOOK, TimelineKind.APPROVAL, TimelineKind.STATUS_CHANGED)
# What the report's other sections say, or what is no event of the incident: an investigation for each of its alerts.
_NOT_EVENTS = (
    TimelineKind.ALERT_LINKED,
    TimelineKind.AGENT_FINDING,
    TimelineKind.INVESTIGATION,
    TimelineKind.TASK,
)


def markdown(found: Dossier, *, summary: str, questions: list[str], confidence: float, reason: str) -> str:
    """The whole report; sections without anything to state say so in a line."""
    sections = (
        _head(found),
        _section("Executive summary", [md.text(summary, found.iocs, 2_000)], ""),
        _section("What happened", _timeline(found), "No alert and no entry in the timeline."),
        _section("Affected assets and accounts", _affected(found), "No alert names an asset or an account."),
        _section("Indicators of compromise", _indicators(found), "None."),
        _section("Techniques by tactic", _techniques(found), "No sensor named a technique."),
        _section("Findings", _findings(found), "No agent's finding is on record."),
        _section("Actions taken", _taken(found), "None on record."),
        _section("Actions pending", _pending(found), "None planned."),
        _section("Tasks", _tasks(found), "None."),
        _section("Evidence", _files(found), "No file is kept for the case."),
        _section("Open questions", _bullets(found, questions), "None."),
        _section("Confidence", [f"{confidence:.2f}: {md.text(reason, limit=1_000)}"], ""),
    )
    return "\n".join(line for section in sections for line in section).rstrip() + "\n"


def _section(title: str, lines: list[str], otherwise: str) -> list[str]:
    return [f"## {title}", "", *(lines or [otherwise]), ""]


def _head(found: Dossier) -> list[str]:
    case, alerts = found.scope.case, found.scope.alerts
    if case is None:
        return [f"# Alert: {md.text(alerts[0].title, found.iocs)}", ""]
    rows = [
        f"- Severity: {case.severity}",
        f"- Status: {case.status.replace('_', ' ')}",
        f"- Opened: {moment(case.created_at)} by {md.text(case.opened_by)}",
    ]
    if case.closed_at:
        rows.append(f"- Closed: {moment(case.closed_at)}: {md.text(case.resolution, found.iocs)}")
    return [f"# {case.reference}: {md.text(case.title, found.iocs)}", "", *rows, ""]


def _timeline(found: Dossier) -> list[str]:
    events = [(alert.first_seen, _alert_row(found, alert)) for alert in found.scope.alerts]
    entries = [entry for entry in found.entries if entry.kind not in _NOT_EVENTS or "same_intrusion" in entry.data]
    events += [(entry.created_at, _entry_row(found, entry)) for entry in entries]
    events.sort(key=lambda event: event[0])
    shown = [row for _, row in events[:_MAX_ROWS]]
    left = len(events) - len(shown)
    more = ["", f"{many(left, 'later event')} not shown."] if left else []
    return md.table(("Time (UTC)", "Source", "Severity", "What", "Where"), shown) + more


def _alert_row(found: Dossier, alert: Alert) -> tuple[str, ...]:
    times = f", {alert.count} times until {_time(alert.last_seen)}" if alert.count > 1 else ""
    where = ", ".join(found.scope.of(alert).assets[:4])
    origin = "from the hunt, " if alert.id in found.hunted else ""
    what = f"{md.text(alert.title, found.iocs, 200)}{times} ({origin}alert {alert.id})"
    return _time(alert.first_seen), md.text(alert.source, limit=64), alert.severity, what, md.text(where, limit=200)


def _entry_row(found: Dossier, entry: TimelineEntry) -> tuple[str, ...]:
    what = md.text(entry.text, found.iocs, 300)
    return _time(entry.created_at), md.text(entry.actor, limit=150), "", what, ""


def _affected(found: Dossier) -> list[str]:
    alerts = found.scope.alerts
    if not alerts:
        return []
    web, rows = found.web, []
    for name in web.all_hosts(alerts)[:_MAX_ROWS]:
        own = [alert for alert in alerts if name in web.hosts(alert)]
        known = assets.criticality(name, own[0].asset_type if web.hosts(own[0]) == [name] else "")
        addresses = [address for address, host in web.aliases.items() if host == name]
        shown = f"{name} ({', '.join(addresses)})" if addresses else name
        rows.append((md.text(shown), known.role, assets.LEVELS[known.level], str(len(own)), _time(own[0].first_seen)))
    lines = md.table(("Host", "Role", "Importance", "Alerts", "First"), rows)
    users = []
    for name in web.all_users(alerts)[:_MAX_ROWS]:
        own = [alert for alert in alerts if name in web.users(alert)]
        users.append((md.text(name), str(len(own)), _time(own[0].first_seen), _time(max(one.last_seen for one in own))))
    return lines + [""] * bool(lines and users) + md.table(("Account", "Alerts", "First", "Last"), users)


def _indicators(found: Dossier) -> list[str]:
    rows = [
        (one.ioc.type, md.indicator(one.ioc), f"{one.verdict} ({one.score})", str(one.ioc.sightings),
         md.text("; ".join(term.reason for term in one.terms), found.iocs, 300) or "nothing on record")
        for one in found.reputations[:_MAX_IOCS]
    ]  # fmt: skip
    return md.table(("Type", "Value (defanged)", "Reputation", "Sightings", "Because"), rows)


def _techniques(found: Dossier) -> list[str]:
    techniques = found.scope.techniques
    lines = []
    for tactic in killchain.tactics_of(techniques):
        own = [name for name in techniques if killchain.primary_tactic(name) == tactic]
        named = "; ".join(md.text(killchain.named_technique(name)) for name in sorted(own))
        lines.append(f"- **{attack.tactic_name(tactic)}**: {named}")
    unknown = [name for name in techniques if not killchain.primary_tactic(name)]
    if unknown:
        lines.append(f"- Not in ATT&CK Enterprise: {md.text(', '.join(unknown))}")
    return lines


def _findings(found: Dossier) -> list[str]:
    return [line for agent in found.answers for line in _of_agent(found, agent)][:-1]


def _of_agent(found: Dossier, agent: str) -> Iterator[str]:
    answer = found.answers[agent]
    yield f"### {agent.replace('_', ' ').capitalize()} ({answer.confidence:.0%})"
    yield ""
    yield md.text(answer.summary, found.iocs, 2_000)
    yield ""
    for said in found.said[agent][:10]:
        detail = md.text(said.detail, found.iocs, 800)
        yield f"- **{md.text(said.title, found.iocs, 200)}** ({said.confidence:.0%}){': ' if detail else ''}{detail}"
    if found.said[agent]:
        yield ""


def _taken(found: Dossier) -> list[str]:
    return [
        f"- {_time(entry.created_at)} {md.text(entry.actor)}: {md.text(entry.text, found.iocs, 300)}"
        for entry in found.entries
        if entry.kind in _DONE
    ]


def _pending(found: Dossier) -> list[str]:
    rows = [
        (str(number), md.text(words(one.action)), md.text(one.target, found.iocs, 200), md.text(one.risk),
         many(one.people, "person", "people") if one.people else "none", md.text(one.why, found.iocs, 300))
        for number, one in enumerate(found.planned, 1)
    ]  # fmt: skip
    return md.table(("No.", "Action", "Target", "Risk", "Approval", "Why"), rows)


def _tasks(found: Dossier) -> list[str]:
    rows = [
        (md.text(task.title, found.iocs, 300), task.status, md.text(task.assignee.username) if task.assignee else "nobody",
         _time(task.due_at) if task.due_at else "", _time(task.done_at) if task.done_at else "")
        for task in sorted(found.tasks, key=lambda task: (task.status == TaskStatus.DONE, task.id))
    ]  # fmt: skip
    return md.table(("Task", "Status", "Assignee", "Due (UTC)", "Done (UTC)"), rows)


def _files(found: Dossier) -> list[str]:
    rows = [
        (md.text(row.name, found.iocs, 200), str(row.size), row.sha256, f"{_time(row.created_at)} by {md.text(row.added_by)}",
         md.text(row.description, found.iocs, 300))
        for row in found.files
    ]  # fmt: skip
    return md.table(("File", "Bytes", "SHA-256", "Taken in (UTC)", "What it is"), rows)


def _bullets(found: Dossier, items: list[str]) -> list[str]:
    return [f"- {md.text(item, found.iocs, 500)}" for item in items]


def _time(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
