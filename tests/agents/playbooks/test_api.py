"""Playbooks, runs, approvals, connectors and the block list over HTTP."""

from __future__ import annotations

import pytest

from agents.playbooks.models import Approval, Connector
from tests.agents.playbooks.stage import work_off
from tests.cast import ApiClient
from tests.factories import make_alert, make_case, make_ioc

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

STEPS = [{"name": "block", "action": "block_ip", "parameters": {"targets": ["198.51.100.9"]}}]


@pytest.fixture
def analyst(library) -> ApiClient:
    return ApiClient("analyst")


def _named(client, name):
    return next(item for item in client.call("GET", "/playbooks").json()["items"] if item["name"] == name)


def test_the_six_playbooks_are_there_from_the_start(analyst):
    body = analyst.call("GET", "/playbooks").json()
    assert {item["name"] for item in body["items"]} == {
        "malware_response",
        "phishing_response",
        "ransomware_emergency",
        "brute_force_mitigation",
        "data_exfiltration",
        "cps_anomaly",
    }
    detail = analyst.call("GET", f"/playbooks/{body['items'][0]['id']}").json()
    assert detail["steps"]
    assert detail["source"].startswith("name: ")


def test_a_playbook_is_written_changed_and_kept_by_version(analyst):
    made = analyst.call("POST", "/playbooks", {"name": "drill", "steps": STEPS})
    assert (made.status_code, made.json()["version"]) == (201, 1)
    path = f"/playbooks/{made.json()['id']}"
    assert analyst.call("PATCH", path, {"title": "A drill"}).json()["version"] == 2
    assert analyst.call("PATCH", path, {"title": "A drill"}).json()["version"] == 2
    assert analyst.call("PATCH", path, {"enabled": False}).json()["enabled"] is False
    versions = analyst.call("GET", f"{path}/versions").json()["items"]
    assert [version["version"] for version in versions] == [2, 1]
    assert analyst.call("POST", "/playbooks", {"name": "drill", "steps": STEPS}).status_code == 409


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        ({"name": "x"}, ["body", "steps"], "missing"),
        (
            {"name": "x", "steps": [{"name": "a", "action": "explode"}]},
            ["body", "steps", 0, "step", "action"],
            "string_pattern_mismatch",
        ),
        ({"name": "x", "steps": STEPS, "colour": 1}, ["body", "colour"], "extra_forbidden"),
        ({"source": "name: x\nsteps:\n  - {name: a}\n"}, ["body", "source", "steps", 0, "step", "action"], "missing"),
    ],
    ids=["no steps", "no such action", "unknown field", "text"],
)
def test_a_faulty_playbook_is_refused_with_the_way_to_the_fault(analyst, body, loc, kind):
    answer = analyst.call("POST", "/playbooks", body)
    assert answer.status_code == 400
    assert (answer.json()["detail"][0]["loc"], answer.json()["detail"][0]["type"]) == (loc, kind)


def test_the_text_of_a_playbook_is_taken_as_it_is(analyst):
    text = "name: from_text  # as its author wrote it\nsteps:\n  - {name: a, action: notify}\n"
    assert analyst.call("POST", "/playbooks", {"source": text}).json()["source"] == text


def test_a_run_goes_from_its_alert_through_a_second_person_to_the_block_list(analyst):
    alert = make_alert(severity="high", affected_assets=["ws-12"], iocs=["198.51.100.7"])
    book = _named(analyst, "malware_response")
    begun = analyst.call("POST", f"/playbooks/{book['id']}/execute", {"alert_id": str(alert.id)})
    assert (begun.status_code, begun.json()["status"]) == (202, "queued")
    work_off()
    path = f"/executions/{begun.json()['id']}"
    assert analyst.call("GET", path).json()["status"] == "awaiting_approval"
    [approval] = analyst.call("GET", "/approvals?status=pending").json()["items"]
    assert analyst.call("POST", f"/approvals/{approval['id']}/approve", {"reason": "mine"}).status_code == 403
    other = ApiClient("analyst")
    assert other.call("POST", f"/approvals/{approval['id']}/approve", {"reason": "seen"}).json()["status"] == "approved"
    assert other.call("POST", f"/approvals/{approval['id']}/approve", {"reason": "again"}).status_code == 409
    work_off()
    ended = analyst.call("GET", path).json()
    assert (ended["status"], {step["name"]: step["status"] for step in ended["steps"]}) == (
        "completed",
        {"isolate": "not_configured", "scan": "not_configured", "block": "completed", "report": "not_configured"},
    )
    assert analyst.call("GET", "/feeds/blocklist?type=ip").content == b"198.51.100.7\n"


