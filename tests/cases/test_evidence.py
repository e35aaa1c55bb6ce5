"""Evidence: kept once under its hash, never without an entry in the chain of custody."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest

from aurora.errors import Conflict, Denied, Invalid, Missing
from aurora.models import AuditEntry, OutboxEvent
from cases import evidence, evidence_store
from tests.cast import ANALYST, VIEWER
from tests.factories import make_case

pytestmark = pytest.mark.django_db

_SHA256 = hashlib.sha256(b"two pieces").hexdigest()


@pytest.fixture(autouse=True)
def _store(settings, tmp_path):
    settings.DATA_DIR = tmp_path


def _add(case, *chunks, name="disk.img", actor=ANALYST):
    return evidence.add_evidence(case_id=case.id, name=name, chunks=chunks or [b"two ", b"pieces"], actor=actor)


def test_a_file_is_kept_under_its_hash_for_this_account_alone(tmp_path):
    row = _add(make_case())
    place = tmp_path / "evidence" / _SHA256[:2] / _SHA256
    assert (row.sha256, row.size, place.read_bytes()) == (_SHA256, 10, b"two pieces")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert list(tmp_path.rglob("incoming-*")) == []


def test_what_a_killed_process_left_is_removed_later(tmp_path):
    _add(make_case())
    old, under_way = (tmp_path / "evidence" / name for name in ("incoming-old", "incoming-new"))
    old.write_bytes(b"half")
    under_way.write_bytes(b"half")
    os.utime(old, (0, 0))
    _add(make_case(), b"another file")
    assert (old.exists(), under_way.exists()) == (False, True)


def test_taking_in_is_in_custody_timeline_audit_and_events():
    case = make_case()
    row = _add(case)
    assert list(row.custody.values_list("action", "actor")) == [("collected", ANALYST.name)]
    assert case.timeline.get(kind="evidence").data["sha256"] == _SHA256
    assert AuditEntry.objects.filter(action="evidence.added").count() == 1
    assert OutboxEvent.objects.filter(type="case.updated", aggregate=f"case:{case.id}").count() == 1


def test_handing_out_is_noted_and_gives_the_same_bytes():
    row = _add(make_case())
    _, file = evidence.hand_out(case_id=row.case_id, evidence_id=row.id, actor=VIEWER)
    with file:
        assert file.read() == b"two pieces"
    assert list(row.custody.values_list("action", flat=True)) == ["collected", "read"]


def test_a_changed_file_is_not_handed_out():
    row = _add(make_case())
    evidence_store._place(row.sha256).write_bytes(b"other")
    with pytest.raises(Conflict):
        evidence.hand_out(case_id=row.case_id, evidence_id=row.id, actor=ANALYST)


def test_what_cannot_be_kept_is_refused():
    case = make_case()
    _add(case)
    with pytest.raises(Conflict, match=_SHA256):
        _add(case)
    with pytest.raises(Conflict, match="closed"):
        _add(make_case(status="closed"))
    with pytest.raises(Invalid):
        _add(case, b"")
    with pytest.raises(Denied):
        _add(case, b"x", actor=VIEWER)


def test_evidence_of_one_case_is_not_found_through_another():
    row = _add(make_case())
    with pytest.raises(Missing):
        evidence.hand_out(case_id=make_case().id, evidence_id=row.id, actor=ANALYST)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\x\\a.exe", "a.exe"), ('a"b\r\n.txt', "a'b.txt"), ("..", "unnamed")],
    ids=["unix path", "windows path", "quotes and breaks", "dots"],
)
def test_a_name_is_never_a_path(sent, kept):
    assert evidence.plain_name(sent).replace(" ", "") == kept


def test_what_is_no_hash_names_no_file():
    with pytest.raises(evidence_store.Lost):
        evidence_store.opened("../../etc/passwd")
