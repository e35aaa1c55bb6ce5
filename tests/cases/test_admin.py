"""The console's pages of alerts, cases and IOCs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cases import pages
from cases.lifecycle import link_alert, open_case, promote_alert
from cases.models import Alert, AlertIoc, AlertPivot, AlertSighting, Case, IngestReject, Ioc
from tests.cast import ANALYST
from tests.console_pages import make_alert, signed_in, text_of
from tests.factories import make_case

pytestmark = pytest.mark.django_db

LIST = "/admin/cases/alert/"
HOSTILE = "<script>alert('x')</script>"


def _page(alert: Alert) -> str:
    return f"{LIST}{alert.pk}/change/"


def _ioc(alert: Alert, value: str = "203.0.113.7", kind: str = "ip") -> Ioc:
    ioc = Ioc.objects.create(type=kind, value=value, sightings=3)
    AlertIoc.objects.create(alert=alert, ioc=ioc)
    alert.iocs = [{"type": kind, "value": value}]
    alert.save()
    return ioc


@pytest.mark.parametrize("role", ["admin", "analyst", "operator", "viewer"])
def test_every_role_of_people_reads_the_list(role):
    make_alert(title="Cobalt Strike beacon")
    assert "Cobalt Strike beacon" in text_of(signed_in(role).get(LIST))


def test_strangers_see_no_alert():
    assert Client().get(LIST).status_code == 302


def test_an_operator_sees_no_iocs():
    assert signed_in("operator").get("/admin/cases/ioc/").status_code == 403


def test_severity_and_status_are_badges():
    make_alert(severity="critical", status="investigating")
    shown = text_of(signed_in("viewer").get(LIST))
    assert "au-severity-critical" in shown
    assert "au-status-investigating" in shown


def test_a_hostile_title_is_text_in_the_list():
    make_alert(title=HOSTILE, affected_assets=[HOSTILE], source=HOSTILE)
    assert HOSTILE not in text_of(signed_in("viewer").get(LIST))


def test_a_hostile_alert_is_text_on_its_page():
    alert = make_alert(
        title=HOSTILE,
        description=HOSTILE,
        raw=f'{{"a": "</pre>{HOSTILE}"}}',
        metadata={HOSTILE: HOSTILE},
        affected_assets=[HOSTILE],
    )
    shown = text_of(signed_in("viewer").get(_page(alert)))
    assert HOSTILE not in shown
    assert "&lt;script&gt;" in shown


def test_a_hostile_message_of_a_button_is_text():
    alert = make_alert(title=HOSTILE, status="resolved")
    answer = signed_in("analyst").post(LIST, {"action": "resolve", "_selected_action": [str(alert.pk)]}, follow=True)
    assert HOSTILE not in text_of(answer)


def test_lists_and_mappings_of_another_shape_break_no_page():
    alert = make_alert()
    Alert.objects.update(
        iocs={"no": "list"}, mitre_techniques=[7, None], metadata=["no mapping"], affected_assets=[{"a": 1}]
    )
    client = signed_in("viewer")
    assert client.get(_page(alert)).status_code == 200
    assert client.get(LIST).status_code == 200


def test_the_list_costs_the_same_for_one_alert_and_for_many():
    client = signed_in("analyst")
    promote_alert(alert_id=make_alert().pk, actor=ANALYST)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(LIST).status_code == 200
        return len(captured)

    few = queries()
    for _ in range(15):
        promote_alert(alert_id=make_alert().pk, actor=ANALYST)
    assert queries() == few


def test_the_list_does_not_load_the_raw_records():
    make_alert(raw="x")
    client = signed_in("viewer")
    with CaptureQueriesContext(connection) as captured:
        client.get(LIST)
    assert not [query for query in captured if '"cases_alert"."raw"' in query["sql"]]


def test_indicators_are_shown_defanged():
    alert = make_alert()
    _ioc(alert)
    shown = text_of(signed_in("viewer").get(_page(alert)))
    assert "203[.]0[.]113[.]7" in shown


def test_techniques_are_named_and_link_nowhere():
    shown = text_of(signed_in("viewer").get(_page(make_alert(mitre_techniques=["T1071.004"]))))
    assert "Application Layer Protocol: DNS" in shown
    assert "attack.mitre.org" not in shown


def test_a_json_record_is_indented():
    shown = text_of(signed_in("viewer").get(_page(make_alert(raw='{"flow_id":42}'))))
    assert '  <span class="au-json-key">&quot;flow_id&quot;</span>: <span class="au-json-number">42</span>' in shown


@pytest.mark.parametrize("term", ["203.0.113.7", "203[.]0[.]113[.]7", "WS-07", "t1071", "needle"])
def test_search_finds_by_indicator_asset_technique_and_title(term):
    found, other = make_alert(title="Haystack with needle"), make_alert(title="Something else")
    _ioc(found)
    AlertPivot.objects.create(alert=found, kind="asset", value="ws-07")
    AlertPivot.objects.create(alert=found, kind="technique", value="T1071")
    shown = text_of(signed_in("viewer").get(LIST, {"q": term}))
    assert str(found.pk) in shown
    assert str(other.pk) not in shown


def test_search_finds_by_id():
    found = make_alert()
    assert found.title in text_of(signed_in("viewer").get(LIST, {"q": str(found.pk)}))


@pytest.mark.parametrize(
    "query",
    [
        {"severity__exact": "critical"},
        {"status__exact": "escalated"},
        {"source": "zeek"},
        {"category__exact": "cloud"},
        {"assigned": "me"},
        {"acknowledged_at__isnull": "False"},
    ],
)
def test_filters_leave_what_they_ask_for(query):
    client = signed_in("analyst")
    me = User.objects.get(pk=client.session["_auth_user_id"])
    found = make_alert(
        severity="critical",
        status="escalated",
        source="zeek",
        category="cloud",
        assignee=me,
        acknowledged_at=timezone.now(),
    )
    other = make_alert()
    shown = text_of(client.get(LIST, query))
    assert str(found.pk) in shown
    assert str(other.pk) not in shown


def test_the_filter_of_sources_offers_each_once():
    for source in ("suricata", "wazuh", "suricata"):
        make_alert(source=source)
    assert text_of(signed_in("viewer").get(LIST)).count('title="suricata"') == 1


def test_acknowledging_is_one_press():
    alert = make_alert()
    client = signed_in("analyst")
    answer = client.post(f"{LIST}{alert.pk}/do/acknowledge/", follow=True)
    assert "Alert acknowledged." in text_of(answer)
    assert Alert.objects.get(pk=alert.pk).acknowledged_at


def test_a_button_is_pressed_by_post_alone():
    alert = make_alert()
    assert signed_in("analyst").get(f"{LIST}{alert.pk}/do/acknowledge/").status_code == 405
    assert Alert.objects.get(pk=alert.pk).acknowledged_at is None


def test_a_button_needs_the_csrf_token():
    client = Client(enforce_csrf_checks=True)
    client.cookies = signed_in("analyst").cookies
    assert client.post(f"{LIST}{make_alert().pk}/do/acknowledge/").status_code == 403


def test_a_viewer_presses_nothing():
    alert = make_alert()
    client = signed_in("viewer")
    assert client.post(f"{LIST}{alert.pk}/do/acknowledge/").status_code == 403
    assert "/do/acknowledge/" not in text_of(client.get(_page(alert)))


def test_a_viewer_runs_no_action_on_the_list():
    alert = make_alert()
    signed_in("viewer").post(LIST, {"action": "acknowledge", "_selected_action": [str(alert.pk)]})
    assert Alert.objects.get(pk=alert.pk).acknowledged_at is None


def test_an_unknown_button_is_not_found():
    assert signed_in("analyst").post(f"{LIST}{make_alert().pk}/do/explode/").status_code == 404


def test_promoting_leads_to_the_new_case():
    alert = make_alert()
    answer = signed_in("analyst").post(f"{LIST}{alert.pk}/do/promote/")
    assert answer.headers["Location"] == f"/admin/cases/case/{Case.objects.get().pk}/change/"


def test_what_the_state_forbids_is_shown_and_changes_nothing():
    alert = make_alert(status="false_positive")
    answer = signed_in("analyst").post(f"{LIST}{alert.pk}/do/resolve/", follow=True)
    assert "cannot become resolved" in text_of(answer)


def test_an_action_takes_row_by_row_and_stops_at_the_first_that_fails():
    third, second, first = make_alert(), make_alert(status="false_positive"), make_alert()
    chosen = [str(alert.pk) for alert in (first, second, third)]
    shown = text_of(signed_in("analyst").post(LIST, {"action": "resolve", "_selected_action": chosen}, follow=True))
    assert "1 alert resolved." in shown
    assert "cannot become resolved" in shown
    assert Alert.objects.get(pk=third.pk).status == "new"


def test_an_action_takes_no_more_than_a_page(monkeypatch):
    monkeypatch.setattr("aurora.console.verbs.AT_MOST", 2)
    chosen = [str(make_alert().pk) for _ in range(3)]
    shown = text_of(signed_in("analyst").post(LIST, {"action": "acknowledge", "_selected_action": chosen}, follow=True))
    assert "At most 2 at a time." in shown
    assert not Alert.objects.exclude(acknowledged_at=None).exists()


def test_alerts_are_neither_added_nor_deleted_nor_saved():
    alert, client = make_alert(), signed_in("admin")
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}{alert.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(_page(alert), {"title": "mine"}).status_code == 403


def test_a_case_shows_its_timeline_and_its_alerts():
    alert = make_alert(title="Beacon to 203.0.113.7", mitre_techniques=["T1071.004"])
    _ioc(alert)
    case = promote_alert(alert_id=alert.pk, actor=ANALYST)
    shown = text_of(signed_in("viewer").get(f"/admin/cases/case/{case.pk}/change/"))
    for part in ("Case opened", "Alert linked", str(alert.pk), "203[.]0[.]113[.]7", "Application Layer Protocol: DNS"):
        assert part in shown


def test_a_case_changes_its_status_by_its_verb_with_the_reason():
    case = open_case(title="Intrusion", severity="high", actor=ANALYST)
    form = {"status": "closed", "reason": "Benign: a pentest"}
    answer = signed_in("analyst").post(f"/admin/cases/case/{case.pk}/do/status/", form, follow=True)
    assert "Benign: a pentest" in text_of(answer)
    assert Case.objects.get(pk=case.pk).status == "closed"


def test_closing_a_case_without_a_reason_is_refused_in_words():
    case = open_case(title="Intrusion", severity="high", actor=ANALYST)
    answer = signed_in("analyst").post(f"/admin/cases/case/{case.pk}/do/status/", {"status": "closed"}, follow=True)
    assert "needs a resolution" in text_of(answer)


def test_a_comment_lands_in_the_timeline_as_text():
    case = open_case(title="Intrusion", severity="high", actor=ANALYST)
    answer = signed_in("analyst").post(f"/admin/cases/case/{case.pk}/do/comment/", {"text": HOSTILE}, follow=True)
    assert HOSTILE not in text_of(answer)
    assert case.timeline.filter(kind="comment", text=HOSTILE).exists()


def test_a_viewer_is_offered_no_form_on_a_case():
    case = open_case(title="Intrusion", severity="high", actor=ANALYST)
    assert "/do/" not in text_of(signed_in("viewer").get(f"/admin/cases/case/{case.pk}/change/"))


def test_the_list_of_cases_counts_their_alerts():
    case = promote_alert(alert_id=make_alert().pk, actor=ANALYST)
    for _ in range(11):
        link_alert(alert_id=make_alert().pk, case_id=case.pk, actor=ANALYST)
    assert '<span class="au-number">12</span>' in text_of(signed_in("viewer").get("/admin/cases/case/?state=open"))


def test_closed_cases_are_not_among_the_open():
    case = open_case(title="Long over", severity="low", actor=ANALYST)
    Case.objects.filter(pk=case.pk).update(status="closed")
    client = signed_in("viewer")
    assert "Long over" not in text_of(client.get("/admin/cases/case/?state=open"))
    assert "Long over" in text_of(client.get("/admin/cases/case/?state=closed"))


def test_an_ioc_shows_its_alerts_and_is_found_defanged():
    alert = make_alert(title="Beacon")
    ioc = _ioc(alert, "evil.example", "domain")
    client = signed_in("viewer")
    assert "evil[.]example" in text_of(client.get("/admin/cases/ioc/", {"q": "evil[.]example"}))
    shown = text_of(client.get(f"/admin/cases/ioc/{ioc.pk}/change/"))
    assert str(alert.pk) in shown
    assert "evil.example" not in shown


def test_a_rejected_record_is_shown_as_text():
    reject = IngestReject.objects.create(
        receipt="01890000-0000-7000-8000-000000000000", source="x", index=0, detail=HOSTILE, raw=HOSTILE
    )
    client = signed_in("analyst")
    assert HOSTILE not in text_of(client.get("/admin/cases/ingestreject/"))
    assert HOSTILE not in text_of(client.get(f"/admin/cases/ingestreject/{reject.pk}/change/"))


def _alike(**fields: object) -> tuple[Alert, Alert]:
    """Two alerts that share an address and a host, the second seen a minute after the first."""
    now = timezone.now()
    first = make_alert(title="The first", first_seen=now, last_seen=now)
    later = now + timedelta(minutes=1)
    second = make_alert(title="The second", first_seen=later, last_seen=later, **fields)
    _ioc(first)
    AlertIoc.objects.create(alert=second, ioc=Ioc.objects.get())
    for alert in (first, second):
        AlertPivot.objects.create(alert=alert, kind="asset", value="fs-01")
    return first, second


def test_related_alerts_are_shown_with_what_ties_them():
    first, second = _alike()
    shown = text_of(signed_in("viewer").get(_page(first)))
    for part in (_page(second), "The second", "IP address 203[.]0[.]113[.]7", "Asset fs-01", "1 min after"):
        assert part in shown


def test_a_related_alert_of_another_day_is_not_shown():
    long_ago = timezone.now() - timedelta(days=9)
    first, second = _alike()
    Alert.objects.filter(pk=second.pk).update(first_seen=long_ago, last_seen=long_ago)
    assert "The second" not in text_of(signed_in("viewer").get(_page(first)))


def test_a_hostile_tie_is_text():
    first, second = _alike()
    for alert in (first, second):
        AlertPivot.objects.create(alert=alert, kind="user", value=HOSTILE)
    assert HOSTILE not in text_of(signed_in("viewer").get(_page(first)))


def test_repetitions_are_shown_with_their_time_and_what_differed():
    alert = make_alert(count=2, metadata={"dest_port": 80, "proto": "TCP", "flow_id": 1})
    seen_at = datetime(2026, 3, 4, 12, 0, 5, tzinfo=UTC)
    AlertSighting.objects.create(
        alert=alert, seen_at=seen_at, metadata={"dest_port": 443, "proto": "TCP", "flow_id": 2}
    )
    lines = pages.alert_page(alert)["sightings"]
    assert [(line.seen_at, line.differences) for line in lines] == [(seen_at, ["dest_port 443"])]
    assert "2026-03-04 12:00:05 UTC" in text_of(signed_in("viewer").get(_page(alert)))


@pytest.mark.parametrize(
    ("value", "shown", "is_block"),
    [
        (["a", "b"], "a, b", False),
        ("2026-11-23T07:58:03.486598+0000", "2026-11-23 07:58:03 UTC", False),
        ("20261123", "20261123", False),
        ({"a": 1}, "au-json-key", True),
        ("x" * 61, "x" * 61, True),
    ],
)
def test_a_sensors_field_is_made_fit_to_be_read(value, shown, is_block):
    (field,) = pages.alert_page(make_alert(metadata={"name": value}))["metadata"]
    assert shown in str(field.value)
    assert field.is_block is is_block


def test_a_description_that_repeats_the_title_is_not_shown_again():
    alert = make_alert(title="Said once", description="Said once")
    assert "<h2>Description</h2>" not in text_of(signed_in("viewer").get(_page(alert)))


@pytest.mark.parametrize(("query", "shown"), [("", "No alerts yet"), ("?q=nothing", "No alerts match")])
def test_an_empty_list_says_whether_there_is_nothing_or_nothing_fits(query, shown):
    assert shown in text_of(signed_in("viewer").get(LIST + query))


def test_alerts_are_ordered_by_how_grave_they_are():
    for severity in ("info", "critical", "medium", "low", "high"):
        make_alert(severity=severity, title=f"Grave as {severity}")
    shown = text_of(signed_in("analyst").get(f"{LIST}?o=-1"))
    places = [shown.index(f"Grave as {severity}") for severity in ("critical", "high", "medium", "low", "info")]
    assert places == sorted(places)


def test_a_comment_is_shown_as_the_markdown_it_is_and_nothing_else():
    case = open_case(title="Intrusion", severity="high", actor=ANALYST)
    text = "**Same** host as last week.\n\n<script>alert(1)</script>"
    page = signed_in("analyst").post(f"/admin/cases/case/{case.pk}/do/comment/", {"text": text}, follow=True)
    assert "<strong>Same</strong>" in page.content.decode()
    assert "<script>alert(1)" not in page.content.decode()


@pytest.mark.parametrize("form", ["{0}", "{1}", " {2} "], ids=["reference", "its digits, small", "id"])
def test_a_case_is_found_by_its_reference_and_by_its_id(form):
    sought, other = make_case(title="The one"), make_case(title="Another")
    words = form.format(sought.reference, sought.reference[2:].lower(), sought.pk)
    shown = text_of(signed_in("viewer").get("/admin/cases/case/", {"q": words}))
    assert str(sought.pk) in shown
    assert f"/{other.pk}/" not in shown


@pytest.mark.parametrize(("model", "make"), [("alert", make_alert), ("case", make_case)])
def test_what_is_nobodys_is_taken_by_a_press_and_then_no_longer_offered(model, make):
    row, client = make(), signed_in("analyst")
    page = f"/admin/cases/{model}/{row.pk}/change/"
    assert "/do/take/" in text_of(client.get(page))
    shown = text_of(client.post(f"/admin/cases/{model}/{row.pk}/do/take/", follow=True))
    assert "/do/take/" not in shown
    row.refresh_from_db()
    assert row.assignee is not None
    assert row.assignee.username in text_of(client.get(f"/admin/cases/{model}/"))
