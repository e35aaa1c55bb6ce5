"""The block list by hand: read, and a block lifted before its time, in the console and over the API."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.playbooks import blocking, connectors, engine
from agents.playbooks.actions.blocklist import in_force
from agents.playbooks.models import BlocklistEntry, Connector, Execution, ExecutionStep
from agents.playbooks.states import StepState
from aurora.errors import Conflict, Denied, Invalid, Missing
from aurora.ids import new_id
from aurora.models import AuditEntry
from cases.models import Case, Ioc
from tests.agents.playbooks.stage import begin, block, person, work_off, write
from tests.cast import ANALYST, OPERATOR, VIEWER, ApiClient
from tests.console_pages import signed_in, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

ADDRESS = "198.51.100.7"


def _blocked(name: str = "drill") -> BlocklistEntry:
    """By a run over a case."""
    begin(write(block(), name=name), ANALYST)
    work_off()
    return BlocklistEntry.objects.latest("id")


def _feed() -> list[str]:
    feed: bytes = ApiClient("viewer").call("GET", "/feeds/blocklist?type=ip").content
    return feed.decode().split()


def test_a_lifted_block_is_off_the_feed_audited_and_in_the_cases_timeline():
    entry = _blocked()
    assert _feed() == [ADDRESS]
    blocking.lift(entry_id=entry.id, reason="our own scanner", actor=person("lea"))
    assert _feed() == []
    audited = AuditEntry.objects.get(action="block.lifted")
    assert (audited.actor, audited.before["value"], audited.after["reason"]) == ("lea", ADDRESS, "our own scanner")
    case = Case.objects.get(executions__steps__id=entry.key)
    assert case.timeline.latest("id").text == f"Block of {ADDRESS} lifted by lea: our own scanner"


def test_whichever_runs_have_blocked_it_it_is_lifted_of_all():
    first, second = _blocked("one"), _blocked("two")
    blocking.lift(entry_id=first.id, reason="ours", actor=ANALYST)
    second.refresh_from_db()
    assert (second.lifted_by, second.lifted_because, in_force().exists()) == ("ana", "ours", False)
    assert AuditEntry.objects.filter(action="block.lifted").count() == 2


def test_a_step_told_again_does_not_block_what_somebody_has_lifted():
    entry = _blocked()
    blocking.lift(entry_id=entry.id, reason="ours", actor=ANALYST)
    step = ExecutionStep.objects.get(pk=entry.key)
    Execution.objects.update(status="running")
    ExecutionStep.objects.filter(pk=step.pk).update(status=StepState.RUNNING, lease_until=timezone.now() - timedelta(1))
    engine.run_step(step_id=step.pk)
    assert not in_force().exists()


@pytest.mark.parametrize(
    ("actor", "reason", "error"), [(VIEWER, "x", Denied), (OPERATOR, "x", Denied), (ANALYST, " \n", Invalid)]
)
def test_lifting_takes_the_right_and_a_reason(actor, reason, error):
    entry = _blocked()
    with pytest.raises(error):
        blocking.lift(entry_id=entry.id, reason=reason, actor=actor)
    assert in_force().count() == 1


def test_what_is_over_is_not_lifted_again():
    lifted, expired = _blocked("one"), _blocked("two")
    blocking.lift(entry_id=lifted.id, reason="ours", actor=ANALYST)
    BlocklistEntry.objects.filter(pk=expired.pk).update(lifted_at=None, expires_at=timezone.now())
    for entry in (lifted, expired):
        with pytest.raises(Conflict):
            blocking.lift(entry_id=entry.id, reason="again", actor=ANALYST)
    with pytest.raises(Missing):
        blocking.lift(entry_id=new_id(), reason="x", actor=ANALYST)


def test_the_api_lists_what_is_blocked_and_lifts_it():
    entry, analyst = _blocked(), ApiClient("analyst")
    [listed] = analyst.call("GET", f"/blocklist?state=blocked&value={ADDRESS}").json()["items"]
    assert (listed["id"], listed["type"], listed["lifted_at"]) == (str(entry.id), "ip", None)
    assert analyst.call("GET", "/blocklist?state=over").json()["items"] == []
    assert analyst.call("POST", f"/blocklist/{entry.id}/lift", {"reason": ""}).status_code == 400
    done = analyst.call("POST", f"/blocklist/{entry.id}/lift", {"reason": "ours"})
    assert (done.status_code, done.json()["lifted_because"]) == (200, "ours")
    assert analyst.call("POST", f"/blocklist/{entry.id}/lift", {"reason": "ours"}).status_code == 409
    assert analyst.call("GET", "/blocklist?state=blocked").json()["items"] == []
    assert len(analyst.call("GET", "/blocklist?state=over").json()["items"]) == 1
    assert ApiClient("operator").call("POST", f"/blocklist/{entry.id}/lift", {"reason": "x"}).status_code == 403


def test_the_console_lifts_with_a_reason_and_says_by_whom():
    entry, client = _blocked(), signed_in("analyst")
    page = f"/admin/agents/blocklistentry/{entry.pk}/"
    assert f"{page}do/lift/" in text_of(client.get(f"{page}change/"))
    assert "needs a reason" in text_of(client.post(f"{page}do/lift/", {"text": ""}, follow=True))
    shown = text_of(client.post(f"{page}do/lift/", {"text": "our <b>own</b>"}, follow=True))
    assert "198[.]51[.]100[.]7 is lifted" in shown
    assert f"/admin/agents/execution/{Execution.objects.get().pk}/change/" in shown
    listed = text_of(client.get("/admin/agents/blocklistentry/", {"q": "198[.]51[.]100[.]7"}))
    assert "198[.]51[.]100[.]7</code>" in listed
    assert "our &lt;b&gt;own&lt;/b&gt;" in shown
    assert "do/lift/" not in shown


def test_a_viewer_reads_the_entry_and_lifts_nothing():
    entry, client = _blocked(), signed_in("viewer")
    page = f"/admin/agents/blocklistentry/{entry.pk}/"
    assert "do/lift/" not in text_of(client.get(f"{page}change/"))
    assert client.post(f"{page}do/lift/", {"text": "x"}).status_code == 403


def test_who_lifts_is_told_when_an_indicator_still_has_it_blocked():
    entry = _blocked()
    Ioc.objects.update_or_create(type="ip", value=ADDRESS, defaults={"confidence": 0.9, "status": "active"})
    page = f"/admin/agents/blocklistentry/{entry.pk}/"
    shown = text_of(signed_in("analyst").post(f"{page}do/lift/", {"text": "ours"}, follow=True))
    assert "firewalls still block it" in shown


def test_nobody_is_told_so_of_what_is_protected():
    entry = _blocked()
    Ioc.objects.update_or_create(type="ip", value=ADDRESS, defaults={"confidence": 0.9, "status": "active"})
    own = Connector.objects.get(name="blocklist")
    connectors.reconfigure(connector_id=own.id, changes={"settings": {"protected": [ADDRESS]}}, actor=OPERATOR)
    assert _feed() == []
    page = f"/admin/agents/blocklistentry/{entry.pk}/"
    shown = text_of(signed_in("analyst").post(f"{page}do/lift/", {"text": "ours"}, follow=True))
    assert "firewalls let it pass" in shown


PROTECTED = ["corp.example", "203.0.113.0/24", "2001:db8::/32"]


def _protect() -> None:
    own = Connector.objects.get(name="blocklist")
    connectors.reconfigure(connector_id=own.id, changes={"settings": {"protected": PROTECTED}}, actor=OPERATOR)


@pytest.mark.parametrize(
    "target",
    [
        *("corp.example", "MAIL.corp.example", "https://www.corp.example/a", "203.0.113.9", "http://203.0.113.9/x"),
        *("2001:db8::7", "https://[2001:db8::7]/", "http://10.0.0.5/x"),
        *("http://a[b@corp.example/", "http://\u2100@www.corp.example/"),
    ],
)
def test_what_is_protected_is_not_blocked_whoever_names_it(target):
    _protect()
    execution = begin(write(block(target=target)), ANALYST)
    work_off()
    assert "may be blocked" in execution.steps.get().error
    assert not BlocklistEntry.objects.exists()


@pytest.mark.parametrize(
    "target", ["notcorp.example", "corp.example.evil.test", "198.51.100.7", "https://evil.test/corp.example"]
)
def test_what_only_looks_like_it_is_blocked(target):
    _protect()
    begin(write(block(target=target)), ANALYST)
    work_off()
    assert in_force().exists()


def test_what_is_protected_later_leaves_the_feed_and_so_does_an_indicator():
    _blocked()
    Ioc.objects.create(type="ip", value="203.0.113.5", confidence=0.9, status="active")
    assert _feed() == [ADDRESS, "203.0.113.5"]
    _protect()
    assert _feed() == [ADDRESS]


@pytest.mark.parametrize(
    ("written", "target"),
    [
        *(
            ("corp[.]example", "mail.corp.example"),
            ("CORP.example.", "corp.example"),
            (" corp.example", "corp.example"),
        ),
        *(("bücher.example", "xn--bcher-kva.example"), ("203.0.113[.]9", "203.0.113.9")),
        *(("::ffff:203.0.113.9", "203.0.113.9"), ("[2001:DB8::7]", "2001:db8::7"), (" 203.0.113.0/24", "203.0.113.9")),
    ],
)
def test_a_place_protects_however_it_was_written(written, target):
    own = Connector.objects.get(name="blocklist")
    connectors.reconfigure(connector_id=own.id, changes={"settings": {"protected": [written]}}, actor=OPERATOR)
    begin(write(block(target=target)), ANALYST)
    work_off()
    assert not BlocklistEntry.objects.exists()


@pytest.mark.parametrize("place", ["", "not a place", "203.0.113.7/24", "https://corp.example/", "*"])
def test_only_places_are_protected(place):
    own = Connector.objects.get(name="blocklist")
    with pytest.raises(Invalid):
        connectors.reconfigure(connector_id=own.id, changes={"settings": {"protected": [place]}}, actor=OPERATOR)