def test_the_block_list_has_what_somebody_vouches_for_beside_it(analyst):
    make_ioc("203.0.113.5", confidence=0.9)
    made = analyst.call("POST", "/playbooks", {"name": "drill", "steps": STEPS}).json()
    analyst.call("POST", f"/playbooks/{made['id']}/execute", {"case_id": str(make_case().id)})
    work_off()
    assert analyst.call("GET", "/feeds/blocklist?type=ip").content == b"198.51.100.9\n203.0.113.5\n"
    assert analyst.call("GET", "/feeds/blocklist?type=domain").content == b""


def test_runs_are_filtered_and_called_off(analyst):
    made = analyst.call("POST", "/playbooks", {"name": "drill", "steps": STEPS}).json()
    case = make_case()
    begun = analyst.call("POST", f"/playbooks/{made['id']}/execute", {"case_id": str(case.id)}).json()
    for query in (f"case_id={case.id}", f"playbook_id={made['id']}", "status=queued"):
        assert [item["id"] for item in analyst.call("GET", f"/executions?{query}").json()["items"]] == [begun["id"]]
    assert analyst.call("GET", "/executions?status=failed").json()["items"] == []
    assert analyst.call("POST", f"/executions/{begun['id']}/pause").json()["is_paused"] is True
    assert analyst.call("POST", f"/executions/{begun['id']}/resume").json()["is_paused"] is False
    assert analyst.call("POST", f"/executions/{begun['id']}/cancel").json()["status"] == "cancelled"
    assert analyst.call("POST", f"/executions/{begun['id']}/cancel", {}).status_code == 409


def test_runs_are_limited_per_caller(analyst, settings, redis_client):
    made = analyst.call("POST", "/playbooks", {"name": "drill", "steps": STEPS}).json()
    body = {"case_id": str(make_case().id), "dry_run": True}
    answers = [analyst.call("POST", f"/playbooks/{made['id']}/execute", body).status_code for _ in range(6)]
    assert answers == [202] * 5 + [429]
    assert ApiClient("analyst").call("POST", f"/playbooks/{made['id']}/execute", body).status_code == 202


@pytest.mark.parametrize("role", ["viewer", "operator", "api_service"])
def test_who_may_not_execute_is_told_so(role):
    answer = ApiClient(role).call("POST", f"/playbooks/{Approval().id}/execute", {})
    assert (answer.status_code, answer.json()["detail"]) == (403, "Permission required: playbooks:execute")


@pytest.mark.parametrize("path", ["/playbooks/x", "/executions/x", "/approvals/x"])
def test_what_is_no_id_is_missing(analyst, path):
    assert analyst.call("GET", path).status_code == 404


def test_a_connector_is_configured_and_tested_and_keeps_its_secrets():
    operator = ApiClient("operator")
    [own, store] = operator.call("GET", "/connectors").json()["items"]
    assert (own["kind"], own["actions"], store["kind"]) == ("blocklist", ["block_ip"], "ioc_store")
    test = operator.call("POST", f"/connectors/{own['id']}/test").json()
    assert test == {"is_working": True, "detail": "0 entries are in force"}
    changed = operator.call("PATCH", f"/connectors/{own['id']}", {"settings": {"expires_hours": 1}})
    assert changed.json()["settings"] == {"expires_hours": 1, "protected": []}
    wrong = operator.call("PATCH", f"/connectors/{own['id']}", {"settings": {"colour": 1}}).json()["detail"][0]
    assert wrong["loc"] == ["body", "settings", "colour"]
    assert operator.call("PATCH", f"/connectors/{own['id']}", {"actions": ["notify"]}).status_code == 400
    assert ApiClient("analyst").call("GET", "/connectors").status_code == 403


def test_a_connector_is_added_and_removed():
    operator = ApiClient("operator")
    made = operator.call("POST", "/connectors", {"name": "second list", "kind": "blocklist"})
    assert made.status_code == 201
    assert operator.call("POST", "/connectors", {"name": "second list", "kind": "blocklist"}).status_code == 409
    assert operator.call("DELETE", f"/connectors/{made.json()['id']}").status_code == 204
    assert not Connector.objects.filter(name="second list").exists()
