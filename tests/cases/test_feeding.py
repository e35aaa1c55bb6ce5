from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import BufferedReader, BytesIO
from pathlib import Path

import orjson
import pytest
from django.core.management import CommandError, call_command

from aurora.errors import Invalid
from cases import feeding
from cases.models import Alert
from cases.normalizers import RawRecord

pytestmark = pytest.mark.django_db


def eve(number: int) -> bytes:
    rule = {"signature": f"ET TEST {number}", "severity": 2, "signature_id": number}
    return orjson.dumps({"event_type": "alert", "src_ip": "203.0.113.66", "dest_ip": "10.0.0.1", "alert": rule})


def numbers(batch: list[RawRecord]) -> list[int | None]:
    """Which records of `eve` these are; None for one that could not be read."""
    return [record.data["alert"]["signature_id"] if record.data else None for record in batch]


def read(payload: bytes, source: str = "suricata") -> list[RawRecord]:
    return [record for batch in feeding.batches(source, BufferedReader(BytesIO(payload))) for record in batch]


def test_lines_are_read_with_their_numbers_whatever_ends_them():
    found = read(b"\xef\xbb\xbf" + eve(1) + b"\r\n\n" + eve(2) + b"\r\n" + eve(3))
    assert numbers(found) == [1, 2, 3]


@pytest.mark.parametrize(
    "payload", [b"[" + eve(1) + b",\n" + eve(2) + b"]", b"\n[\n" + eve(1) + b",\n" + eve(2) + b"\n]\n"]
)
def test_an_array_is_read_whole(payload):
    assert [(record.index, record.error) for record in read(payload)] == [(0, None), (1, None)]


def test_one_object_over_several_lines_is_one_record():
    assert numbers(read(orjson.dumps(orjson.loads(eve(1)), option=orjson.OPT_INDENT_2))) == [1]


def test_a_first_line_cut_off_by_rotation_is_rejected_alone():
    assert numbers(read(b'p":"203.0.113.66"}\n' + eve(1) + b"\n" + eve(2))) == [None, 1, 2]


def test_a_stretch_of_rubbish_does_not_end_the_file():
    found = read(eve(1) + b"\n" + b"\x00\x00\n" * (feeding.BATCH_LINES + 5) + eve(2) + b"\n")
    assert (numbers(found)[0], numbers(found)[-1]) == (1, 2)


def test_a_file_of_no_json_at_all_is_refused():
    with pytest.raises(Invalid):
        read(b"Mar 11 08:14:56 fw-1 hello\n" * 3)


def test_a_file_of_nothing_holds_nothing():
    assert read(b"\n \n") == []


def test_what_a_pipe_has_brought_is_not_held_back_for_more():
    reading, writing = os.pipe()
    with open(reading, "rb") as file, open(writing, "wb", buffering=0) as pipe:
        found = feeding.batches("suricata", file)
        pipe.write(eve(1) + b"\n")
        assert numbers(next(found)) == [1]
        pipe.write(eve(2) + b"\n" + eve(3)[:20])
        assert numbers(next(found)) == [2]
        pipe.write(eve(3)[20:] + b"\n")
        assert numbers(next(found)) == [3]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "eve.json"
    path.write_bytes(b"")
    return path


@pytest.fixture
def followed(log: Path) -> Iterator[Callable[[], list[int | None]]]:
    """The numbers of the next records that following the log brings."""
    batches = feeding.follow("suricata", log, should_stop=lambda: False)
    yield lambda: numbers(next(batches).records)
    batches.close()


def append(path: Path, *chunks: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(chunks))


def test_a_growing_file_is_followed_line_by_whole_line(log, followed):
    append(log, eve(1), b"\n", eve(2)[:10])
    assert followed() == [1]
    append(log, eve(2)[10:], b"\n")
    assert followed() == [2]


def test_a_file_emptied_in_place_is_followed_from_its_beginning(log, followed):
    append(log, eve(1), b"\n", eve(2), b"\n")
    assert followed() == [1, 2]
    log.write_bytes(eve(3) + b"\n")
    assert followed() == [3]


def test_a_rotated_file_is_followed_to_its_end_and_then_the_new_one(log, followed):
    append(log, eve(1), b"\n")
    assert followed() == [1]
    old = log.rename(log.with_suffix(".1"))
    log.write_bytes(b"")
    append(old, eve(2), b"\n")  # the sensor has not been told yet
    assert followed() == [2]
    append(old, eve(3))
    append(log, eve(4), b"\n")
    assert [followed(), followed()] == [[3], [4]]


def test_a_file_that_is_gone_for_a_while_is_waited_for(log, followed):
    append(log, eve(1), b"\n")
    assert followed() == [1]
    old = log.rename(log.with_suffix(".1"))
    append(old, eve(2), b"\n")
    assert followed() == [2]
    append(log, eve(3), b"\n")
    assert followed() == [3]


def test_rubbish_in_a_followed_file_is_rejected_and_followed_on(log, followed):
    append(log, b"core dumped\n")
    assert followed() == [None]
    append(log, eve(1), b"\n")
    assert followed() == [1]


def test_a_file_that_cannot_be_read_does_not_keep_the_others_out(log, tmp_path, capsys):
    append(log, eve(1), b"\n", eve(2), b"\n")
    with pytest.raises(CommandError, match=r"gone\.json: No such file"):
        call_command("ingest", "suricata", str(tmp_path / "gone.json"), str(log))
    assert Alert.objects.count() == 2
    assert "2 received, 2 created, 0 merged, 0 ignored, 0 rejected" in capsys.readouterr().out


@pytest.mark.parametrize("broken", [b"no json\n", b"{\n", b'["a", \n'])
def test_a_file_that_is_no_json_is_an_error_after_the_count(log, capsys, broken):
    append(log, broken)
    with pytest.raises(CommandError, match=r"eve\.json: JSON decode error at character \d"):
        call_command("ingest", "suricata", str(log))
    assert "0 received" in capsys.readouterr().out


def test_rejected_records_are_named_by_their_place_in_the_file(log, capsys):
    append(log, eve(1), b"\n{}\n", eve(2), b"\n")
    call_command("ingest", "suricata", str(log))
    shown = capsys.readouterr()
    assert "record 2: `event_type` is missing" in shown.err
    assert "3 received, 2 created, 0 merged, 0 ignored, 1 rejected" in shown.out


def test_a_directory_is_an_error_and_no_traceback(tmp_path):
    with pytest.raises(CommandError, match="Is a directory"):
        call_command("ingest", "suricata", str(tmp_path))
