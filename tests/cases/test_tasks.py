"""What is to be done for a case: who adds it, who has it, that it is done, and that all of it is on record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User

from aurora.errors import Conflict, Denied, Invalid, Missing
from aurora.ids import new_id
from aurora.models import AuditEntry, OutboxEvent
from cases import lifecycle, tasks
from cases.models import Case, CaseTask
from tests.cast import ANALYST, VIEWER, ApiClient, make_user
from tests.console_pages import signed_in, text_of
from tests.factories import make_case

pytestmark = pytest.mark.django_db

DUE = "2026-12-01T09:00:00Z"


@pytest.fixture
def analyst() -> ApiClient:
    return ApiClient("analyst")


def _add(case: Case, **more: Any) -> CaseTask:
    named: dict[str, Any] = {"title": "Ask the user", "actor": ANALYST} | more
    return tasks.add_task(case_id=case.id, **named)


def _told(case):
    return list(case.timeline.filter(kind="task").order_by("id").values_list("text", flat=True))


def test_a_task_is_added_and_listed_newest_first(analyst):
    make_user("analyst", "ana")
    case = make_case()
    body = {"title": "Ask the user", "description": "By telephone.", "assignee": "ana", "due_at": DUE}
    first = analyst.call("POST", f"/cases/{case.id}/tasks", body)
    analyst.call("POST", f"/cases/{case.id}/tasks", {"title": "Second"})
    assert first.status_code == 201
    assert first.json() | body == first.json()
    assert (first.json()["status"], first.json()["done_at"], first.json()["case_id"]) == ("open", None, str(case.id))
    page = analyst.call("GET", f"/cases/{case.id}/tasks").json()
    assert ([item["title"] for item in page["items"]], page["total"]) == (["Second", "Ask the user"], 2)


def test_tasks_are_found_by_their_status(analyst):
    case = make_case()
    done = _add(case, title="Done")
    _add(case, title="Open")
    tasks.edit_task(case_id=case.id, task_id=done.id, changes={"status": "done"}, actor=ANALYST)
    items = analyst.call("GET", f"/cases/{case.id}/tasks?status=open").json()["items"]
    assert [item["title"] for item in items] == ["Open"]


def test_a_change_sets_what_was_sent_and_nothing_else(analyst):
    make_user("analyst", "ana")
    task = _add(make_case(), assignee="ana", description="By telephone.")
    answer = analyst.call("PATCH", f"/cases/{task.case_id}/tasks/{task.id}", {"due_at": DUE}).json()
    assert (answer["due_at"], answer["assignee"], answer["description"]) == (DUE, "ana", "By telephone.")
    cleared = analyst.call("PATCH", f"/cases/{task.case_id}/tasks/{task.id}", {"assignee": None, "due_at": None}).json()
    assert (cleared["assignee"], cleared["due_at"], cleared["title"]) == (None, None, "Ask the user")


def test_a_task_that_is_done_says_by_whom_and_open_again_says_nothing():
    task = _add(make_case())
    done = tasks.edit_task(case_id=task.case_id, task_id=task.id, changes={"status": "done"}, actor=ANALYST)
    assert (done.status, done.done_by, done.done_at is not None) == ("done", ANALYST.name, True)
    again = tasks.edit_task(case_id=task.case_id, task_id=task.id, changes={"status": "open"}, actor=ANALYST)
    assert (again.status, again.done_by, again.done_at) == ("open", "", None)


def test_every_step_is_in_timeline_audit_and_events():
    case = make_case()
    task = _add(case)
    tasks.edit_task(case_id=case.id, task_id=task.id, changes={"status": "done"}, actor=ANALYST)
    assert _told(case) == ["Task added: Ask the user", "Task done: Ask the user"]
    entries = AuditEntry.objects.filter(target_id=str(task.id)).order_by("id")
    assert [entry.action for entry in entries] == ["task.added", "task.changed"]
    assert (entries[1].before, entries[1].after) == ({"status": "open"}, {"status": "done"})
    assert OutboxEvent.objects.filter(type="case.updated", aggregate=f"case:{case.id}").count() == 2


def test_a_case_whose_tasks_change_is_among_those_that_changed():
    case = make_case()
    before = case.updated_at
    _add(case)
    assert Case.objects.get().updated_at > before


def test_what_is_so_already_is_no_change():
    case = make_case()
    task = _add(case)
    tasks.edit_task(case_id=case.id, task_id=task.id, changes={"status": "open", "title": task.title}, actor=ANALYST)
    assert len(_told(case)) == 1


def test_a_closed_case_takes_no_task_and_changes_none(analyst):
    case = make_case()
    task = _add(case)
    lifecycle.change_status(case_id=case.id, status="closed", reason="over", actor=ANALYST)
    for method, path, body in (("POST", "", {"title": "More"}), ("PATCH", f"/{task.id}", {"status": "done"})):
        answer = analyst.call(method, f"/cases/{case.id}/tasks{path}", body)
        assert (answer.status_code, answer.json()["detail"]) == (409, "The case is closed; reopen it first")


def test_closing_says_what_is_left_undone():
    case = make_case()
    _add(case)
    lifecycle.change_status(case_id=case.id, status="closed", reason="over", actor=ANALYST)
    assert case.timeline.get(kind="status_changed").text == "Status open → closed: over (1 task left open)"


@pytest.mark.parametrize(
    "body",
    [{}, {"title": " "}, {"title": "x" * 501}, {"title": "x", "due_at": "tomorrow"}, {"title": "x", "status": "done"}],
    ids=["nothing", "blank title", "long title", "no date", "unknown field"],
)
def test_what_is_no_task_is_refused(analyst, body):
    assert analyst.call("POST", f"/cases/{make_case().id}/tasks", body).status_code == 400


def test_a_task_is_given_to_an_active_account_only():
    with pytest.raises(Invalid, match="no active user"):
        _add(make_case(), assignee="nobody-at-all")


def test_a_viewer_reads_tasks_and_adds_none():
    case = make_case()
    assert ApiClient("viewer").call("GET", f"/cases/{case.id}/tasks").status_code == 200
    assert ApiClient("viewer").call("POST", f"/cases/{case.id}/tasks", {"title": "x"}).status_code == 403
    with pytest.raises(Denied):
        _add(case, actor=VIEWER)


def test_a_task_of_one_case_is_not_found_through_another(analyst):
    task = _add(make_case())
    for case_id, task_id in ((make_case().id, task.id), (task.case_id, new_id()), (task.case_id, "nonsense")):
        assert analyst.call("PATCH", f"/cases/{case_id}/tasks/{task_id}", {"status": "done"}).status_code == 404
    assert analyst.call("GET", f"/cases/{new_id()}/tasks").status_code == 404
    with pytest.raises(Missing):
        tasks.add_task(case_id=new_id(), title="x", actor=ANALYST)


def test_what_a_part_of_the_product_leaves_is_left_on_a_closed_case_too():
    case = make_case(status="closed")
    task = tasks.leave_task(case_id=case.id, title="Undo by hand", description="", actor=ANALYST)
    assert CaseTask.objects.get(case=case) == task
    with pytest.raises(Conflict):
        _add(case)


def test_the_console_adds_a_task_and_ticks_it_off():
    make_user("analyst", "ana")
    case, browser = make_case(), signed_in("analyst")
    page = f"/admin/cases/case/{case.pk}"
    form = {"title": "<b>Ask</b>", "assignee": "ana", "due_at": "2026-01-02T03:04", "description": ""}
    shown = text_of(browser.post(f"{page}/do/task_add/", form, follow=True))
    task = CaseTask.objects.get()
    assert "&lt;b&gt;Ask&lt;/b&gt;" in shown
    assert "overdue since" in shown
    assert task.assignee == User.objects.get(username="ana")
    assert task.due_at == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    browser.post(f"{page}/do/task_move/", {"task": str(task.pk), "status": "done"})
    task.refresh_from_db()
    assert task.status == "done"


def test_the_console_changes_a_task():
    case, browser = make_case(), signed_in("analyst")
    task = _add(case)
    form = {"task": str(task.pk), "title": "Ask again", "assignee": "", "due_at": "", "description": "By mail."}
    browser.post(f"/admin/cases/case/{case.pk}/do/task_edit/", form)
    task.refresh_from_db()
    assert (task.title, task.description) == ("Ask again", "By mail.")


@pytest.mark.parametrize(
    ("verb", "form", "said"),
    [
        ("task_add", {"title": " "}, "A task needs a title"),
        ("task_add", {"title": "x", "due_at": "soon"}, "The date is none"),
        ("task_move", {"task": "nonsense"}, "Not Found"),
    ],
)
def test_the_console_says_what_a_form_lacks(verb, form, said):
    case = make_case()
    shown = text_of(signed_in("analyst").post(f"/admin/cases/case/{case.pk}/do/{verb}/", form, follow=True))
    assert said in shown
    assert not CaseTask.objects.exists()


def test_a_viewer_sees_tasks_without_forms():
    case = make_case()
    _add(case)
    shown = text_of(signed_in("viewer").get(f"/admin/cases/case/{case.pk}/change/"))
    assert "Ask the user" in shown
    assert "/do/task" not in shown


def test_a_report_tells_the_tasks():
    case = make_case()
    _add(case, title="Ask | the [user](http://evil.example)", due_at="2026-12-01T09:00:00+00:00")
    report = ApiClient("viewer").call("GET", f"/cases/{case.id}/report?format=md").content.decode()
    assert "## Tasks" in report
    assert "| Ask \\| the" in report
    data = orjson.loads(ApiClient("viewer").call("GET", f"/cases/{case.id}/report?format=json").content)
    assert [task["status"] for task in data["tasks"]] == ["open"]
