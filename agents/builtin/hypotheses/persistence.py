"""Something was left behind that starts again by itself: run keys, services, tasks, accounts, scripts in a web folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agents.builtin import killchain
from agents.builtin.host_events import HostEvent, basename
from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis
from agents.builtin.pivoting import Web
from agents.builtin.process_chains import distinct_alerts
from agents.builtin.reputation import Term
from agents.builtin.suspicion import is_out_of_place
from agents.builtin.wording import line, moment
from cases.models import Alert

_AUTOSTART = re.compile(
    r"\\currentversion\\(?:run|runonce|runservices)(?:ex)?(?:\\|$)|\\winlogon\\(?:shell|userinit|notify)|\\image file execution options\\"
    r"|\\appinit_dlls|\\currentcontrolset\\services\\[^\\]+\\(?:imagepath|parameters\\servicedll)|\\userinitmprlogonscript",
    re.IGNORECASE,
)
_START_FOLDER = re.compile(
    r"\\start menu\\programs\\startup\\|^/etc/(?:cron|systemd/system|rc\.local|init\.d|profile\.d)|/\.ssh/authorized_keys$"
    r"|^/var/spool/cron|/\.config/autostart/|/library/launch(?:agents|daemons)/",
    re.IGNORECASE,
)
_SERVED_SCRIPT = re.compile(
    r"(?:/var/www/|\\inetpub\\|/htdocs/|/webapps/|/public_html/|/srv/www/).*\.(?:php\d?|phtml|jspx?|aspx?|ashx|cgi)$",
    re.IGNORECASE,
)
_UPLOADS = re.compile(r"/(?:uploads?|files|images|media|tmp)/", re.IGNORECASE)
_MAX_FOUND = 10


def persistence(web: Web, events: Sequence[HostEvent]) -> Iterator[Hypothesis]:
    """One for each place where something stays, by what the place is and by what it starts."""
    held: dict[tuple[str, str, str], list[HostEvent]] = {}
    for event in events:
        how = mechanism(event)
        if how:
            held.setdefault((event.host, how, event.target.lower()), []).append(event)
    for (host, how, _), own in list(held.items())[:_MAX_FOUND]:
        yield _left_behind(web, host, how, own)


def mechanism(event: HostEvent) -> str:
    """How the event makes something stay, in words; empty when it does not."""
    by_kind = {
        "service": "a new service",
        "task": "a scheduled task",
        "wmi": "a WMI subscription",
        "account": "a new account",
    }
    if event.kind in by_kind:
        return by_kind[event.kind]
    if event.kind == "registry" and _AUTOSTART.search(event.target):
        return "a registry key that starts programs"
    if event.kind == "wrote" and _SERVED_SCRIPT.search(event.target.replace("\\\\", "\\")) and event.value != "deleted":
        return "a script in a folder of the web server"
    if event.kind == "wrote" and _START_FOLDER.search(event.target) and event.value != "deleted":
        return "a file that is run at start"
    return ""


def _left_behind(web: Web, host: str, how: str, events: Sequence[HostEvent]) -> Hypothesis:
    event, alerts = events[0], distinct_alerts(events)
    points_to = event.value or event.target
    return hypothesis(
        "persistence",
        web,
        alerts,
        title=f"{line(how[0].upper() + how[1:], 60)} on {line(host, 60)}: {line(basename(event.target), 80)}",
        detail=f"{how[0].upper()}{how[1:]} on {line(host, 60)} at {moment(event.at)}: {line(event.target, 160)} ({line(points_to, 200)}).",
        terms=list(_terms(web, event, alerts)),
        hosts=[host],
        users=web.all_users(alerts),
        actions=[f"Keep a copy of {line(event.target, 120)} as evidence, then take it out on {line(host, 60)}"],
    )


def _terms(web: Web, event: HostEvent, alerts: Sequence[Alert]) -> Iterator[Term]:
    yield Term(20, "it starts again by itself")
    if is_out_of_place(event.target) or is_out_of_place(event.value):
        yield Term(25, "what it starts lies in a place that anybody may write to")
    if _SERVED_SCRIPT.search(event.target) and _UPLOADS.search(event.target):
        yield Term(30, "it lies where visitors upload files")
    if event.target.rpartition("/")[2].startswith(".") and event.kind == "wrote":
        yield Term(10, "its name hides it from listings")
    if any(killchain.has_tactic(web.scope, alert, "persistence") for alert in alerts):
        yield Term(20, "a sensor names a persistence technique")
    if event.alert.severity in ("high", "critical"):
        yield Term(10, f"the sensor holds it for {event.alert.severity}")
