"""A small estate with an intrusion in it, a day of noise around it, and a way to ask an agent about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from agents.builtin import ANALYSES
from agents.builtin.contract import Task
from cases.models import Alert, AlertPivot, Case, Evidence, Ioc, TimelineEntry
from tests.factories import NOW, make_alert, make_case

SCANNER = "198.51.100.9"
C2 = "203.0.113.77"
C2_NAME = "cdn-sync.example"
DROP = "203.0.113.99"
POWERSHELL = "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"
WORD = "C:\\Program Files\\Microsoft Office\\WINWORD.EXE"


@dataclass
class Answer:
    """An agent's output as the dispatcher stores it, with its thoughts as (text, data)."""

    output: dict[str, Any]
    thoughts: list[tuple[str, dict[str, Any]]]

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.output["data"])

    @property
    def summary(self) -> str:
        return str(self.output["summary"])


def ask(
    agent_type: str, *, alert: Alert | None = None, case: Case | None = None, earlier: dict[str, Any] | None = None
) -> Answer:
    """One agent's answer, through JSON and back as it travels."""
    thoughts: list[tuple[str, dict[str, Any]]] = []
    task = Task(
        task_id="task-1",
        agent_type=agent_type,
        prompt="",
        alert_id=str(alert.id) if alert else None,
        case_id=str(case.id) if case else None,
        earlier=earlier or {},
    )
    output = ANALYSES[agent_type](task, lambda text, data: thoughts.append((text, data)))
    return Answer(json.loads(json.dumps(output.as_json())), json.loads(json.dumps(thoughts)))


def investigate(*, alert: Alert | None = None, case: Case | None = None) -> dict[str, Answer]:
    """All agents in their order, each with the outputs of those before."""
    answers: dict[str, Answer] = {}
    for agent_type in ANALYSES:
        earlier = {name: answer.output for name, answer in answers.items()}
        answers[agent_type] = ask(agent_type, alert=alert, case=case, earlier=earlier)
    return answers


def sysmon(event_id: str, **eventdata: str) -> str:
    """A record of Sysmon, or of Windows, as Wazuh hands it on."""
    return json.dumps({"data": {"win": {"system": {"eventID": event_id}, "eventdata": eventdata}}})


@dataclass
class Intrusion:
    """The alerts by what they are, in the order in which they came."""

    scan: Alert
    upload: Alert
    script: Alert
    lure: Alert
    macro: Alert
    beacon: Alert
    dump: Alert
    move: Alert
    pack: Alert
    theft: Alert

    @property
    def alerts(self) -> list[Alert]:
        return [getattr(self, name) for name in self.__dataclass_fields__]


