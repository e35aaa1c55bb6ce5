"""The console's pages of playbooks, runs, approvals and connectors."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from agents.playbooks import approvals, authoring, connectors, executions
from agents.playbooks.models import Approval, ApprovalLink, Connector, Execution, Playbook
from agents.playbooks.states import ConnectorKind
from aurora.identity.credentials import actor_from_user
from aurora.models import AuditEntry
from tests.agents.playbooks.stage import begin, person, statuses, work_off, write
from tests.cast import ADMIN, ANALYST
from tests.console_pages import signed_in, text_of
from tests.factories import make_alert, make_case

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

HOSTILE = "<script>alert(1)</script>"
ISOLATE = {"name": "isolate", "action": "isolate_host", "parameters": {"hosts": [HOSTILE]}}


def test_a_playbook_is_a_picture_of_its_steps_with_what_its_last_version_changed():
    book = Playbook.objects.get(name="ransomware_emergency")
    authoring.edit_playbook(playbook_id=book.id, changes={"title": "Emergency!"}, actor=ANALYST)
    shown = text_of(signed_in("viewer").get(f"/admin/agents/playbook/{book.pk}/change/"))
    for part in ("<svg", "isolate all", "snapshot", "executive brief", "+title: Emergency!"):
        assert part in shown


def test_a_run_shows_its_steps_and_can_be_called_off(recorder):
    execution = begin(write(ISOLATE), ANALYST)
    work_off()
    client = signed_in("analyst")
    page = f"/admin/agents/execution/{execution.pk}/"
    shown = text_of(client.get(f"{page}change/"))
    assert "awaiting approval" in shown
    assert HOSTILE not in shown
    client.post(f"{page}do/cancel/")
    assert statuses(execution) == {"isolate": "cancelled"}


def test_the_inbox_counts_and_decides(recorder):
    execution = begin(write(ISOLATE), ANALYST)
    work_off()
    client, approval = signed_in("analyst"), Approval.objects.get()
    inbox = text_of(client.get("/admin/agents/approval/"))
    assert HOSTILE not in inbox
    assert "Isolate host" in inbox
    assert approvals.pending_count() == 1
    client.post(f"/admin/agents/approval/{approval.pk}/do/approve/")
    work_off()
    assert statuses(execution) == {"isolate": "completed"}


def test_a_viewer_reads_the_inbox_and_decides_nothing(recorder):
    begin(write(ISOLATE), person("ada"))
    work_off()
    client, approval = signed_in("viewer"), Approval.objects.get()
    assert "/do/approve/" not in text_of(client.get(f"/admin/agents/approval/{approval.pk}/change/"))
    assert client.post(f"/admin/agents/approval/{approval.pk}/do/approve/").status_code == 403


def test_a_playbook_is_run_from_a_case_by_a_press(recorder):
    case, book = make_case(), write(ISOLATE)
    answer = signed_in("analyst").post(
        f"/admin/cases/case/{case.pk}/do/run-playbook/", {"choice": f"dry:{book.pk}"}, follow=True
    )
    assert answer.status_code == 200
    assert Execution.objects.get().dry_run


def test_who_asked_is_told_so_and_is_offered_no_decision(recorder):
    client = signed_in("analyst")
    person = User.objects.get()
    begin(write(ISOLATE), actor_from_user(person))
    work_off()
    approval = Approval.objects.get()
    shown = text_of(client.get(f"/admin/agents/approval/{approval.pk}/change/"))
    assert "/do/approve/" not in shown
    assert "You asked for this" in shown


def test_who_has_agreed_is_told_that_another_person_has_to(recorder):
    begin(write({"name": "revoke", "action": "revoke_certificate", "parameters": {"certificates": ["a"]}}), ANALYST)
    work_off()
    client, approval = signed_in("analyst"), Approval.objects.get()
    client.post(f"/admin/agents/approval/{approval.pk}/do/approve/")
    shown = text_of(client.get(f"/admin/agents/approval/{approval.pk}/change/"))
    assert "/do/approve/" not in shown
    assert "another person has to" in shown


def test_a_rejection_without_a_reason_is_refused_as_everywhere(recorder):
    begin(write(ISOLATE), ANALYST)
    work_off()
    approval = Approval.objects.get()
    shown = text_of(signed_in("analyst").post(f"/admin/agents/approval/{approval.pk}/do/reject/", follow=True))
    assert "A rejection needs a reason" in shown
    approval.refresh_from_db()
    assert approval.status == "pending"


def test_the_inbox_has_what_waits_above_what_is_decided(recorder):
    book = write(ISOLATE)
    waiting = begin(book, ANALYST)
    work_off()
    decided = begin(book, ANALYST)
    work_off()
    approvals.reject(approval_id=decided.approvals.get().id, actor=person("lea"), reason="no")
    shown = text_of(signed_in("viewer").get("/admin/agents/approval/"))
    first, second = (shown.index(str(run.approvals.get().pk)) for run in (waiting, decided))
    assert first < second


def test_a_case_shows_the_runs_on_it_and_the_question_that_waits(recorder):
    case, book = make_case(), write(ISOLATE)
    executions.execute(playbook_id=book.id, case_id=case.id, actor=ANALYST)
    work_off()
    shown = text_of(signed_in("viewer").get(f"/admin/cases/case/{case.pk}/change/"))
    assert "Playbook runs" in shown
    assert f"/admin/agents/approval/{Approval.objects.get().pk}/change/" in shown


def test_a_run_that_went_on_past_a_failure_does_not_look_as_if_all_were_well(recorder):
    Connector.objects.all().delete()
    begin(write({"name": "tell", "action": "notify", "on_failure": "continue"}), ANALYST)
    work_off()
    assert Execution.objects.get().status == "completed"
    assert "Completed with failures" in text_of(signed_in("viewer").get("/admin/agents/execution/"))


def test_a_connector_is_tested_by_a_press_which_says_what_came_of_it():
    connector = Connector.objects.get(name="blocklist")
    shown = text_of(signed_in("operator").post(f"/admin/agents/connector/{connector.pk}/do/test/", follow=True))
    assert "It works: " in shown
    connector.refresh_from_db()
    assert connector.tested_at is not None


EMAIL = {"kind": "email", "name": "mail", "settings.host": "mail.corp.example", "settings.port": "25"}
EMAIL |= {"settings.security": "starttls", "settings.sender": "soc@corp.example", "settings.password": "hush-hush-hush"}


def test_a_connectors_page_shows_its_breaker_as_an_agents_does():
    connector = Connector.objects.get(name="blocklist")
    breaker = connectors.breaker_of(connector)
    breaker.force_open()
    shown = text_of(signed_in("operator").get(f"/admin/agents/connector/{connector.pk}/change/"))
    breaker.reset()
    for part in ("shared by all processes · held by an operator", "Next probe", "opens at 3"):
        assert part in shown


def test_a_connector_is_added_from_a_form_of_its_kind():
    client = signed_in("admin")
    assert 'name="settings.recipients"' in text_of(client.get("/admin/agents/connector/add/", {"kind": "email"}))
    lists = {"settings.recipients": "a@corp.example\n b@corp.example\n", "settings.approvers": "lea: lea@corp.example"}
    shown = text_of(client.post("/admin/agents/connector/add/", EMAIL | lists, follow=True))
    row = Connector.objects.get(name="mail")
    assert row.settings["recipients"] == ["a@corp.example", "b@corp.example"]
    assert (row.settings["port"], row.settings["approvers"]) == (25, {"lea": "lea@corp.example"})
    assert "b@corp.example" in shown
    assert "hush" not in shown


def test_a_setting_that_is_wrong_is_told_beside_its_field():
    wrong = EMAIL | {"settings.recipients": "a@corp.example\nb", "settings.sender": "nobody"}
    shown = text_of(signed_in("operator").post("/admin/agents/connector/add/", wrong))
    field = shown.index('name="settings.sender"')
    assert field < shown.index('role="alert"', field) < shown.index('name="settings.recipients"')
    assert "line 2: This does not have the form that it needs" in shown
    assert not Connector.objects.filter(name="mail").exists()


LDAP = {"url": "ldaps://dc.corp.example", "bind_dn": "cn=aurora", "password": "hush-hush", "base_dn": "dc=corp"}
SETTINGS: dict[str, dict[str, object]] = {
    "blocklist": {"expires_hours": None, "protected": ["corp.example", "192.0.2.0/24"]},
    "ioc_store": {},
    "webhook": {"url": "https://hooks.corp.example/a?b=c", "secret": "s" * 20},
    "email": {"host": "mail.corp.example", "port": 25, "security": "tls", "sender": "soc@corp.example"}
    | {"recipients": ["a@corp.example", "b@corp.example"], "approvers": {"lea": "lea@corp.example"}},
    "chat": {"urls": ["json://chat.corp.example/x"], "approvers": {"lea": "json://chat.corp.example/lea"}},
    "wazuh": {"url": "https://wazuh.corp.example:55000", "username": "soc", "password": "hush-hush"}
    | {"commands": {}, "undo_commands": {"isolate_host": "!join"}, "agents": ["001", "002"]},
    "ldap": LDAP
    | {"scheme": "attribute", "attribute": "nsAccountLock", "disabled_value": "true"}
    | {"user_attributes": ["uid", "mail"], "protected": ["cn=break glass, dc=corp", "svc-*"]},
}


def _typed(form) -> dict[str, object]:
    """What a browser sends of a form that nobody has touched."""
    bound = {field.html_name: field.value() for field in form if field.value() not in (None, False)}
    return {name: str(value) if isinstance(value, int | float) else value for name, value in bound.items()}


def _connector(kind: str) -> Connector:
    changes = {"settings": SETTINGS[kind], "priority": 7}
    return connectors.configure(name=f"my {kind}", kind=kind, changes=changes, actor=ADMIN)


@pytest.mark.parametrize("kind", ConnectorKind.values)
def test_settings_that_nobody_touched_stay_as_they_are(kind):
    row = _connector(kind)
    before, client, page = connectors.wired(row).settings, signed_in("operator"), _edit_page(row)
    form = client.get(page).context["form"]
    assert client.post(page, _typed(form)).status_code == 302
    row.refresh_from_db()
    assert (connectors.wired(row).settings, row.priority) == (before, 7)
    assert not AuditEntry.objects.filter(action="connector.configured").exists()


def _edit_page(row: Connector) -> str:
    return f"/admin/agents/connector/{row.pk}/edit/"


def test_a_changed_setting_is_kept_audited_and_has_to_be_tested_anew():
    row, client = _connector("email"), signed_in("operator")
    Connector.objects.filter(pk=row.pk).update(tested_at=timezone.now())
    form = _typed(client.get(_edit_page(row)).context["form"])
    changed = form | {"settings.host": "mx.corp.example", "settings.approvers": "", "max_in_flight": "2"}
    shown = text_of(client.post(_edit_page(row), changed | {"settings.password": "new-secret-word"}, follow=True))
    row.refresh_from_db()
    assert (row.settings["host"], row.settings["approvers"], row.max_in_flight, row.tested_at) == (
        *("mx.corp.example", {}, 2),
        None,
    )
    assert connectors.wired(row).settings.password == "new-secret-word"
    entry = AuditEntry.objects.get(action="connector.configured")
    assert (entry.before["settings.host"], entry.after["settings.host"]) == ("mail.corp.example", "mx.corp.example")
    assert entry.after["secrets"] == ["password"]
    assert "new-secret-word" not in f"{entry.before}{entry.after}{shown}"


def test_a_secret_is_not_shown_stays_when_left_empty_and_can_be_forgotten():
    row, client = _connector("chat"), signed_in("operator")
    page = text_of(client.get(_edit_page(row)))
    assert "chat.corp.example" not in page
    assert 'name="forget.urls"' not in page  # a room it needs
    form = _typed(client.get(_edit_page(row)).context["form"])
    client.post(_edit_page(row), form | {"forget.approvers": "on"})
    row.refresh_from_db()
    held = connectors.wired(row).settings
    assert (held.urls, held.approvers) == (["json://chat.corp.example/x"], {})


def test_what_a_connector_serves_is_chosen_in_its_form():
    row, client = _connector("webhook"), signed_in("operator")
    form = _typed(client.get(_edit_page(row)).context["form"])
    client.post(_edit_page(row), form | {"actions": ["notify", "isolate_host"]})
    row.refresh_from_db()
    assert row.actions == ["isolate_host", "notify"]


def test_settings_are_changed_by_who_manages_connectors_and_by_nobody_else():
    row = _connector("webhook")
    assert signed_in("analyst").get(_edit_page(row)).status_code == 403
    assert signed_in("operator").get(f"/admin/agents/connector/{row.pk}x/edit/").status_code == 404
    wrong = {"settings.url": "nowhere", "actions": "notify", "priority": "1", "max_in_flight": "1"}
    assert 'role="alert"' in text_of(signed_in("operator").post(_edit_page(row), wrong))


def test_what_is_told_of_a_field_is_told_to_those_who_hear_the_page():
    page = _edit_page(_connector("webhook"))
    for shown in (signed_in("operator").get(page), signed_in("operator").post(page, {"settings.url": "nowhere"})):
        named = {name for names in re.findall(r'aria-describedby="([^"]+)"', text_of(shown)) for name in names.split()}
        ids = re.findall(r'id="([^"]+)"', text_of(shown))
        assert named <= set(ids)
        assert {"id_priority_helptext", "id_settings.secret_helptext"} <= named
    assert {"id_actions_error", "id_priority_error"} <= named


@pytest.mark.parametrize("kind", ConnectorKind.values)
def test_each_kind_of_connector_has_its_form(kind):
    assert f'value="{kind}"' in text_of(signed_in("operator").get("/admin/agents/connector/add/", {"kind": kind}))


@pytest.mark.parametrize("kind", ["", "carrier_pigeon"])
def test_without_a_kind_the_form_asks_for_one(kind):
    assert "E-mail</option>" in text_of(signed_in("operator").get("/admin/agents/connector/add/", {"kind": kind}))


def test_an_analyst_adds_no_connector():
    assert signed_in("analyst").get("/admin/agents/connector/add/").status_code == 403


def test_a_playbook_is_edited_from_its_present_text():
    book = Playbook.objects.get(name="malware_response")
    shown = text_of(signed_in("analyst").get("/admin/agents/playbook/add/", {"from": str(book.pk)}))
    assert "name: malware_response" in shown
    assert re.search(r'name="replaces"[^>]* checked', shown)


@pytest.mark.parametrize("model", ["playbook", "execution", "approval", "blocklistentry", "connector", "delivery"])
def test_every_list_answers(model):
    text_of(signed_in("admin").get(f"/admin/agents/{model}/"))


# ---- playbooks: compared, rehearsed, taken out, brought in

IMPORTED = "name: brought_in\nsteps:\n  - name: tell\n    action: notify\n"


def test_any_two_versions_are_compared():
    book = Playbook.objects.get(name="malware_response")
    for title in ("First", "Second", "Third"):
        authoring.edit_playbook(playbook_id=book.id, changes={"title": title}, actor=ANALYST)
    page = f"/admin/agents/playbook/{book.pk}/change/"
    latest = text_of(signed_in("viewer").get(page))
    assert "-title: Second" in latest
    assert "+title: Third" in latest
    chosen = text_of(signed_in("viewer").get(page, {"before": "2", "after": "4"}))
    assert "-title: First" in chosen
    assert "version 4" in chosen


@pytest.mark.parametrize("number", ["0", "99", "x", "-1", "9999999999", "²"])
def test_a_version_that_there_is_not_is_not_found(number):
    book = Playbook.objects.get(name="malware_response")
    client = signed_in("viewer")
    assert client.get(f"/admin/agents/playbook/{book.pk}/change/", {"after": number}).status_code == 404
    assert client.get(f"/admin/agents/playbook/{book.pk}/export/", {"version": number}).status_code == 404


def test_what_an_author_wrote_is_shown_as_text_in_a_comparison():
    book = write(ISOLATE)
    authoring.edit_playbook(playbook_id=book.id, changes={"title": HOSTILE}, actor=ANALYST)
    assert HOSTILE not in text_of(signed_in("viewer").get(f"/admin/agents/playbook/{book.pk}/change/"))


def test_a_playbook_that_was_exported_is_imported_as_the_same():
    client, book = signed_in("analyst"), Playbook.objects.get(name="phishing_response")
    file = client.get(f"/admin/agents/playbook/{book.pk}/export/")
    assert file.headers["Content-Disposition"] == 'attachment; filename="phishing_response-v1.yaml"'
    renamed = file.content.replace(b"name: phishing_response", b"name: ours")
    form = {"file": SimpleUploadedFile("ours.yaml", renamed)}
    text_of(client.post("/admin/agents/playbook/add/", form, follow=True))
    ours, theirs = (
        authoring.current_version(Playbook.objects.get(name=name)).definition for name in ("ours", "phishing_response")
    )
    assert ours == theirs | {"name": "ours"}


def test_an_import_replaces_only_when_asked_to():
    client = signed_in("analyst")
    client.post("/admin/agents/playbook/add/", {"text": IMPORTED})
    changed = IMPORTED + "    timeout: 5\n"
    refused = text_of(client.post("/admin/agents/playbook/add/", {"text": changed}))
    assert "A playbook named brought_in exists" in refused
    client.post("/admin/agents/playbook/add/", {"text": changed, "replaces": "on"})
    book = Playbook.objects.get(name="brought_in")
    assert (book.version, authoring.current_version(book).definition["steps"][0]["timeout"]) == (2, 5)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"text": "name: x\nsteps:\n  - name: a\n    action: explode\n"}, "line 4"),
        ({"text": ""}, "Choose a file, or paste a text"),
        ({"text": "a: [" * 10}, "line 1"),
        ({"file": SimpleUploadedFile("x.yaml", b"\xff\xfe")}, "no text in UTF-8"),
        ({"file": SimpleUploadedFile("x.yaml", b"name: \0")}, "NUL"),
    ],
)
def test_an_import_that_is_none_says_what_is_wrong(form, says):
    assert says in text_of(signed_in("analyst").post("/admin/agents/playbook/add/", form))


def test_a_viewer_takes_playbooks_out_and_brings_none_in():
    client, book = signed_in("viewer"), Playbook.objects.get(name="phishing_response")
    assert client.get(f"/admin/agents/playbook/{book.pk}/export/").status_code == 200
    assert client.post("/admin/agents/playbook/add/", {"text": IMPORTED}).status_code == 403
    assert signed_in("operator").get(f"/admin/agents/playbook/{book.pk}/export/").status_code == 403


def test_one_press_rehearses_a_playbook_over_the_newest_alert(recorder):
    make_alert(title="Older"), make_alert(title="Newest", affected_assets=["ws-12"])
    client, book = signed_in("analyst"), Playbook.objects.get(name="malware_response")
    page = text_of(client.get(f"/admin/agents/playbook/{book.pk}/change/"))
    [chosen] = re.findall(r'<option value="([\w-]+)" selected>On “Newest”</option>', page)
    client.post(f"/admin/agents/playbook/{book.pk}/do/rehearse/", {"choice": chosen})
    work_off()
    execution = Execution.objects.get()
    assert (execution.dry_run, execution.status, recorder.told) == (True, "completed", [])
    shown = text_of(client.get(f"/admin/agents/execution/{execution.pk}/change/"))
    assert "Would be done by recorder, after 1 person agrees" in shown


def test_an_approvals_page_says_what_where_who_and_who_was_told(recorder):
    execution = begin(write(ISOLATE), ANALYST)
    work_off()
    approval = Approval.objects.get()
    ApprovalLink.objects.create(digest="d", approval=approval, username="lea", error="no route to <host>")
    approvals.reject(approval_id=approval.id, actor=person("lea"), reason="a <b>false</b> alarm")
    shown = text_of(signed_in("viewer").get(f"/admin/agents/approval/{approval.pk}/change/"))
    for part in (
        "its risk is high",
        execution.reference,
        "a &lt;b&gt;false&lt;/b&gt; alarm",
        "no route to &lt;host&gt;",
    ):
        assert part in shown


@pytest.mark.parametrize("model", ["execution", "approval"])
def test_pages_that_move_name_what_moves_them(recorder, model):
    execution = begin(write(ISOLATE), ANALYST)
    work_off()
    row = execution if model == "execution" else Approval.objects.get()
    for page in (f"/admin/agents/{model}/", f"/admin/agents/{model}/{row.pk}/change/"):
        shown = text_of(signed_in("viewer").get(page))
        assert 'id="au-live"' in shown
        assert "approval.decided" in shown


REVOKE = {"name": "revoke", "action": "revoke_certificate", "parameters": {"certificates": ["serial 12"]}}
BLOCK = {
    "name": "block",
    "action": "block_ip",
    "parameters": {"targets": ["198.51.100.7"]},
    "requires_approval": "always",
}
SCAN = {"name": "scan", "action": "run_scan", "parameters": {"hosts": ["ws-12"]}, "requires_approval": "always"}


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (ISOLATE, "By hand alone: the playbook does not reconnect the host"),
        (ISOLATE | {"rollback": {"action": "isolate_host"}}, "Yes: reconnect the host"),
        (REVOKE, "<dd>No</dd>"),
        (BLOCK | {"rollback": {"action": "block_ip"}}, "Yes: lift the block"),
        (SCAN, "There is nothing to undo"),
    ],
)
def test_who_decides_reads_whether_it_can_be_undone(recorder, step, says):
    begin(write(step), ANALYST)
    work_off()
    assert says in text_of(signed_in("viewer").get(f"/admin/agents/approval/{Approval.objects.get().pk}/change/"))


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (ISOLATE, "asks first"),
        (REVOKE, "asks two people first"),
        (BLOCK | {"requires_approval": "never"}, "never asks"),
    ],
)
def test_the_picture_says_who_is_asked_whether_the_author_says_so_or_the_risk(step, says):
    book = write(step)
    assert says in text_of(signed_in("viewer").get(f"/admin/agents/playbook/{book.pk}/change/"))


def test_what_would_be_blocked_is_shown_defanged_and_a_host_as_it_is_named(recorder):
    begin(write(BLOCK), ANALYST)
    begin(write(ISOLATE | {"parameters": {"hosts": ["fs-01.corp.example"]}}, name="other"), ANALYST)
    work_off()
    client = signed_in("viewer")
    inbox = text_of(client.get("/admin/agents/approval/"))
    assert "Block IP: 198[.]51[.]100[.]7" in inbox
    assert "Isolate host: fs-01.corp.example" in inbox
    page = text_of(client.get(f"/admin/agents/approval/{Approval.objects.get(action='block_ip').pk}/change/"))
    assert "<dd>198[.]51[.]100[.]7</dd>" in page


def test_on_a_cases_page_what_waits_for_somebody_stands_above_its_story(recorder):
    execution = begin(write(ISOLATE), ANALYST)
    shown = text_of(signed_in("analyst").get(f"/admin/cases/case/{execution.case_id}/change/"))
    assert shown.index('class="au-main"') < shown.index("Playbook runs")
    work_off()
    shown = text_of(signed_in("analyst").get(f"/admin/cases/case/{execution.case_id}/change/"))
    assert shown.index("Waits for approval") < shown.index('class="au-main"')
