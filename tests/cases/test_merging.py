"""Two cases become one: what moves, what stays, what is refused, and what happens to several at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson
import pytest
from django.db import connection, transaction

from aurora.errors import AuroraError, Conflict, Denied, Invalid, Missing
from aurora.ids import new_id
from aurora.models import AuditEntry, OutboxEvent
from cases import evidence, intake, lifecycle, merging, queries, tasks, triage
from cases.models import Alert, Case, Evidence, Ioc
from cases.normalizers.alert import NormalizedAlert
from tests.cast import ANALYST, VIEWER, ApiClient
from tests.console_pages import signed_in, text_of
from tests.factories import make_alert, make_case
from tests.waiting import somebody_waits_for_a_lock, until

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _store(settings, tmp_path):
    settings.DATA_DIR = tmp_path


@pytest.fixture
def analyst() -> ApiClient:
    return ApiClient("analyst")


def _merge(source: Case, target: Case) -> Case:
    return merging.merge_case(case_id=source.id, into=target.id, actor=ANALYST)


def _file(case: Case, content: bytes) -> Evidence:
    return evidence.add_evidence(case_id=case.id, name="a.bin", chunks=[content], actor=ANALYST)


def _full() -> Case:
    """A case with some of everything that a case has."""
    case = make_case(alerts=[make_alert(iocs=["203.0.113.9"]), make_alert()], severity="high", confidence=0.8)
    lifecycle.comment(case_id=case.id, text="looking", actor=ANALYST)
    tasks.add_task(case_id=case.id, title="Ask the user", actor=ANALYST)
    _file(case, b"one")
    return case


def test_everything_of_the_one_is_the_others(analyst):
    source, target = _full(), make_case(severity="low", confidence=0.2, title="Beacon")
    ids = {str(row.pk) for row in (*source.alerts.all(), source.tasks.get(), source.evidence.get())}
    answer = analyst.call("POST", f"/cases/{source.id}/merge", {"into": str(target.id)})
    assert (answer.status_code, answer.json()["id"]) == (200, str(target.id))
    assert (answer.json()["severity"], answer.json()["confidence"]) == ("high", 0.8)
    moved = {item["id"] for item in answer.json()["alerts"]}
    for part in ("tasks", "evidence"):
        moved |= {item["id"] for item in analyst.call("GET", f"/cases/{target.id}/{part}").json()["items"]}
        assert analyst.call("GET", f"/cases/{source.id}/{part}").json()["items"] == []
    assert moved == ids
    assert list(Ioc.objects.filter(alert_links__alert__case=target).values_list("value", flat=True)) == ["203.0.113.9"]


def test_the_one_closes_and_says_where_it_goes_on(analyst):
    source, target = _full(), make_case()
    _merge(source, target)
    shown = analyst.call("GET", f"/cases/{source.id}").json()
    assert (shown["status"], shown["merged_into"], shown["alerts"]) == ("closed", str(target.id), [])
    assert shown["resolution"] == f"Merged into {target.reference}"
    entry = analyst.call("GET", f"/cases/{source.id}/timeline").json()["items"]
    assert [item["kind"] for item in entry] == ["merged"]
    assert "2 alerts, 1 task, 1 file" in entry[0]["text"]


def test_the_story_of_both_is_told_in_order_with_where_each_line_comes_from():
    source, target = make_case(), make_case()
    for case, text in ((source, "first"), (target, "second"), (source, "third")):
        lifecycle.comment(case_id=case.id, text=text, actor=ANALYST)
    _merge(source, target)
    lines = list(target.timeline.order_by("id"))
    assert [line.text for line in lines[:3]] == ["first", "second", "third"]
    assert [line.data.get("merged_from") for line in lines[:3]] == [str(source.id), None, str(source.id)]
    assert lines[3].text.startswith(f"Took in {source.reference}")


def test_a_line_keeps_its_first_origin_through_a_second_merge():
    first, second, third = make_case(), make_case(), make_case()
    lifecycle.comment(case_id=first.id, text="first", actor=ANALYST)
    _merge(first, second)
    _merge(second, third)
    assert third.timeline.get(text="first").data["merged_from"] == str(first.id)


def test_a_file_that_both_have_keeps_both_chains_of_custody():
    source, target = make_case(), make_case()
    double, kept, moved = _file(source, b"same"), _file(target, b"same"), _file(source, b"other")
    _merge(source, target)
    assert set(target.evidence.all()) == {kept, moved}
    assert set(source.evidence.all()) == {double}
    assert [link.action for link in moved.custody.order_by("id")] == ["collected", "moved"]
    assert "1 file that both have stayed" in target.timeline.get(kind="merged").text


def test_both_cases_and_each_alert_are_announced_and_audited():
    source, target = _full(), make_case()
    OutboxEvent.objects.all().delete()
    _merge(source, target)
    told = {row.aggregate: orjson.loads(row.data) for row in OutboxEvent.objects.all()}
    assert told[f"case:{source.id}"]["merged_into"] == str(target.id)
    assert told[f"case:{target.id}"]["severity"] == "high"
    assert {told[f"alert:{alert.id}"]["case_id"] for alert in target.alerts.all()} == {str(target.id)}
    entry = AuditEntry.objects.get(action="case.merged")
    assert (entry.target_id, entry.after["into"], entry.after["moved"]["alert"]) == (str(source.id), str(target.id), 2)
    assert AuditEntry.objects.get(action="case.took_in").target_id == str(target.id)


def test_merging_again_changes_nothing(analyst):
    source, target = _full(), make_case()
    bodies = [
        analyst.call("POST", f"/cases/{source.id}/merge", {"into": str(target.id)}).json()["updated_at"]
        for _ in range(2)
    ]
    assert bodies[0] == bodies[1]
    assert AuditEntry.objects.filter(action="case.merged").count() == 1


def test_a_case_is_not_merged_into_itself(analyst):
    case = make_case()
    answer = analyst.call("POST", f"/cases/{case.id}/merge", {"into": str(case.id)})
    assert answer.status_code == 400
    assert "into itself" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_case_that_is_not_there_is_missing(analyst, end):
    ids = {"source": make_case().id, "target": make_case().id} | {end: new_id()}
    assert analyst.call("POST", f"/cases/{ids['source']}/merge", {"into": str(ids["target"])}).status_code == 404


@pytest.mark.parametrize("body", [{}, {"into": "nonsense"}, {"into": None}, {"into": str(new_id()), "x": 1}])
def test_what_names_no_case_is_refused(analyst, body):
    assert analyst.call("POST", f"/cases/{make_case().id}/merge", body).status_code == 400


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_closed_case_neither_goes_nor_takes(end):
    made = {"source": make_case(), "target": make_case()} | {end: make_case(status="closed")}
    with pytest.raises(Conflict, match="The case is closed; reopen it first"):
        _merge(made["source"], made["target"])


def test_there_is_no_way_back_and_no_way_round():
    first, second, third = make_case(), make_case(), make_case()
    _merge(first, second)
    where = f"merged into {second.reference} \\({second.id}\\)"
    for source, target in ((second, first), (first, third), (third, first)):
        with pytest.raises(Conflict, match=where):
            _merge(source, target)


def test_a_case_that_went_further_says_where_it_is_now():
    first, second, third = make_case(), make_case(), make_case()
    _merge(first, second)
    _merge(second, third)
    with pytest.raises(Conflict, match=str(third.id)):
        lifecycle.comment(case_id=first.id, text="late", actor=ANALYST)


def _changes(case: Case) -> dict[str, tuple[str, str, Any]]:
    return {
        "edit": ("PATCH", f"/cases/{case.id}", {"title": "x"}),
        "reopen": ("PATCH", f"/cases/{case.id}", {"status": "in_progress", "reason": "x"}),
        "comment": ("POST", f"/cases/{case.id}/comments", {"text": "x"}),
        "task": ("POST", f"/cases/{case.id}/tasks", {"title": "x"}),
        "alert": ("POST", f"/alerts/{make_alert().id}/case-link", {"case_id": str(case.id)}),
        "investigation": ("POST", "/investigations", {"case_id": str(case.id)}),
    }


@pytest.mark.parametrize("change", ["edit", "reopen", "comment", "task", "alert", "investigation"])
def test_a_merged_case_refuses_every_change_and_says_where_to_go(analyst, change):
    source, target = make_case(), make_case()
    _merge(source, target)
    answer = analyst.call(*_changes(source)[change])
    expected = f"The case was merged into {target.reference} ({target.id}) and goes on there"
    assert (answer.status_code, answer.json()["detail"]) == (409, expected)


def test_a_merged_case_takes_no_evidence():
    source, target = make_case(), make_case()
    _merge(source, target)
    with pytest.raises(Conflict, match="merged into"):
        _file(source, b"late")


def test_who_may_not_write_merges_nothing():
    source, target = make_case(), make_case()
    assert ApiClient("viewer").call("POST", f"/cases/{source.id}/merge", {"into": str(target.id)}).status_code == 403
    with pytest.raises(Denied):
        merging.merge_case(case_id=source.id, into=target.id, actor=VIEWER)


def test_what_the_domain_refuses_is_of_its_own_kind():
    case = make_case()
    with pytest.raises(Invalid):
        _merge(case, case)
    with pytest.raises(Missing):
        merging.merge_case(case_id=case.id, into=new_id(), actor=ANALYST)


def test_the_console_merges_and_leads_to_the_case_that_goes_on():
    source, target, browser = _full(), make_case(title="Goes on"), signed_in("analyst")
    page = text_of(browser.get(f"/admin/cases/case/{source.pk}/change/"))
    assert f'<option value="{target.pk}">' in page
    assert f'<option value="{source.pk}">' not in page
    answer = browser.post(f"/admin/cases/case/{source.pk}/do/merge/", {"choice": str(target.pk)}, follow=True)
    assert answer.redirect_chain[-1][0] == f"/admin/cases/case/{target.pk}/change/"
    assert f"from {source.reference}" in text_of(answer)


def test_the_page_of_a_merged_case_has_a_way_on_and_no_form():
    source, target = _full(), make_case()
    _merge(source, target)
    page = text_of(signed_in("analyst").get(f"/admin/cases/case/{source.pk}/change/"))
    assert f"/admin/cases/case/{target.pk}/change/" in page
    assert "/do/" not in page


def test_the_page_asks_for_a_case():
    page = signed_in("analyst").post(f"/admin/cases/case/{make_case().pk}/do/merge/", {"choice": ""}, follow=True)
    assert "Choose a case" in text_of(page)


def _at_once(*calls: Callable[[], object]) -> list[str]:
    """What each call came to, all of them begun at the same time, each on a connection of its own."""

    def outcome(call: Callable[[], object]) -> str:
        try:
            call()
            return "done"
        except AuroraError as error:
            return type(error).__name__
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(outcome, calls))


@pytest.mark.django_db(transaction=True)
def test_of_two_merges_against_each_other_one_wins_and_nothing_is_lost():
    for _ in range(5):
        one, other = make_case(alerts=[make_alert(), make_alert()]), make_case(alerts=[make_alert()])
        outcomes = _at_once(partial(_merge, one, other), partial(_merge, other, one))
        assert sorted(outcomes) == ["Conflict", "done"]
        left = Case.objects.get(pk__in=[one.pk, other.pk], merged_into=None)
        assert (left.alerts.count(), left.status) == (3, "open")


@pytest.mark.django_db(transaction=True)
def test_of_two_merges_into_different_cases_one_wins():
    for _ in range(5):
        source, first, second = make_case(alerts=[make_alert()]), make_case(), make_case()
        outcomes = _at_once(partial(_merge, source, first), partial(_merge, source, second))
        assert sorted(outcomes) == ["Conflict", "done"]


@pytest.mark.django_db(transaction=True)
def test_a_ring_of_merges_at_once_leaves_one_open_case_with_everything():
    for _ in range(5):
        ring = [make_case(alerts=[make_alert()]) for _ in range(3)]
        _at_once(*(partial(_merge, ring[n], ring[(n + 1) % 3]) for n in range(3)))
        left = list(Case.objects.filter(pk__in=[case.pk for case in ring], merged_into=None))
        assert sum(case.alerts.count() for case in left) == 3
        assert {case.status for case in left} == {"open"}
        assert left


@pytest.mark.django_db(transaction=True)
def test_what_happens_to_its_parts_during_a_merge_is_neither_lost_nor_waits_in_a_ring():
    """Alerts are linked, judged and seen again, tasks and comments written, while their case goes into another one."""
    for round_number in range(8):
        _everything_at_once(round_number)


def _everything_at_once(round_number: int) -> None:
    seen = [_detection(f"seen {round_number} {number}") for number in range(4)]
    _bring(seen)
    alerts = list(Alert.objects.filter(title__startswith=f"seen {round_number} "))
    late, judged = make_alert(), alerts[0]
    source, target = make_case(alerts=alerts), make_case()
    outcomes = _at_once(
        lambda: _merge(source, target),
        lambda: lifecycle.link_alert(alert_id=late.id, case_id=source.id, actor=ANALYST),
        lambda: triage.change_status(alert_id=judged.id, status="escalated", actor=ANALYST),
        lambda: _bring(seen[::-1]),
        lambda: tasks.add_task(case_id=source.id, title="x", actor=ANALYST),
        lambda: lifecycle.comment(case_id=source.id, text="x", actor=ANALYST),
    )
    assert outcomes[0] == "done"
    assert (outcomes[2], outcomes[3]) == ("done", "done")
    assert set(outcomes) <= {"done", "Conflict"}
    assert (source.alerts.count(), source.tasks.count()) == (0, 0)
    assert source.timeline.count() == 1
    assert target.alerts.count() == 4 + (outcomes[1] == "done")
    assert target.tasks.count() == (outcomes[4] == "done")


def _detection(title: str) -> NormalizedAlert:
    return NormalizedAlert(title=title, severity="low", source="suricata", raw="")


def _bring(alerts: list[NormalizedAlert]) -> None:
    with transaction.atomic():
        intake.store([intake.parcel_of(alert, new_id()) for alert in alerts])


@pytest.mark.django_db(transaction=True)
def test_a_merge_waits_for_an_alert_that_is_just_joining_and_takes_it_along():
    alert, source, target = make_alert(), make_case(), make_case()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            lifecycle.link_alert(alert_id=alert.id, case_id=source.id, actor=ANALYST)
            merging_now = pool.submit(_at_once, lambda: _merge(source, target))
            until(somebody_waits_for_a_lock)
        assert merging_now.result() == ["done"]
    assert queries.alert(alert.id)["case_id"] == target.id