def intrusion() -> Intrusion:
    """Six hours: a scanned web server, a macro on a workstation, a beacon, stolen credentials, a file server, an upload."""
    web, station, files = ["web-01", "10.10.1.11"], ["ws-hr-02", "10.20.6.12"], ["fs-01", "10.10.2.21"]

    def at(minute: float) -> Any:
        return NOW + timedelta(minutes=minute)

    def agent(**fields: Any) -> dict[str, Any]:
        return {"source": "wazuh", "category": "endpoint", "metadata": {"agent_id": "7", **fields}}

    return Intrusion(
        scan=make_alert(
            title="SCAN SYN sweep", severity="low", iocs=[SCANNER], affected_assets=["10.10.1.11"], count=40,
            first_seen=at(0), last_seen=at(10), mitre_techniques=["T1595.001"],
            metadata={"src_ip": SCANNER, "dest_ip": "10.10.1.11"},
        ),
        upload=make_alert(
            title="Server-side script uploaded", severity="high", iocs=[SCANNER], affected_assets=["10.10.1.11"],
            first_seen=at(58), mitre_techniques=["T1190"], metadata={"src_ip": SCANNER, "dest_ip": "10.10.1.11"},
        ),
        script=make_alert(
            title="Script file added below the upload folder", severity="medium", affected_assets=web,
            first_seen=at(59), mitre_techniques=["T1505.003"], **agent(),
            raw=json.dumps({"syscheck": {"path": "/var/www/html/uploads/.thumb_01.php", "event": "added"}}),
        ),
        lure=make_alert(
            title="Macro-enabled document fetched", severity="low", affected_assets=["10.20.6.12", "10.10.1.11"],
            first_seen=at(77), mitre_techniques=["T1566.002"],
            metadata={"src_ip": "10.20.6.12", "dest_ip": "10.10.1.11"},
        ),
        macro=make_alert(
            title="Office program started PowerShell", severity="high", users=["l.brandt"], affected_assets=station,
            iocs=[C2_NAME], first_seen=at(79), mitre_techniques=["T1059.001", "T1204.002"], **agent(),
            raw=sysmon(
                "1", image=POWERSHELL, commandLine=f"powershell.exe -w hidden -enc {'QQBB' * 8}",
                parentImage=WORD, parentCommandLine='"WINWORD.EXE" "invoice_2026.docm"',
            ),
        ),
        beacon=make_alert(
            title="TLS session to newly observed domain", severity="medium", iocs=[C2, C2_NAME],
            affected_assets=["10.20.6.12"], count=48, first_seen=at(86), last_seen=at(345),
            mitre_techniques=["T1071.001"], metadata={"src_ip": "10.20.6.12", "dest_ip": C2},
        ),
        dump=make_alert(
            title="Process memory of LSASS read", severity="critical", users=["l.brandt", "svc-backup"], affected_assets=station,
            first_seen=at(121), mitre_techniques=["T1003.001"], **agent(),
            raw=sysmon("10", sourceImage=POWERSHELL, targetImage="C:\\Windows\\System32\\lsass.exe"),
        ),
        move=make_alert(
            title="Service account logged on from a workstation", severity="high", users=["svc-backup"],
            affected_assets=[*files, "10.20.6.12"], first_seen=at(186), mitre_techniques=["T1021.002"],
            **agent(src_ip="10.20.6.12"),
        ),
        pack=make_alert(
            title="Archiver packs a file share", severity="high", users=["svc-backup"], affected_assets=files,
            first_seen=at(250), mitre_techniques=["T1560.001"], **agent(),
        ),
        theft=make_alert(
            title="Server sends more than 1 GB outside", severity="high", iocs=[DROP], affected_assets=["10.10.2.21"],
            first_seen=at(300), mitre_techniques=["T1048.002"],
            metadata={"src_ip": "10.10.2.21", "dest_ip": DROP, "bytes_toserver": 1_400_000_000},
        ),
    )  # fmt: skip


def noise(number: int = 30) -> list[Alert]:
    """Low alerts all over the estate, none of which has to do with another."""
    return [
        make_alert(
            title=f"Policy: update server contacted {n}", severity="low" if n % 3 else "info",
            iocs=[f"192.0.2.{n + 1}"], affected_assets=[f"ws-eng-{n}"], users=[f"user{n}"],
            first_seen=NOW + timedelta(minutes=11 * n),
        )
        for n in range(number)
    ]  # fmt: skip


def dangling(output: dict[str, Any]) -> list[dict[str, Any]]:
    """The evidence that cites what does not exist."""
    tables = {"alert": Alert, "ioc": Ioc, "case": Case, "file": Evidence, "timeline": TimelineEntry}
    missing = []
    for finding in output["findings"]:
        for cited in finding["evidence"]:
            if cited["kind"] == "pivot":
                kind, _, value = cited["id"].partition(":")
                is_there = AlertPivot.objects.filter(kind=kind, value=value).exists()
            else:
                is_there = tables[cited["kind"]]._default_manager.filter(pk=cited["id"]).exists()
            missing += [] if is_there else [cited]
    return missing


def case_of(alerts: list[Alert], **fields: Any) -> Case:
    return make_case(alerts=alerts, **fields)
