"""Approvers' links: made, sent by real connectors, opened by scanners and people, used once, and never more than their account may."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from aiosmtpd.controller import Controller
from django.contrib.auth.models import Group, User
from django.core.signing import Signer
from django.db import connections
from django.test import Client
from django.utils import timezone

from agents.playbooks import approvals, connectors, links, notices
from agents.playbooks.models import Approval, ApprovalLink, Connector
from agents.playbooks.workers import ApprovalNoticesWorker
from aurora import sealing
from aurora.bus.streams import Message
from aurora.errors import AuroraError, Conflict, Denied, Invalid
from aurora.identity.credentials import actor_from_user
from aurora.ids import new_id
from aurora.models import AuditEntry
from cases.models import TimelineEntry
from tests.agents.playbooks.stage import begin, now, person, work_off, write
from tests.cast import ADMIN, OPERATOR
from tests.group import free_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

ISOLATE = {"name": "isolate", "action": "isolate_host", "parameters": {"hosts": "{{ alert.hosts }}"}}
REVOKE = {"name": "revoke", "action": "revoke_certificate", "parameters": {"serial": "4711"}}
PAGE = "/decide/"


@pytest.fixture
def mail() -> Connector:
    return _mail({"lea": "lea@corp.example", "max": "max@corp.example"})


@pytest.fixture
def smtp(mail) -> Iterator[list[tuple[list[str], str]]]:
    """A real mail server on loopback, at which `mail` delivers: recipients and text of what it took."""
    taken: list[tuple[list[str], str]] = []

    class Keeper:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd calls it so
            taken.append((envelope.rcpt_tos, envelope.content.decode()))
            return "250 kept"

    controller = Controller(Keeper(), hostname="127.0.0.1", port=free_port())
    controller.start()
    connectors.reconfigure(connector_id=mail.id, changes={"settings": {"port": controller.port}}, actor=ADMIN)
    yield taken
    controller.stop()


def _mail(approvers: dict[str, str]) -> Connector:
    settings = {"host": "127.0.0.1", "port": 1, "security": "none", "sender": "soc@corp.example"}
    settings |= {"recipients": ["soc@corp.example"], "approvers": approvers}
    return connectors.configure(name="mail", kind="email", changes={"settings": settings}, actor=ADMIN)


def _asked(step=ISOLATE, by="ana") -> Approval:
    execution = begin(write(step), person(by))
    work_off()
    return Approval.objects.get(execution=execution)


def _token(approval: Approval, username: str, mail: Connector) -> str:
    _, url = links.made_for(approval=approval, username=username, connector=mail)
    return parse_qs(urlsplit(url).query)["link"][0]


def _address_in(text: str) -> str:
    """The link of a mail, whose long lines are folded."""
    found = re.search(r"http\S+", text.replace("=\r\n", "").replace("=3D", "="))
    assert found
    return found[0]


def _press(token: str, verdict="approved", reason="seen", client: Client | None = None):
    return (client or Client()).post(PAGE, {"link": token, "verdict": verdict, "reason": reason})


def _decide_once(token, barrier, results):
    barrier.wait()
    try:
        links.decide(token=token, verdict="approved", reason="")
        results.append("won")
    except AuroraError as error:
        results.append(error.detail)
    finally:
        connections.close_all()


# ---- sending


def test_every_approver_is_sent_a_link_of_their_own_once_for_an_announcement(recorder, smtp):
    person("lea"), person("max")
    approval, announcement = _asked(), new_id()
    notices.tell(approval_id=approval.id, announcement=announcement)
    notices.tell(approval_id=approval.id, announcement=announcement)
    assert sorted(to for (to,), _ in smtp) == ["lea@corp.example", "max@corp.example"]
    sent = {_address_in(text) for _, text in smtp}
    assert len(sent) == 2


def test_the_mail_says_what_where_and_why_and_its_link_works(recorder, smtp):
    person("lea")
    approval = _asked()
    notices.tell(approval_id=approval.id, announcement=new_id())
    [(_, text)] = smtp
    plain = text.replace("=\r\n", "").replace("=3D", "=")
    for part in ("Approval wanted: Isolate host on ws-12", "its risk is high", "Asked by:    ana", "for lea alone"):
        assert part in plain
    address = _address_in(text)
    assert address.startswith("http://127.0.0.1:8000/decide/?link=")
    assert Client().get(urlsplit(address).path + "?" + urlsplit(address).query).status_code == 200


def test_at_half_time_the_same_link_is_sent_again(recorder, smtp):
    person("lea")
    approval = _asked()
    for _ in range(2):
        notices.tell(approval_id=approval.id, announcement=new_id())
    assert len(smtp) == 2
    assert ApprovalLink.objects.count() == 1


def test_neither_who_asked_nor_who_may_not_nor_who_has_agreed_is_sent_one(recorder, smtp, caplog):
    person("lea"), person("max", role="viewer")
    connectors.reconfigure(
        connector_id=Connector.objects.get(name="mail").id,
        changes={"settings": {"approvers": {name: f"{name}@corp.example" for name in ("ana", "lea", "max", "nobody")}}},
        actor=ADMIN,
    )
    approval = _asked(REVOKE)
    approvals.approve(approval_id=approval.id, actor=actor_from_user(User.objects.get(username="lea")))
    notices.tell(approval_id=approval.id, announcement=new_id())
    assert smtp == []
    assert "approver_may_not_decide" in caplog.text


def test_nobody_is_told_of_what_is_decided(recorder, smtp):
    person("lea")
    approval = _asked()
    approvals.reject(approval_id=approval.id, actor=person("kim"), reason="no")
    notices.tell(approval_id=approval.id, announcement=new_id())
    assert smtp == []


def test_who_could_not_be_told_is_tried_again_and_seen(recorder, mail):
    person("lea")
    approval = _asked()
    with pytest.raises(OSError, match="lea"):
        notices.tell(approval_id=approval.id, announcement=new_id())
    row = ApprovalLink.objects.get(username="lea")
    assert (row.told_at, "refused" in row.error.lower()) == (None, True)


def test_a_target_in_a_mail_is_no_link(recorder, smtp):
    person("lea")
    approval = _asked(
        {"name": "b", "action": "block_ip", "requires_approval": "always", "parameters": {"targets": ["evil.example"]}}
    )
    notices.tell(approval_id=approval.id, announcement=new_id())
    assert "evil[.]example" in smtp[0][1]
    assert "evil.example" not in smtp[0][1]


def test_the_worker_reads_the_announcement(recorder, smtp):
    person("lea")
    approval = _asked()
    ApprovalNoticesWorker().handle(_announcement({"id": str(approval.id)}))
    assert len(smtp) == 1


def test_an_announcement_of_nothing_is_refused():
    with pytest.raises(Invalid):
        ApprovalNoticesWorker().handle(_announcement({}))


def _announcement(data: dict[str, str]) -> Message:
    return Message("aurora:system", "1-0", str(new_id()), "approval.requested", "", data, "")


def test_a_chat_approver_has_a_place_of_their_own_which_is_kept_secret():
    changes = {"settings": {"urls": ["json://127.0.0.1/room"], "approvers": {"lea": "json://127.0.0.1/lea-t0ken"}}}
    row = connectors.configure(name="chat", kind="chat", changes=changes, actor=ADMIN)
    assert "t0ken" not in str(connectors.describe(row))
    assert connectors.describe(row)["secrets"] == ["approvers", "urls"]


@pytest.mark.parametrize("wanted", [{"approvers": {"lea": "olga@corp.example"}}, {"host": "mail.olga.example"}])
def test_who_may_not_manage_accounts_does_not_say_where_their_links_go(mail, wanted):
    with pytest.raises(Denied, match="users:manage"):
        connectors.reconfigure(connector_id=mail.id, changes={"settings": wanted}, actor=OPERATOR)
    changes = {"settings": {**mail.settings, **wanted}}
    with pytest.raises(Denied, match="users:manage"):
        connectors.configure(name="another", kind="email", changes=changes, actor=OPERATOR)
    connectors.reconfigure(connector_id=mail.id, changes={"enabled": False}, actor=OPERATOR)


# ---- opening


def test_opening_a_link_decides_nothing_however_often(recorder, mail):
    person("lea")
    approval = _asked()
    token = _token(approval, "lea", mail)
    for method in ("get", "head", "get"):
        answer = getattr(Client(), method)(PAGE, {"link": token})
        assert answer.status_code == 200
    approval.refresh_from_db()
    assert (approval.status, ApprovalLink.objects.get().used_at) == ("pending", None)


def test_the_page_asks_with_a_form_that_posts_and_runs_no_script_of_its_own(recorder, mail):
    person("lea")
    answer = Client().get(PAGE, {"link": _token(_asked(), "lea", mail)})
    page = answer.content.decode()
    assert 'method="post"' in page
    assert "ws-12" in page
    assert not re.search(r"<script(?![^>]*src=)", page)
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "no-store" in answer.headers["Cache-Control"]


def test_what_an_attacker_named_is_shown_as_text(recorder, mail):
    person("lea")
    hostile = "<img src=x onerror=alert(1)>"
    approval = _asked({"name": "i", "action": "isolate_host", "parameters": {"hosts": [hostile]}})
    page = Client().get(PAGE, {"link": _token(approval, "lea", mail)}).content.decode()
    assert hostile not in page
    assert "&lt;img" in page


@pytest.mark.parametrize("how", ["", "x", "cut", "other key", "other salt", "session key", "long", "nul"])
def test_a_link_that_is_none_of_ours_opens_nothing(recorder, mail, settings, how):
    person("lea")
    approval = _asked()
    token = _token(approval, "lea", mail)
    body = [approval.id.hex, "lea", mail.id.hex]
    forged = {
        "cut": token[:-1],
        "other key": Signer(key="x" * 50, salt="approval-link").sign_object(body),
        "other salt": Signer(key=sealing.key_for("connector"), salt="approval-link").sign_object(body),
        "session key": Signer(key=settings.SECRET_KEY, salt="approval-link").sign_object(body),
        "long": "a" * 5_000,
        "nul": "a\0:b",
    }.get(how, how)
    for answer in (Client().get(PAGE, {"link": forged}), _press(forged)):
        assert answer.status_code == 404
        assert "no link of ours" in answer.content.decode()
    approval.refresh_from_db()
    assert approval.status == "pending"


def test_a_link_signed_for_somebody_else_than_it_was_made_for_is_unknown(recorder, mail):
    person("lea")
    approval = _asked()
    _token(approval, "lea", mail)
    forged = links._signer().sign_object([approval.id.hex, "root", mail.id.hex])
    assert Client().get(PAGE, {"link": forged}).status_code == 404


def test_where_somebody_else_is_signed_in_a_link_refuses(recorder, mail):
    person("lea"), person("max")
    token = _token(_asked(), "lea", mail)
    client = Client()
    client.force_login(User.objects.get(username="max"))
    for answer in (client.get(PAGE, {"link": token}), _press(token, client=client)):
        assert answer.status_code == 403
        assert "you are signed in as max" in answer.content.decode()
    client.force_login(User.objects.get(username="lea"))
    assert client.get(PAGE, {"link": token}).status_code == 200


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_nothing_but_looking_and_pressing_is_understood(method):
    assert getattr(Client(), method)(PAGE).status_code == 405


def test_a_press_needs_the_pages_own_token(recorder, mail):
    person("lea")
    token = _token(_asked(), "lea", mail)
    assert _press(token, client=Client(enforce_csrf_checks=True)).status_code == 403
    assert ApprovalLink.objects.get().used_at is None


# ---- deciding


def test_a_press_decides_in_the_name_of_the_links_account_and_the_trail_says_by_link(recorder, mail):
    person("lea")
    approval = _asked()
    answer = _press(_token(approval, "lea", mail), reason="seen it")
    assert answer.status_code == 200
    work_off()
    approval.refresh_from_db()
    assert (approval.status, now(approval.execution).status) == ("approved", "completed")
    entry = AuditEntry.objects.get(action="approval.approved")
    assert (entry.actor, entry.address, entry.after["by"], entry.after["reason"]) == (
        "lea",
        "127.0.0.1",
        "link",
        "seen it",
    )
    line = TimelineEntry.objects.filter(kind="approval").latest("id")
    assert line.text == "isolate (Isolate host) approved by lea, by link: seen it"


def test_in_a_showcase_a_press_decides_nothing(recorder, mail, settings):
    person("lea")
    token = _token(_asked(), "lea", mail)
    settings.MODE = "demo"
    answer = _press(token)
    assert (answer.status_code, "This is a showcase" in answer.content.decode()) == (403, True)
    assert (Approval.objects.get().status, ApprovalLink.objects.get().used_at) == ("pending", None)


def test_in_a_dry_run_a_press_is_shown_as_what_it_would_be_and_taken_back(recorder, mail, settings):
    person("lea")
    token = _token(_asked(), "lea", mail)
    settings.MODE = "dry_run"
    answer = _press(token)
    assert (answer.status_code, "nothing of it was kept" in answer.content.decode()) == (200, True)
    assert answer["X-Aurora-Mode"] == "dry_run"
    assert (Approval.objects.get().status, ApprovalLink.objects.get().used_at) == ("pending", None)


def test_a_rejection_by_link_needs_a_reason_and_leaves_the_link_good(recorder, mail):
    person("lea")
    approval = _asked()
    token = _token(approval, "lea", mail)
    answer = _press(token, "rejected", " ")
    assert answer.status_code == 400
    assert "needs a reason" in answer.content.decode()
    assert _press(token, "rejected", "a false alarm").status_code == 200
    approval.refresh_from_db()
    assert approval.status == "rejected"


def test_a_press_of_neither_button_decides_nothing(recorder, mail):
    person("lea")
    token = _token(_asked(), "lea", mail)
    assert _press(token, "").status_code == 400
    assert ApprovalLink.objects.get().used_at is None


def test_a_link_is_good_once(recorder, mail):
    person("lea")
    token = _token(_asked(), "lea", mail)
    _press(token)
    for answer in (Client().get(PAGE, {"link": token}), _press(token)):
        assert answer.status_code == 410
        assert "has been used" in answer.content.decode()
    assert AuditEntry.objects.filter(action="approval.approved").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_presses_at_once_one_decides(recorder, mail):
    person("lea")
    approval = _asked(REVOKE)
    token, barrier, results = _token(approval, "lea", mail), threading.Barrier(2), list[str]()
    pressing = [threading.Thread(target=_decide_once, args=(token, barrier, results)) for _ in range(2)]
    for thread in pressing:
        thread.start()
    for thread in pressing:
        thread.join()
    approval.refresh_from_db()
    assert sorted(results) == ["This link has been used", "won"]
    assert approval.granted == 1


def test_what_cannot_be_undone_takes_the_links_of_two_people(recorder, mail):
    person("lea"), person("max")
    approval = _asked(REVOKE)
    answer = _press(_token(approval, "lea", mail))
    assert "somebody else has to" in answer.content.decode()
    work_off()
    assert now(approval.execution).status == "awaiting_approval"
    _press(_token(approval, "max", mail))
    work_off()
    assert now(approval.execution).status == "completed"


def test_two_links_of_one_person_are_one_person(recorder, mail):
    person("lea")
    approval = _asked(REVOKE)
    other = Connector.objects.create(name="pager", kind="chat", actions=["notify"])
    _press(_token(approval, "lea", mail))
    answer = _press(_token(approval, "lea", other))
    assert answer.status_code == 410
    assert "another person has to" in answer.content.decode()


def test_whoever_asked_decides_by_no_link_either(recorder, mail):
    approval = _asked(by="lea")
    answer = _press(_token(approval, "lea", mail))
    assert answer.status_code == 403
    assert "Whoever asked does not decide" in answer.content.decode()
    assert ApprovalLink.objects.get().used_at is None


@pytest.mark.parametrize("change", ["inactive", "role"])
def test_a_link_may_no_more_than_its_account_may_now(recorder, mail, change):
    person("lea")
    token, user = _token(_asked(), "lea", mail), User.objects.get(username="lea")
    if change == "inactive":
        User.objects.filter(pk=user.pk).update(is_active=False)
    else:
        user.groups.set([Group.objects.get_or_create(name="viewer")[0]])
    for answer in (Client().get(PAGE, {"link": token}), _press(token)):
        assert answer.status_code == 403
        assert "may not decide" in answer.content.decode()


@pytest.mark.parametrize("how", ["the time is over", "expired", "decided by another"])
def test_a_link_ends_with_its_approval(recorder, mail, how):
    person("lea")
    approval = _asked()
    token = _token(approval, "lea", mail)
    if how == "decided by another":
        approvals.approve(approval_id=approval.id, actor=person("max"))
    else:
        Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    if how == "expired":
        approvals.expire_overdue()
    for answer in (Client().get(PAGE, {"link": token}), _press(token)):
        assert answer.status_code == 410


def test_a_decision_that_does_not_hold_leaves_the_link_unused(recorder, mail):
    person("lea")
    approval = _asked()
    token = _token(approval, "lea", mail)
    approvals.approve(approval_id=approval.id, actor=person("max"))
    with pytest.raises(Conflict):
        links.decide(token=token, verdict="approved", reason="")
    assert ApprovalLink.objects.get().used_at is None


def test_a_token_reaches_no_log(recorder, mail, caplog):
    person("lea")
    token = _token(_asked(), "lea", mail)
    Client().get(PAGE, {"link": token})
    _press(token)
    assert "request_finished" in caplog.text
    assert token not in caplog.text
