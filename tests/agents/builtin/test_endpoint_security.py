"""The hosts' side: chains of processes, what stays behind, rare programs, impossible travel; silence where there are none."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.agents.builtin.world import POWERSHELL, WORD, ask, dangling, intrusion, noise, sysmon
from tests.factories import NOW, make_alert

pytestmark = pytest.mark.django_db

_EXPLORER = "C:\\Windows\\explorer.exe"


def _ask(alert):
    return ask("endpoint_security", alert=alert)


def _kinds(answer):
    return {one["kind"] for one in answer.data["hypotheses"]}


def _of_kind(answer, kind):
    return next(one for one in answer.data["hypotheses"] if one["kind"] == kind)


def _event(raw, *, minute=0, host="ws-hr-02", **fields):
    return make_alert(
        **{"source": "wazuh", "category": "endpoint", "severity": "high", "affected_assets": [host],
           "first_seen": NOW + timedelta(minutes=minute), "raw": raw, "metadata": {"agent_id": "7"}} | fields,
    )  # fmt: skip


def _sign_in(country, *, minute, user="l.brandt", **fields):
    raw = json.dumps({"sign_in": {"location": {"country": country}, "outcome": "success"}})
    return make_alert(
        **{"source": "generic", "category": "identity", "severity": "high", "users": [user], "affected_assets": [],
           "first_seen": NOW + timedelta(minutes=minute), "raw": raw, "mitre_techniques": ["T1078"]} | fields,
    )  # fmt: skip


def test_a_days_noise_yields_nothing_and_says_why():
    answers = [_ask(alert) for alert in noise(12)]
    assert all(answer.output["findings"] == [] for answer in answers)
    assert all(answer.data["silent_because"] in answer.summary for answer in answers)


def test_the_intrusions_chain_and_what_it_left_are_found_and_cited():
    quiet = {str(alert.id) for alert in noise()}
    story = intrusion()
    answer = _ask(story.macro)
    chain = _of_kind(answer, "process_chain")
    assert set(chain["alert_ids"]) >= {str(story.macro.id), str(story.dump.id)}
    assert "persistence" in _kinds(_ask(story.script))
    assert not {alert_id for one in answer.data["hypotheses"] for alert_id in one["alert_ids"]} & quiet
    assert dangling(answer.output) == []


def test_a_shell_started_by_a_document_is_told_with_who_started_whom():
    answer = _ask(_event(sysmon("1", image=POWERSHELL, commandLine="powershell.exe -nop", parentImage=WORD)))
    [finding] = answer.output["findings"]
    assert "WINWORD.EXE → powershell.exe" in finding["title"]
    assert "documents need no shell" in finding["detail"]


def test_a_shell_that_a_person_started_is_nothing():
    answer = _ask(_event(sysmon("1", image=POWERSHELL, commandLine="powershell.exe", parentImage=_EXPLORER)))
    assert answer.output["findings"] == []


def test_a_chain_is_put_together_from_its_events_by_the_processes_ids():
    started = _event(sysmon("1", image=POWERSHELL, processGuid="{2}", parentImage=WORD, parentProcessGuid="{1}"))
    _event(
        sysmon("10", sourceImage=POWERSHELL, sourceProcessGUID="{2}", targetImage="C:\\Windows\\lsass.exe"), minute=1
    )
    _event(
        sysmon("1", image="C:\\x\\other.exe", processGuid="{9}", parentImage=_EXPLORER, parentProcessGuid="{8}"),
        minute=2,
    )
    answer = _ask(started)
    chain = next(one for one in answer.data["chains"] if "powershell.exe" in one["names"])
    assert [event["did"] for event in chain["events"]][-1] == "powershell.exe opened lsass.exe"
    assert "other.exe" not in chain["names"]


@pytest.mark.parametrize(
    ("raw", "mechanism"),
    [
        (
            sysmon(
                "13",
                image=POWERSHELL,
                targetObject="HKU\\S-1\\Software\\Microsoft\\Windows\\CurrentVersion\\Run\\Updater",
                details="C:\\Users\\Public\\upd.exe",
            ),
            "a registry key that starts programs",
        ),
        (
            sysmon("7045", serviceName="upd", imagePath="C:\\Windows\\Temp\\upd.exe"),
            "a new service",
        ),
        (
            json.dumps({"syscheck": {"path": "/var/www/html/uploads/.thumb_7.php", "event": "added"}}),
            "a script in a folder of the web server",
        ),
    ],
    ids=["run key", "service", "web shell"],
)
def test_what_stays_behind_is_named_by_its_mechanism(raw, mechanism):
    answer = _ask(_event(raw, mitre_techniques=["T1547.001"]))
    assert [row["mechanism"] for row in answer.data["persistence"]] == [mechanism]
    assert "persistence" in _kinds(answer)


def test_a_pair_of_programs_that_the_estate_hardly_knows_makes_a_chain_likelier():
    def terms(*, common):
        alert = _event(
            sysmon("1", image=POWERSHELL, commandLine="powershell.exe", parentImage=WORD), host="ws-rare",
            metadata={"agent_id": "7", "process_name": "powershell.exe", "parent_process": "WINWORD.EXE"},
        )  # fmt: skip
        for n in range(common):
            _event(
                "{}", host=f"ws-eng-{n}", severity="info", title=f"Start {n}", count=4, minute=n,
                metadata={"process_name": "chrome.exe", "parent_process": "explorer.exe"},
            )  # fmt: skip
        return str(_of_kind(_ask(alert), "process_chain")["terms"])

    assert "on one host at most" not in terms(common=2)
    assert "on one host at most of 34 starts" in terms(common=6)


def test_an_account_in_two_places_in_too_short_a_time_is_found_and_both_are_cited():
    home, away = _sign_in("DE", minute=0), _sign_in("BR", minute=40)
    answer = _ask(home)
    found = _of_kind(answer, "impossible_travel")
    assert set(found["alert_ids"]) == {str(home.id), str(away.id)}
    assert "900 km/h" in str(answer.output["findings"])


@pytest.mark.parametrize(
    ("there", "minute"), [("DE", 40), ("BR", 24 * 60), ("CH", 90)], ids=["same country", "a day later", "next door"]
)
def test_a_journey_that_can_be_made_is_none(there, minute):
    home = _sign_in("DE", minute=0)
    _sign_in(there, minute=minute)
    assert _kinds(_ask(home)) == set()


def test_two_accounts_in_two_places_are_no_journey():
    home = _sign_in("DE", minute=0)
    _sign_in("BR", minute=40, user="m.costa")
    assert _kinds(_ask(home)) == set()


def test_hostile_text_in_a_record_stays_text_on_one_line():
    hostile = "C:\\x\\\x1b[31m<script>alert(1)</script>\n# Heading\\WINWORD.EXE"
    answer = _ask(_event(sysmon("1", image=POWERSHELL, commandLine="-enc `$(reboot)`\n|x|", parentImage=hostile)))
    texts = [answer.summary, *(finding["title"] + finding["detail"] for finding in answer.output["findings"])]
    assert answer.output["findings"]
    assert not any(mark in text for text in texts for mark in ("\n", "\x1b"))
