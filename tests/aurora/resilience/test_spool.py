"""The spool on the disk: durable before a receipt, bounded, honest when it cannot write, right under many threads and processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aurora.errors import Conflict, Unavailable
from aurora.ids import new_id
from aurora.resilience.spool import Claim, Entry, Spool
from tests.cast import SENSOR
from tests.group import ROOT

WHEN = datetime(2026, 11, 20, 8, 15, tzinfo=UTC)
PUTTER = """
import sys, django
django.setup()
from pathlib import Path
from aurora.resilience.spool import Spool
from tests.aurora.resilience.test_spool import entry
spool = Spool(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    print(spool.put(entry(f"{number}".encode())).receipt, flush=True)
"""
HOARDER = """
import resource, sys, django
django.setup()
from pathlib import Path
from aurora.errors import Unavailable
from aurora.resilience.spool import Spool
from tests.aurora.resilience.test_spool import entry
spool = Spool(Path(sys.argv[1]))
spool.put(entry(b"first"))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    spool.put(entry(b"x" * 1_000_000))
except Unavailable as error:
    print(error.detail)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.put(entry(b"last"))
"""


def entry(payload: bytes = b"{}", **changes) -> Entry:
    values: dict[str, Any] = {"route": "ingest", "source": "generic", "content_type": "application/json", "received": 1}
    values |= {"receipt": new_id(), "payload": payload, "actor": SENSOR, "accepted_at": WHEN, **changes}
    return Entry(**values)


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(tmp_path / "spool")


def payloads(spool: Spool, **bounds) -> list[bytes]:
    return [item.entry.payload for item in spool.oldest(**({"at_most": 100_000, "size": 1 << 30} | bounds))]


def run(script: str, *arguments: object, **options) -> subprocess.Popen[str]:
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "aurora.settings"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, **options)


def test_what_was_put_comes_back_whole_and_in_order(spool):
    sent = [entry(b"%d" % number, claim=Claim("key", f"k{number}", "h")) for number in range(3)]
    for item in sent:
        spool.put(item)
    found = spool.oldest(at_most=10, size=1000)
    assert [item.entry for item in found] == sent
    assert spool.find(sent[1].receipt) == sent[1]


def test_an_empty_spool_makes_no_file(spool, tmp_path):
    assert (spool.standing().depth, spool.find(new_id()), spool.oldest(at_most=1, size=1)) == (0, None, [])
    assert not (tmp_path / "spool").exists()


def test_only_its_owner_may_read_it(spool, tmp_path):
    spool.put(entry())
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "spool").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


def test_it_says_how_full_it_is_and_since_when(spool):
    first = entry(b"12345", accepted_at=datetime.now(UTC) - timedelta(minutes=5))
    for item in (first, entry(b"123")):
        spool.put(item)
    standing = spool.standing()
    assert (standing.depth, standing.size, standing.oldest_at) == (2, 8, first.accepted_at)
    assert standing.oldest_age_seconds >= 300


def test_a_batch_ends_with_its_bytes_but_has_always_one(spool):
    for size in (10, 10, 10):
        spool.put(entry(b"x" * size))
    assert len(payloads(spool, size=20)) == 2
    assert len(payloads(spool, size=1)) == 1


@pytest.mark.parametrize(("name", "limit"), [("SPOOL_MAX_ENTRIES", 2), ("SPOOL_MAX_BYTES", 20)])
def test_a_full_spool_refuses_and_takes_again_when_there_is_room(spool, settings, name, limit):
    setattr(settings, name, limit)
    for _ in range(2):
        spool.put(entry(b"x" * 10))
    with pytest.raises(Unavailable, match="full") as refusal:
        spool.put(entry(b"x" * 10))
    assert refusal.value.retry_after > 0
    spool.remove(spool.oldest(at_most=1, size=100))
    spool.put(entry(b"x" * 10))
    assert spool.standing().size == 20


def test_the_same_idempotency_key_is_kept_once(spool):
    first = spool.put(entry(claim=Claim("key", "k", "same")))
    again = spool.put(entry(claim=Claim("key", "k", "same")))
    assert (again.receipt, again.is_replay) == (first.receipt, True)
    assert spool.put(entry(claim=Claim("another key", "k", "same"))).receipt != first.receipt
    with pytest.raises(Conflict):
        spool.put(entry(claim=Claim("key", "k", "other")))
    assert spool.standing().depth == 2


def test_callers_that_come_at_once_each_get_their_own_outcome(spool, settings):
    settings.SPOOL_MAX_ENTRIES = 150

    def put(number: int) -> bool:
        try:
            return bool(spool.put(entry(b"%d" % number)))
        except Unavailable:
            return False

    with ThreadPoolExecutor(32) as threads:
        taken = [number for number, is_in in enumerate(threads.map(put, range(200))) if is_in]
    assert len(taken) == 150
    assert sorted(map(int, payloads(spool))) == taken


def test_processes_write_at_once_and_what_a_killed_one_was_told_is_there(spool, tmp_path):
    folder = tmp_path / "spool"
    putters = [run(PUTTER, folder, count) for count in (10_000, 60, 60)]
    victim, *others = putters
    assert victim.stdout is not None
    told = [victim.stdout.readline().strip() for _ in range(40)]
    victim.kill()
    told += [line.strip() for process in putters for line in (process.stdout or ())]
    assert [process.wait() for process in others] == [0, 0]
    victim.wait()
    for process in putters:
        assert process.stdout is not None
        process.stdout.close()
    there = {str(item.entry.receipt) for item in spool.oldest(at_most=100_000, size=1 << 30)}
    assert {line for line in told if len(line) == 36} <= there
    assert len(told) >= 160


def test_a_full_disk_is_a_refusal_and_no_loss(spool, tmp_path):
    process = run(HOARDER, tmp_path / "spool", stderr=subprocess.PIPE)
    said, log = process.communicate(timeout=60)
    assert (process.returncode, said.startswith("The spool")) == (0, True), log
    assert payloads(spool) == [b"first", b"last"]


def test_a_folder_that_cannot_be_written_is_a_refusal(tmp_path):
    (tmp_path / "spool").write_text("in the way")
    with pytest.raises(Unavailable):
        Spool(tmp_path / "spool").put(entry())


def test_a_read_only_file_is_a_refusal(spool, tmp_path):
    spool.put(entry())
    spool._file._connection.execute("PRAGMA query_only=ON")
    with pytest.raises(Unavailable, match="read-only"):
        spool.put(entry())
    spool.put(entry())  # opened anew


@pytest.mark.parametrize("is_open", [True, False], ids=["met while open", "met at the start"])
def test_a_damaged_file_is_put_aside_and_a_new_one_begun(spool, tmp_path, is_open):
    spool.put(entry(b"lost to the damage"))
    file = tmp_path / "spool" / "intake.sqlite3"
    spool._file._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.write_bytes(b"no database at all, " * 1000)
    survivor = spool if is_open else Spool(tmp_path / "spool")
    survivor.put(entry(b"kept"))
    assert payloads(survivor) == [b"kept"]
    (aside,) = survivor.standing().damaged_files
    assert b"no database" in (tmp_path / "spool" / aside).read_bytes()


def test_a_process_that_had_the_damaged_file_open_writes_into_the_new_one(spool, tmp_path):
    spool.put(entry(b"old"))
    other = Spool(tmp_path / "spool")
    os.rename(tmp_path / "spool" / "intake.sqlite3", tmp_path / "spool" / "intake.damaged-x.sqlite3")
    other.put(entry(b"new"))
    spool.put(entry(b"newer"))
    assert payloads(other) == [b"new", b"newer"]


def test_one_drains_at_a_time_and_the_next_when_it_has_died(spool, tmp_path):
    spool.put(entry())
    holder = run(
        "import sys, time, django; django.setup()\n"
        "from pathlib import Path; from aurora.resilience.spool import Spool\n"
        "with Spool(Path(sys.argv[1])).draining() as is_ours: print(is_ours, flush=True); time.sleep(60)",
        tmp_path / "spool",
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "True"
    with spool.draining() as is_ours:
        assert not is_ours
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with spool.draining() as is_ours:
        assert is_ours


def test_what_is_set_aside_stands_in_nobodys_way_until_it_is_taken_up_again(spool):
    for payload in (b"poison", b"good"):
        spool.put(entry(payload))
    spool.set_aside(spool.oldest(at_most=1, size=10)[0], "DataError")
    assert payloads(spool) == [b"good"]
    assert (spool.standing().depth, spool.standing().set_aside) == (1, 1)
    assert spool.take_up_again() == 1
    assert payloads(spool) == [b"poison", b"good"]


def test_attempts_that_came_to_no_end_are_counted_until_they_are_given_back(spool):
    spool.put(entry())
    spool.begin(spool.oldest(at_most=1, size=10))
    assert spool.oldest(at_most=1, size=10)[0].attempts == 1
    spool.give_back(spool.oldest(at_most=1, size=10))
    assert spool.oldest(at_most=1, size=10)[0].attempts == 0


def test_an_emptied_spool_gives_its_room_back(spool, tmp_path):
    for _ in range(20):
        spool.put(entry(b"x" * 100_000))
    spool.remove(spool.oldest(at_most=100, size=1 << 30))
    spool.shrink()
    assert sum(path.stat().st_size for path in (tmp_path / "spool").iterdir()) < 200_000
