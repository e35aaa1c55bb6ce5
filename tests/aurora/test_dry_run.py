"""`AURORA_MODE=dry_run`: people see what their changes would do, nothing of it is kept, and what sensors deliver is stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.test.utils import override_settings
from django.urls import reverse

from agents import registry
from agents.models import Investigation
from agents.playbooks.models import Approval, AutomationRule, BlocklistEntry, Connector, Delivery, Execution, Playbook
from aurora import dry_run
from aurora.identity import api_keys
from aurora.models import ApiKey, AuditEntry, OutboxEvent
from aurora.rest.permissions import PUBLIC
from cases import evidence, evidence_store
from cases.models import Alert, Case, CaseTask
from tests.agents.playbooks import stage
from tests.cast import ADMIN, ANALYST, PASSWORD, ApiClient, make_user
from tests.console_pages import signed_in, text_of
from tests.factories import NOW, make_alert, make_case, make_ioc
from tests.routes import Route, api_routes

pytestmark = pytest.mark.django_db

ALERT = {"title": "Beacon", "severity": "low", "source": "probe", "iocs": ["198.51.100.23"]}
# What callers leave behind by calling: a key says when it was used.
_OF_THE_CALL = {ApiKey}


@pytest.fixture(autouse=True)
def _dry(settings: Any) -> None:
    settings.MODE = "dry_run"


def everything() -> dict[str, list[Any]]:
    """All rows of all tables of the product."""
    models = [model for model in apps.get_models(include_auto_created=True) if model not in _OF_THE_CALL]
    rows = {model._meta.label: sorted(map(repr, model._base_manager.values_list())) for model in models}
    return rows | {"keys": sorted(map(repr, ApiKey.objects.values_list("pk", "role", "revoked_at")))}


Path = Callable[[], str]
_MEDIA_TYPES = {"evidence": MULTIPART_CONTENT, "import": "text/csv"}
_FILE = encode_multipart(BOUNDARY, {"file": SimpleUploadedFile("dump", b"memory")})
_STEP: dict[str, Any] = {"name": "tell", "action": "notify", "parameters": {"text": "seen"}}
CHANGES: list[tuple[str, str, Path, Callable[[], Any], int]] = [
    ("analyst", "POST", lambda: "/alerts", lambda: ALERT, 201),
    ("analyst", "PATCH", lambda: f"/alerts/{_alert()}", lambda: {"status": "resolved"}, 200),
    ("analyst", "POST", lambda: f"/alerts/{_alert()}/acknowledge", dict, 200),
    ("analyst", "POST", lambda: f"/alerts/{_alert()}/promote", dict, 201),
    ("analyst", "POST", lambda: f"/alerts/{_alert()}/case-link", lambda: {"case_id": _case()}, 200),
    ("analyst", "POST", lambda: "/alerts/bulk", lambda: {"ids": [_alert()], "action": "acknowledge"}, 200),
    ("analyst", "POST", lambda: "/cases", lambda: {"title": "Beacon", "severity": "low"}, 201),
    ("analyst", "PATCH", lambda: f"/cases/{_case()}", lambda: {"severity": "high"}, 200),
    ("analyst", "POST", lambda: f"/cases/{_case()}/comments", lambda: {"text": "seen"}, 201),
    ("analyst", "POST", lambda: f"/cases/{_case()}/tasks", lambda: {"title": "Ask the owner"}, 201),
    ("analyst", "PATCH", lambda: _task(), lambda: {"status": "done"}, 200),
    ("analyst", "POST", lambda: f"/cases/{_case()}/evidence", lambda: _FILE, 201),
    ("analyst", "POST", lambda: f"/cases/{_case()}/merge", lambda: {"into": _case()}, 200),
    ("analyst", "POST", lambda: "/iocs/import", lambda: b"type,value\nip,203.0.113.9\n", 200),
    ("analyst", "POST", lambda: "/iocs", lambda: {"type": "ip", "value": "203.0.113.9"}, 201),
    ("analyst", "PATCH", lambda: f"/iocs/{_ioc()}", lambda: {"description": "known"}, 200),
    ("analyst", "DELETE", lambda: f"/iocs/{_ioc()}", lambda: None, 204),
    ("analyst", "POST", lambda: "/investigations", lambda: {"alert_id": _alert()}, 202),
    ("analyst", "POST", lambda: "/playbooks", lambda: {"name": "drill", "steps": [_STEP]}, 201),
    ("analyst", "PATCH", lambda: f"/playbooks/{_playbook()}", lambda: {"enabled": False}, 200),
    ("analyst", "POST", lambda: f"/approvals/{_approval()}/approve", dict, 200),
    ("analyst", "POST", lambda: f"/approvals/{_approval()}/reject", lambda: {"reason": "not this host"}, 200),
    (
        "analyst",
        "POST",
        lambda: "/automation-rules",
        lambda: {"name": "all", "playbook_id": _playbook(), "condition": "is_it"},
        201,
    ),
    ("analyst", "PATCH", lambda: f"/automation-rules/{_rule()}", lambda: {"enabled": True}, 200),
    ("analyst", "DELETE", lambda: f"/automation-rules/{_rule()}", lambda: None, 204),
    ("analyst", "POST", lambda: f"/blocklist/{_block()}/lift", lambda: {"reason": "ours"}, 200),
    ("operator", "PATCH", lambda: "/agents/threat_intel", lambda: {"enabled": False}, 200),
    ("operator", "POST", lambda: "/agents/threat_intel/breaker", lambda: {"action": "force_open"}, 200),
    ("operator", "POST", lambda: "/connectors", lambda: {"name": "second list", "kind": "blocklist"}, 201),
    ("operator", "PATCH", lambda: f"/connectors/{_connector()}", lambda: {"priority": 7}, 200),
    ("operator", "DELETE", lambda: f"/connectors/{_connector()}", lambda: None, 204),
    ("operator", "POST", lambda: f"/connectors/{_connector()}/test", lambda: None, 200),
    ("operator", "POST", lambda: f"/connectors/{_connector()}/breaker", lambda: {"action": "reset"}, 200),
    ("operator", "POST", lambda: f"/deliveries/{_delivery()}/replay", lambda: None, 409),
    ("admin", "PATCH", lambda: f"/users/{_account()}", lambda: {"role": "viewer"}, 200),
    ("admin", "DELETE", lambda: f"/users/{_account()}", lambda: None, 204),
    ("admin", "PATCH", lambda: f"/auth/api-keys/{_key()}", lambda: {"networks": ["10.0.0.0/8"]}, 200),
    ("admin", "POST", lambda: f"/auth/api-keys/{_key()}/rotate", dict, 201),
    ("admin", "DELETE", lambda: f"/auth/api-keys/{_key()}", lambda: None, 204),
    ("admin", "POST", lambda: "/users", lambda: {"username": "new", "password": PASSWORD, "role": "viewer"}, 201),
    ("admin", "POST", lambda: "/auth/api-keys", lambda: {"name": "sensor", "role": "api_service"}, 201),
]
_NAMES = [f"{method} {number}" for number, (_, method, *_rest) in enumerate(CHANGES)]


@pytest.mark.parametrize(("role", "method", "path", "body", "status"), CHANGES, ids=_NAMES)
def test_a_change_is_answered_as_ever_and_leaves_nothing_behind(role, method, path, body, status):
    caller, place, sent = ApiClient(role), path(), body()
    before = everything()
    media_type = _MEDIA_TYPES.get(place.rsplit("/", 1)[1], "application/json")
    answer = caller.call(method, place, sent, content_type=media_type)
    assert (answer.status_code, answer[dry_run.HEADER]) == (status, "dry_run"), answer.content
    assert everything() == before


_IDS = re.compile(r"<[^>]*>|[0-9a-f]{8}-[0-9a-f-]{27}|threat_intel|drilled")


def _once(path: Path) -> str:
    with transaction.atomic():
        made = path()
        transaction.set_rollback(True)
    return made


def _shape(path: str) -> str:
    return _IDS.sub("*", path)


def _is_taken_back(route: Route) -> bool:
    is_change = route.method != "GET" and route.view.permissions.get(route.method) != PUBLIC
    return is_change and route.method not in route.view.kept_in_dry_run


def test_no_change_is_left_out_of_these_tests():
    tried = {(method, _shape(_once(path))) for _, method, path, *_rest in CHANGES}
    there = {
        (route.method, _shape(route.pattern.removeprefix("api/v1"))) for route in api_routes() if _is_taken_back(route)
    }
    assert there - tried == set()


def test_the_answer_is_what_would_have_happened():
    analyst, alert = ApiClient("analyst"), make_alert(status="new")
    answer = analyst.call("PATCH", f"/alerts/{alert.id}", {"status": "resolved"}).json()
    assert answer["status"] == "resolved"
    assert analyst.call("GET", f"/alerts/{alert.id}").json()["status"] == "new"
    case = analyst.call("POST", "/cases", {"title": "Beacon", "severity": "low"}).json()
    assert analyst.call("GET", f"/cases/{case['id']}").status_code == 404


def test_many_at_once_are_previewed_each_by_itself():
    analyst, good, gone = ApiClient("analyst"), make_alert(status="new"), make_alert(status="new")
    key = str(gone.id)
    gone.delete()
    body = {"ids": [str(good.id), key], "action": "status", "status": "resolved"}
    answer = analyst.call("POST", "/alerts/bulk", body).json()
    assert (answer["done"], [row["id"] for row in answer["failed"]]) == ([str(good.id)], [key])
    good.refresh_from_db()
    assert good.status == "new"


def test_what_would_be_refused_is_refused():
    analyst, ioc = ApiClient("analyst"), make_ioc("198.51.100.77")
    assert analyst.call("POST", "/cases", {"title": "Beacon"}).status_code == 400
    assert analyst.call("POST", "/iocs", {"type": ioc.type, "value": ioc.value}).status_code == 409
    assert analyst.call("PATCH", f"/alerts/{ioc.id}", {"status": "resolved"}).status_code == 404
    assert ApiClient("viewer").call("POST", "/cases", {"title": "Beacon", "severity": "low"}).status_code == 403


def test_reading_is_no_preview():
    assert dry_run.HEADER not in ApiClient("viewer").call("GET", "/alerts")


def test_a_key_that_is_used_once_more_is_previewed_once_more():
    """Nothing was done under it that could be told again."""
    analyst = ApiClient("analyst")
    for _ in range(2):
        answer = analyst.call("POST", "/alerts", ALERT, HTTP_IDEMPOTENCY_KEY="one")
        assert (answer.status_code, "Idempotent-Replayed" in answer) == (201, False)


def test_what_sensors_deliver_is_stored():
    sensor = ApiClient("api_service")
    answers = [
        sensor.call("POST", "/alerts", ALERT),
        sensor.call("POST", "/ingest/generic", [ALERT | {"title": "Two"}]),
    ]
    assert [(answer.status_code, dry_run.HEADER in answer) for answer in answers] == [(201, False), (202, False)]
    assert Alert.objects.count() == 2
    assert OutboxEvent.objects.exists()


def test_people_come_and_go():
    make_user("analyst", "ana-in-a-dry-run")
    stranger = ApiClient()
    pair = stranger.call("POST", "/auth/token", {"username": "ana-in-a-dry-run", "password": PASSWORD}).json()
    again = stranger.call("POST", "/auth/refresh", {"refresh_token": pair["refresh_token"]})
    assert again.status_code == 200
    assert stranger.call("POST", "/auth/refresh", {"refresh_token": pair["refresh_token"]}).status_code == 401
    assert stranger.call("POST", "/auth/logout", {"refresh_token": again.json()["refresh_token"]}).status_code == 204


def test_a_playbook_runs_dry_and_its_run_is_kept():
    analyst, case = ApiClient("analyst"), make_case()
    answer = analyst.call("POST", f"/playbooks/{_playbook()}/execute", {"case_id": str(case.id)})
    assert (answer.status_code, answer.json()["dry_run"], dry_run.HEADER in answer) == (202, True, False)
    assert Execution.objects.get(pk=answer.json()["id"]).dry_run


def test_a_breaker_is_left_as_it_is():
    operator = ApiClient("operator")
    registry.breaker_of(registry.find("threat_intel")).reset()  # earlier tests of this process had it too
    operator.call("POST", "/agents/threat_intel/breaker", {"action": "force_open"})
    assert operator.call("GET", "/agents/threat_intel").json()["breaker"]["state"] == "closed"


def test_evidence_is_hashed_and_thrown_away(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    case = make_case()
    with dry_run.preview():
        row = evidence.add_evidence(case_id=case.id, name="dump", chunks=[b"memory"], actor=ANALYST)
    assert row.size == 6
    with pytest.raises(evidence_store.Lost):
        evidence_store.opened(row.sha256)
    assert not case.evidence.exists()


def test_an_error_in_a_preview_takes_it_back_as_well():
    def fail() -> None:
        Case.objects.create(title="Beacon", opened_by="ana")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), dry_run.preview():
        fail()
    assert not Case.objects.exists()
    assert not dry_run.is_preview()


def test_the_mode_says_that_nothing_is_kept():
    mode = ApiClient("viewer").call("GET", "/system/mode").json()
    assert (mode["mode"], mode["is_mutations_allowed"]) == ("dry_run", False)
    assert (mode["is_database_available"], mode["read_data_source"]) == (True, "database")


def test_the_console_says_on_every_page_that_nothing_is_kept():
    browser = signed_in("analyst")
    for page in (reverse("admin:index"), reverse("admin:cases_alert_changelist"), "/dashboard/"):
        text = text_of(browser.get(page))
        assert "Dry run" in text
        assert "none is kept" in text


def test_a_button_is_offered_does_nothing_and_says_so():
    browser, alert = signed_in("analyst"), make_alert(status="new")
    page = reverse("admin:cases_alert_change", args=[alert.id])
    assert "/do/acknowledge/" in text_of(browser.get(page))
    before = everything()
    pressed = browser.post(f"/admin/cases/alert/{alert.id}/do/acknowledge/")
    assert (pressed.status_code, pressed["Location"], pressed[dry_run.HEADER]) == (302, page, "dry_run")
    assert _messages(pressed)[-1] == "Dry run: nothing of it was kept."
    assert _without_sessions(everything()) == _without_sessions(before)


def test_a_button_that_leads_to_something_new_leads_back():
    browser, alert = signed_in("analyst"), make_alert()
    pressed = browser.post(f"/admin/cases/alert/{alert.id}/do/promote/")
    assert pressed["Location"] == reverse("admin:cases_alert_change", args=[alert.id])
    assert not Case.objects.exists()


def test_an_action_on_many_rows_is_taken_back():
    browser, alerts = signed_in("analyst"), [make_alert(status="new"), make_alert(status="new")]
    page = reverse("admin:cases_alert_changelist")
    form = {"action": "acknowledge", "_selected_action": [str(alert.id) for alert in alerts]}
    pressed = browser.post(page, form, HTTP_REFERER=f"http://testserver{page}")
    assert (pressed.status_code, pressed["Location"]) == (302, f"http://testserver{page}")
    assert "Dry run: nothing of it was kept." in _messages(pressed)
    assert not AuditEntry.objects.exclude(action__startswith="session").filter(target_type="alert").exists()
    assert not Alert.objects.exclude(acknowledged_at=None).exists()


def test_a_stranger_cannot_choose_where_a_press_leads():
    browser, alert = signed_in("analyst"), make_alert()
    page = reverse("admin:cases_alert_changelist")
    form = {"action": "acknowledge", "_selected_action": [str(alert.id)]}
    pressed = browser.post(page, form, HTTP_REFERER="https://evil.example/")
    assert pressed["Location"] == reverse("admin:index")


def test_a_run_from_the_console_is_kept_and_dry():
    browser, case = signed_in("analyst"), make_case()
    browser.post(f"/admin/cases/case/{case.id}/do/run-playbook/", {"choice": f"run:{_playbook()}"})
    assert Execution.objects.get().dry_run


def test_one_signs_out_of_the_console():
    browser = signed_in("analyst")
    browser.post(reverse("admin:logout"))
    assert browser.get(reverse("admin:index")).status_code == 302


def test_ones_own_password_stays_and_so_does_the_sign_in():
    browser, new = signed_in("analyst"), "another-long-pass-7"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    changed = browser.post(reverse("admin:password_change"), form)
    assert (changed.status_code, _messages(changed)) == (302, ["Dry run: nothing of it was kept."])
    assert User.objects.get(pk=browser.session["_auth_user_id"]).check_password(PASSWORD)
    assert browser.get(reverse("admin:index")).status_code == 200


@pytest.mark.parametrize("mode", ["real"])
def test_in_earnest_changes_are_kept_and_no_answer_claims_otherwise(settings, mode):
    settings.MODE = mode
    analyst, alert = ApiClient("analyst"), make_alert(status="new")
    answer = analyst.call("PATCH", f"/alerts/{alert.id}", {"status": "resolved"})
    assert dry_run.HEADER not in answer
    assert analyst.call("GET", f"/alerts/{alert.id}").json()["status"] == "resolved"
    assert "Dry run" not in text_of(signed_in("analyst").get(reverse("admin:index")))


def test_an_investigation_that_is_asked_for_begins_nowhere():
    ApiClient("analyst").call("POST", "/investigations", {"alert_id": str(make_alert().id)})
    assert not Investigation.objects.exists()
    assert not OutboxEvent.objects.exists()


def _alert() -> str:
    return str(make_alert(status="new").id)


def _case() -> str:
    return str(make_case().id)


def _ioc() -> str:
    return str(make_ioc("198.51.100.77").id)


def _playbook() -> str:
    return str(Playbook.objects.filter(enabled=True).order_by("name").values_list("id", flat=True)[0])


def _task() -> str:
    case = make_case()
    return f"/cases/{case.id}/tasks/{CaseTask.objects.create(case=case, title='Ask', created_by='ana').id}"


def _approval() -> str:
    """Of a run that began in earnest."""
    with override_settings(MODE="real"):
        stage.begin(stage.write(stage.block(requires_approval="always")), ADMIN)
        stage.work_off()
    return str(Approval.objects.get(status="pending").id)


def _block() -> str:
    return str(BlocklistEntry.objects.create(type="ip", value="203.0.113.9", key="drill").id)


def _rule() -> str:
    return str(AutomationRule.objects.create(name="all", playbook_id=_playbook(), condition="is_it").id)


def _connector() -> str:
    return str(Connector.objects.get(kind="blocklist").id)


def _delivery() -> str:
    hook = Connector.objects.create(name="hook", kind="webhook")
    return str(Delivery.objects.create(connector=hook, event_id="e", body="{}", sent_at=NOW).id)


def _account() -> str:
    return make_user("analyst", "drilled").username


def _key() -> str:
    return str(api_keys.create(name="sensor", role="api_service", expires_at=None, actor=ADMIN)[0].id)


def _messages(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def _without_sessions(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {label: found for label, found in rows.items() if label != "sessions.Session"}
