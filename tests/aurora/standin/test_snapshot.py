"""The last copy of the working set: true to the last change, never half written, nobody else's to read, read without PostgreSQL."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import connection

from aurora.standin import snapshot
from cases.models import Alert, Case
from tests.group import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

NOBODY_THERE = "postgresql://aurora@127.0.0.1:1/aurora"
READER = """
import json, sys, django
django.setup()
from django.db import connection
from aurora.resilience import availability
from aurora.standin import source
from cases.models import Alert, Case
try:
    connection.ensure_connection()
except availability.DatabaseUnavailable:
    pass
with source.reading_from(source.wanted()):
    cases = [[case.title, case.alerts.count()] for case in Case.objects.order_by("pk")]
    try:
        Alert.objects.using(source.current()).update(title="changed")
        refused = ""
    except Exception as error:
        refused = str(error)
print(json.dumps({"source": source.wanted(), "cases": cases, "refused": refused}))
"""


WRITER = """
import os, sys, django
django.setup()
from aurora.standin import snapshot
from cases.models import Case
for _ in sys.stdin:
    child = os.fork()
    while not child:
        snapshot.refresh()
        Case.objects.create(title="Another", opened_by="ana")
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@pytest.fixture
def path(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR, settings.DEGRADED_READS = tmp_path, "snapshot"
    return tmp_path / "snapshot.sqlite3"


def titles(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as opened:
        return [title for (title,) in opened.execute("SELECT title FROM cases_case ORDER BY id")]


def test_of_two_writers_on_one_machine_one_does_nothing(path):
    Case.objects.create(title="First", opened_by="ana")
    with path.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        assert snapshot.refresh() is False
        assert not path.exists()
    assert snapshot.refresh() is True


def test_it_follows_what_is_new_what_changed_and_what_is_gone(path):
    first = Case.objects.create(title="First", opened_by="ana")
    second = Case.objects.create(title="Second", opened_by="ana")
    assert snapshot.refresh() is True
    assert titles(path) == ["First", "Second"]
    first.delete()
    Case.objects.filter(pk=second.pk).update(title="Second, renamed")  # no `updated_at` tells of it
    assert snapshot.refresh() is True
    assert titles(path) == ["Second, renamed"]


def test_without_a_change_only_its_age_is_new(path):
    Case.objects.create(title="Only", opened_by="ana")
    snapshot.refresh()
    os.utime(path, (0, 0))
    before = path.stat().st_ino
    assert snapshot.refresh() is False
    assert path.stat().st_ino == before
    age = snapshot.age_seconds()
    assert age is not None
    assert age < 60


def test_it_is_the_owners_alone_and_signs_nobody_in(path):
    User.objects.create_user("ana", password="correct-horse-battery")
    snapshot.refresh()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(path)) as opened:
        assert opened.execute("SELECT password FROM auth_user").fetchall() == [("!",)]
        assert opened.execute("SELECT count(*) FROM aurora_apikey").fetchone() == (0,)


def test_what_a_killed_writer_left_is_neither_read_nor_kept(path):
    left = path.with_name("snapshot.sqlite3.99999.new")
    left.write_bytes(b"half of it")
    assert snapshot.is_there() is False
    snapshot.refresh()
    assert (left.exists(), snapshot.is_there()) == (False, True)


def test_one_of_another_version_of_the_product_is_not_read_and_made_anew(path):
    Case.objects.create(title="Kept", opened_by="ana")
    snapshot.refresh()
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA user_version = 1")
    assert snapshot.is_there() is False
    assert snapshot.refresh() is True
    assert titles(path) == ["Kept"]


def test_a_process_without_postgres_reads_it_and_cannot_change_it(path):
    case = Case.objects.create(title="Real", opened_by="ana")
    Alert.objects.create(title="Beacon", source="probe", dedup_hash="a" * 64, case=case)
    snapshot.refresh()
    environment = _beside(path) | {"DATABASE_URL": NOBODY_THERE}
    done = subprocess.run(
        [sys.executable, "-c", READER], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["source"], found["cases"]) == ("snapshot", [["Real", 1]])
    assert "readonly" in found["refused"]


def test_a_writer_killed_at_any_moment_leaves_a_whole_one(path):
    """Each writer copies, fills and swaps again and again; it is killed somewhere in it, and what it left is looked at to the last page."""
    Case.objects.bulk_create(Case(title=f"Case {number}", opened_by="ana") for number in range(500))
    snapshot.refresh()
    dice, least = random.Random(5), 500
    command = [sys.executable, "-c", WRITER]
    with subprocess.Popen(
        command, env=_beside(path), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writers:
        assert writers.stdin is not None
        assert writers.stdout is not None
        for _ in range(10):
            writers.stdin.write("\n")
            writers.stdin.flush()
            writer = int(writers.stdout.readline())
            time.sleep(dice.uniform(0.0, 0.4))
            os.kill(writer, signal.SIGKILL)
            writers.stdout.readline()
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as opened:
                assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            found = len(titles(path))
            assert (snapshot.is_there(), stat.S_IMODE(path.stat().st_mode), found >= least) == (True, 0o600, True)
            least = found
    snapshot.refresh()
    assert len(titles(path)) == Case.objects.count()
    assert list(path.parent.glob("*.new")) == []


def _beside(path: Path) -> dict[str, str]:
    """The environment of another process of the same installation, on the test's own database."""
    address = connection.settings_dict
    url = f"postgresql://{address['USER']}@/{address['NAME']}?host={quote(str(address['HOST']), safe='')}"
    ours = {"DATABASE_URL": url, "AURORA_DATA_DIR": str(path.parent), "AURORA_DEGRADED_READS": "snapshot"}
    return {**os.environ, **ours, "DJANGO_SETTINGS_MODULE": "aurora.settings"}
