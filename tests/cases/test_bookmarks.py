"""Following a file again: on from where it was left, through rotation, and each record once whatever was killed when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings as django_settings
from django.db import connection

from aurora.actors import system
from aurora.errors import Invalid
from cases import feeding, intake
from cases.bookmarks import Bookmark
from cases.feeding import Position, Stretch
from cases.models import Alert, AlertSighting
from tests.cases.test_feeding import append, eve, numbers
from tests.waiting import until

pytestmark = pytest.mark.django_db

SOURCE = "suricata"


@pytest.fixture(autouse=True)
def _own_data(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "eve.json"
    append(path, eve(1), b"\n", eve(2), b"\n")
    return path


def _next(path: Path, start: Position | None = None) -> Stretch:
    """The next stretch, with what is left of it given up as a killed follower does."""
    with closing(feeding.follow(SOURCE, path, should_stop=lambda: False, start=start)) as stretches:
        return next(stretches)


def _numbers(path: Path, start: Position | None) -> list[int | None]:
    return numbers(_next(path, start).records)


def test_it_goes_on_behind_what_was_read(log):
    end = _next(log).end
    append(log, eve(3), b"\n")
    assert _numbers(log, end) == [3]


def test_half_a_line_is_read_when_it_is_whole(log):
    append(log, eve(3)[:10])
    end = _next(log).end
    append(log, eve(3)[10:], b"\n")
    assert _numbers(log, end) == [3]


def test_of_many_lines_each_stretch_ends_where_the_next_one_begins(log, monkeypatch):
    monkeypatch.setattr(feeding, "BATCH_LINES", 1)
    end = _next(log).end
    assert _numbers(log, end) == [2]


def test_what_was_written_before_a_rotation_is_read_and_then_the_new_file(log):
    end = _next(log).end
    append(log, eve(3), b"\n")
    log.rename(log.with_suffix(".1"))
    append(log, eve(4), b"\n")
    with closing(feeding.follow(SOURCE, log, should_stop=lambda: False, start=end)) as stretches:
        assert [numbers(next(stretches).records) for _ in range(2)] == [[3], [4]]


def test_the_last_words_of_a_rotated_file_end_at_the_beginning_of_the_new_one(log):
    end = _next(log).end
    append(log, eve(3))
    log.rename(log.with_suffix(".1"))
    append(log, eve(4), b"\n")
    last = _next(log, end)
    assert (numbers(last.records), last.end.offset, last.end.inode) == ([3], 0, log.stat().st_ino)
    assert _numbers(log, last.end) == [4]


def test_a_file_in_the_stead_of_one_that_is_gone_is_read_from_its_beginning(log):
    end = _next(log).end
    log.unlink()
    append(log, eve(3), b"\n")
    assert _numbers(log, end) == [3]


def test_a_file_that_was_emptied_is_read_from_its_beginning(log):
    end = _next(log).end
    log.write_bytes(eve(3) + b"\n")
    assert _numbers(log, end) == [3]


def test_another_file_under_the_same_number_is_read_from_its_beginning(log):
    end = _next(log).end
    assert _numbers(log, replace(end, head="0" * 64)) == [1, 2]


def _store(stretch: Stretch, bookmark: Bookmark) -> None:
    receipt = bookmark.turn(stretch.end)
    intake.ingest_records(source=SOURCE, records=stretch.records, actor=system("ingest"), receipt=receipt)


def test_a_file_that_nobody_followed_has_no_bookmark(log):
    assert Bookmark(SOURCE, log).position() is None


def test_killed_before_it_was_stored_the_stretch_is_read_again(log):
    Bookmark(SOURCE, log).turn(_next(log).end)
    assert Bookmark(SOURCE, log).position() is None


def test_killed_after_it_was_stored_the_stretch_is_not_read_again(log):
    first = _next(log)
    _store(first, Bookmark(SOURCE, log))
    assert Bookmark(SOURCE, log).position() == first.end


def test_killed_in_a_second_stretch_the_end_of_the_first_holds(log):
    bookmark, first = Bookmark(SOURCE, log), _next(log)
    _store(first, bookmark)
    bookmark.stored(first.end)
    append(log, eve(3), b"\n")
    bookmark.turn(_next(log, first.end).end)
    assert Bookmark(SOURCE, log).position() == first.end


def test_each_source_and_each_file_has_a_bookmark_of_its_own(log, tmp_path):
    _store(_next(log), Bookmark(SOURCE, log))
    assert Bookmark("generic", log).position() is None
    assert Bookmark(SOURCE, tmp_path / "other.json").position() is None


def test_a_bookmark_that_is_none_is_no_reason_to_begin_again_unasked(log, tmp_path):
    Bookmark(SOURCE, log).turn(_next(log).end)
    (kept,) = (tmp_path / "data" / "followed").iterdir()
    kept.write_bytes(b"{}")
    with pytest.raises(Invalid, match="--from-beginning"):
        Bookmark(SOURCE, log).position()


@contextmanager
def _following(log: Path, folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """`manage.py ingest --follow` as a process, killed at the end as by a power cut."""
    given = connection.get_connection_params()
    url = f"postgresql://{given['user']}@/{given['dbname']}?host={quote(given['host'], safe='')}"
    command = [sys.executable, "manage.py", "ingest", SOURCE, str(log), "--follow", *more]
    process = subprocess.Popen(
        command, cwd=django_settings.BASE_DIR, env=os.environ | {"DATABASE_URL": url, "AURORA_DATA_DIR": str(folder)}
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.django_db(transaction=True)
def test_a_follower_that_is_killed_and_begun_again_stores_each_record_once(log, tmp_path):
    with _following(log, tmp_path / "data"):
        until(lambda: Alert.objects.count() == 2)
    append(log, eve(3), b"\n")
    log.rename(log.with_suffix(".1"))
    append(log, eve(4), b"\n")
    with _following(log, tmp_path / "data"):
        until(lambda: Alert.objects.count() == 4)
    assert set(Alert.objects.values_list("count", flat=True)) == {1}
    assert not AlertSighting.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_who_wants_it_all_again_says_so(log, tmp_path):
    with _following(log, tmp_path / "data"):
        until(lambda: Alert.objects.count() == 2)
    with _following(log, tmp_path / "data", "--from-beginning"):
        until(lambda: set(Alert.objects.values_list("count", flat=True)) == {2})
