"""The audit trail's chain: whatever is done to a sealed entry is found and named."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, InternalError, connection, transaction
from django.test import override_settings
from django.utils import timezone
from psycopg import errors
from structlog.testing import capture_logs

from aurora import audit, audit_chain
from aurora.bus import schedule, streams
from aurora.models import AuditEntry, AuditHead, OutboxEvent
from tests.cast import ADMIN, ApiClient, make_user
from tests.console_pages import signed_in, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_trail(db: None) -> None:
    """Without what migrating tells of the playbooks that come with the product."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE aurora_auditentry, aurora_audithead")


@pytest.fixture
def sealed() -> User:
    """Twelve entries in the chain, sealed in two runs; the account they tell of."""
    user = make_user("viewer")
    for number in range(12):
        audit.record(ADMIN, "user.edited", user, before={"n": number}, after={"n": number + 1, "word": "naïve"})
        if number == 5:
            audit_chain.seal()
    audit_chain.seal()
    return user


def _run(*statements: str) -> None:
    """What the database's owner can do, trigger or not."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE aurora_auditentry DISABLE TRIGGER aurora_audit_append_only")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("ALTER TABLE aurora_auditentry ENABLE TRIGGER aurora_audit_append_only")


def _verify(*arguments: str) -> tuple[str, str]:
    """Standard output and standard error of `verify_audit`, which failed."""
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="not what was written"):
        call_command("verify_audit", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_chain_that_nobody_touched_is_whole(sealed):
    out = StringIO()
    call_command("verify_audit", stdout=out)
    assert "12 entries sealed, 0 waiting" in out.getvalue()


def test_what_is_sealed_is_announced_once_in_the_order_of_the_chain(sealed):
    audit_chain.seal()
    rows = OutboxEvent.objects.filter(stream=streams.AUDIT).order_by("id")
    told = [json.loads(row.data) for row in rows]
    entries = AuditEntry.objects.order_by("number")
    assert [(entry["number"], entry["id"], entry["digest"]) for entry in told] == [
        (entry.number, str(entry.id), entry.digest) for entry in entries
    ]
    assert {(row.type, row.aggregate) for row in rows} == {("audit.recorded", "audit")}
    assert (told[0]["action"], told[0]["after"]) == ("user.edited", {"n": 1, "word": "naïve"})


def test_before_anything_was_sealed_nothing_is_wrong():
    assert audit_chain.verify().faults == []


def test_an_entry_that_waits_is_counted_and_sealed_by_the_next_run(sealed):
    audit.record(ADMIN, "user.edited", sealed)
    assert audit_chain.verify().waiting == 1
    assert audit_chain.seal() == 1
    assert audit_chain.verify() == audit_chain.Verdict(
        head=audit_chain.verify().head, looked_at=13, last=13, waiting=0, faults=[]
    )


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DELETE FROM aurora_auditentry WHERE number = 4", "entry 4 is missing"),
        ("DELETE FROM aurora_auditentry WHERE number BETWEEN 4 AND 7", "entries 4 to 7 are missing"),
        ("DELETE FROM aurora_auditentry WHERE number = 1", "entry 1 is missing"),
        ("DELETE FROM aurora_auditentry WHERE number > 10", "entries 11 to 12 are missing"),
        ("DELETE FROM aurora_auditentry", "entries 1 to 12 are missing"),
        ("UPDATE aurora_auditentry SET actor = 'nobody' WHERE number = 3", "entry 3 "),
        ("UPDATE aurora_auditentry SET address = '203.0.113.9' WHERE number = 3", "entry 3 "),
        ("UPDATE aurora_auditentry SET after = '{}' WHERE number = 12", "entry 12 "),
        ("UPDATE aurora_auditentry SET at = at - interval '1 second' WHERE number = 7", "entry 7 "),
        ("UPDATE aurora_auditentry SET request_id = 'x' WHERE number = 1", "entry 1 "),
        ("UPDATE aurora_auditentry SET number = 13 WHERE number = 5", "entry 5 is missing"),
        ("DELETE FROM aurora_audithead", "the head of the chain is missing"),
        ("UPDATE aurora_audithead SET number = 11", "the head's signature is not ours"),
    ],
    ids=[
        "one removed",
        "several removed",
        "the first removed",
        "the last removed",
        "all removed",
        "actor changed",
        "address changed",
        "last one changed",
        "time changed",
        "first one changed",
        "moved beyond the end",
        "head removed",
        "head changed",
    ],
)
def test_what_was_done_to_an_entry_is_found_and_named(sealed, statement, named):
    _run(statement)
    assert named in _verify()[1]


def test_two_entries_that_changed_places_are_both_named(sealed):
    _run(
        "UPDATE aurora_auditentry SET number = -1 WHERE number = 4",
        "UPDATE aurora_auditentry SET number = 4 WHERE number = 9",
        "UPDATE aurora_auditentry SET number = 9 WHERE number = -1",
    )
    told = _verify()[1]
    assert "entry 4 " in told
    assert "entry 9 " in told


def test_an_entry_put_in_the_place_of_another_is_named(sealed):
    _run(
        "DELETE FROM aurora_auditentry WHERE number = 4",
        "INSERT INTO aurora_auditentry (id, actor, number, at, address, action, target_type, target_id, before, after,"
        " request_id, digest, sealed_at) SELECT gen_random_uuid(), 'forger', 4, at, address, action, target_type,"
        " target_id, before, after, request_id, digest, sealed_at FROM aurora_auditentry WHERE number = 3",
    )
    assert "forger" in _verify()[1]


def test_an_entry_smuggled_in_for_an_earlier_time_is_named(sealed):
    AuditEntry.objects.create(actor="forger", action="user.edited", at=timezone.now() - timedelta(days=2))
    audit_chain.seal()
    assert "entry 13 " in _verify()[1]


def test_an_entry_is_named_though_all_digests_after_it_were_computed_anew(sealed):
    _run("UPDATE aurora_auditentry SET actor = 'nobody' WHERE number = 3")
    before = AuditEntry.objects.get(number=2).digest
    for entry in AuditEntry.objects.filter(number__gt=2).order_by("number"):
        assert entry.number is not None
        assert entry.sealed_at is not None
        before = audit_chain._digest(before, entry, entry.number, entry.sealed_at)
        _run(f"UPDATE aurora_auditentry SET digest = '{before}' WHERE number = {entry.number}")
    assert "the chain was written anew" in _verify()[1]


def test_a_chain_cut_back_to_an_old_head_does_not_pass_through_a_noted_one(sealed):
    old = AuditHead.objects.values().get()
    audit.record(ADMIN, "user.edited", sealed)
    audit_chain.seal()
    noted = str(audit_chain.verify().head)
    _run("DELETE FROM aurora_auditentry WHERE number = 13")
    AuditHead.objects.filter(pk=old["id"]).update(**old)
    assert audit_chain.verify().faults == []
    assert "entry 13 is not the one that was noted" in _verify("--anchor", noted)[1]


@pytest.mark.parametrize("statement", ["UPDATE {} SET actor = 'nobody' WHERE id = %s", "DELETE FROM {} WHERE id = %s"])
def test_what_was_looked_at_once_is_protected_though_no_scheduler_runs(statement):
    for _ in range(3):
        audit.record(ADMIN, "user.edited", make_user("viewer"))
    call_command("verify_audit", stdout=StringIO())
    middle = AuditEntry.objects.order_by("id")[1].pk
    _run(statement.format(AuditEntry._meta.db_table).replace("%s", f"'{middle}'"))
    assert "entry 2 " in _verify()[1]


def test_on_a_standby_what_waits_goes_on_waiting(sealed):
    audit.record(ADMIN, "user.edited", sealed)
    out = StringIO()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_read_only = on")
        call_command("verify_audit", stdout=out)
        transaction.set_rollback(True)
    assert "12 entries sealed, 1 waiting" in out.getvalue()


def test_what_else_keeps_it_from_sealing_is_not_passed_over(sealed, monkeypatch):
    def fail() -> int:
        raise InternalError("could not read block 7") from errors.DataCorrupted()

    monkeypatch.setattr(audit_chain, "seal", fail)
    with pytest.raises(InternalError):
        call_command("verify_audit", stdout=StringIO())


def test_nothing_is_sealed_behind_a_head_that_is_not_ours(sealed):
    _run("UPDATE aurora_audithead SET number = 11")
    audit.record(ADMIN, "user.edited", sealed)
    with capture_logs() as logs:
        assert audit_chain.seal() == 0
    assert [line["event"] for line in logs] == ["audit_chain_broken"]


def test_after_a_change_of_the_secret_key_the_head_is_signed_anew_on_demand(sealed):
    with override_settings(SECRET_KEY="another-key-" * 6):
        assert "the head's signature is not ours" in _verify()[1]
        call_command("verify_audit", "--sign", stdout=StringIO())
        assert audit_chain.verify().faults == []


def test_a_broken_chain_is_not_signed_anew(sealed):
    _run("UPDATE aurora_auditentry SET actor = 'nobody' WHERE number = 3")
    with override_settings(SECRET_KEY="another-key-" * 6), pytest.raises(CommandError, match="entry 3 "):
        call_command("verify_audit", "--sign", stdout=StringIO())


@pytest.mark.parametrize(
    "change",
    [lambda entries: entries.update(actor="nobody"), lambda entries: entries.delete()],
    ids=["changed", "removed"],
)
def test_the_products_own_account_changes_and_removes_no_entry(sealed, change: Callable[[Any], object]):
    with pytest.raises(IntegrityError, match="neither changed nor removed"), transaction.atomic():
        change(AuditEntry.objects.filter(number=3))


def test_the_check_goes_on_where_it_was_and_stays_at_a_fault(sealed, monkeypatch):
    monkeypatch.setattr(audit_chain, "CHECKED_AT_ONCE", 5)
    assert [audit_chain.check().last for _ in range(3)] == [5, 10, 12]
    _run("UPDATE aurora_auditentry SET actor = 'nobody' WHERE number = 8")
    assert audit_chain.check().faults == []
    with capture_logs() as logs:
        for _ in range(2):
            assert "entry 8 " in audit_chain.check().faults[0]
    assert [line["event"] for line in logs] == ["audit_chain_broken"] * 2


def test_sealing_and_checking_are_on_the_schedule():
    assert {job.name for job in schedule.registered()} >= {"seal-audit", "check-audit"}


def test_the_api_tells_an_entrys_place_in_the_chain(sealed):
    audit.record(ADMIN, "user.edited", sealed)
    page = ApiClient("admin").call("GET", f"/audit?target_id={sealed.pk}").json()
    assert [row["number"] for row in page["items"][:2]] == [None, 12]
    assert len(page["items"][1]["digest"]) == 64


def test_the_console_says_how_the_chain_is_and_what_is_wrong_with_it(sealed):
    client = signed_in("admin")
    audit_chain.check()
    assert "12 entries are sealed" in text_of(client.get("/admin/aurora/auditentry/"))
    _run("UPDATE aurora_auditentry SET actor = '<b>nobody</b>' WHERE number = 8")
    audit_chain.check()
    shown = text_of(client.get("/admin/aurora/auditentry/"))
    assert "entry 8 " in shown
    assert "<b>nobody</b>" not in shown


@pytest.mark.django_db(transaction=True)
def test_writers_and_two_sealers_at_once_leave_one_whole_chain():
    user = make_user("viewer")
    begin = threading.Barrier(6)

    def write() -> None:
        begin.wait()
        for _ in range(20):
            with transaction.atomic():
                audit.record(ADMIN, "user.edited", user)
        connection.close()

    def seal() -> None:
        begin.wait()
        for _ in range(20):
            audit_chain.seal()
        connection.close()

    threads = [threading.Thread(target=work) for work in (write, write, write, write, seal, seal)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    audit_chain.seal()
    verdict = audit_chain.verify()
    assert (verdict.faults, verdict.looked_at, verdict.waiting) == ([], 80, 0)


@pytest.mark.django_db(transaction=True)
def test_who_writes_waits_for_no_sealing_and_no_other_writer():
    user = make_user("viewer")
    audit_chain.seal()
    with transaction.atomic():
        audit.record(ADMIN, "user.edited", user)
        AuditHead.objects.get_or_create(pk=1)
        AuditHead.objects.select_for_update().get(pk=1)
        other = threading.Thread(target=_record_alone, args=(user,))
        other.start()
        other.join(10)
        assert not other.is_alive()


def _record_alone(user: User) -> None:
    with transaction.atomic():
        audit.record(ADMIN, "user.edited", user)
    connection.close()
