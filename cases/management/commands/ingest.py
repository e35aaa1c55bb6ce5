"""`manage.py ingest SOURCE FILE…`: feeds files through the same intake as HTTP."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aurora.actors import system
from aurora.errors import Invalid
from aurora.ids import new_id
from aurora.resilience.availability import is_outage
from cases import feeding, intake
from cases.bookmarks import Bookmark
from cases.normalizers import SOURCES, RawRecord

_SHOWN_REJECTS = 10
Batches = Iterator[tuple[list[RawRecord], UUID]]


class Command(BaseCommand):
    help = "Stores the alerts in sensor files: JSON, a JSON array or NDJSON; `-` reads standard input, --follow tails one file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", choices=SOURCES)
        parser.add_argument("files", nargs="+", metavar="FILE")
        parser.add_argument(
            "--follow",
            action="store_true",
            help="go on where the file was left the last time, and wait for more at its end, through log rotation, until Ctrl-C",
        )
        parser.add_argument(
            "--from-beginning", action="store_true", help="with --follow: whatever was stored of the file before"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        files: list[str] = options["files"]
        if options["follow"] and (len(files) != 1 or files == ["-"]):
            raise CommandError("--follow takes exactly one file")
        counts: Counter[str] = Counter()
        failures: list[str] = []
        try:
            for name in files:
                source, is_anew = options["source"], options["from_beginning"]
                batches = _followed(source, name, is_anew=is_anew) if options["follow"] else _batches(source, name)
                failures += self._feed(source, name, batches, counts)
        except KeyboardInterrupt:
            self.stderr.write("interrupted; what was counted is stored")
        except DatabaseError as error:
            if not is_outage(error):
                raise
            failures.append("PostgreSQL is away; what was counted is stored")
        names = ("received", "created", "merged", "ignored", "rejected")
        self.stdout.write(", ".join(f"{counts[name]} {name}" for name in names))
        if failures:
            raise CommandError("\n".join(failures))

    def _feed(self, source: str, name: str, batches: Batches, counts: Counter[str]) -> list[str]:
        """Stores one file; why it, or its rest, could not be read. The other files do not suffer for it."""
        actor = system("ingest")
        try:
            with _progress() as progress:
                task = progress.add_task(name, total=None)
                for records, receipt in batches:
                    done = intake.ingest_records(source=source, records=records, actor=actor, receipt=receipt)
                    self._count(name, done, counts)
                    progress.advance(task, len(records))
        except OSError as error:
            return [f"{name}: {error.strerror}"]
        except Invalid as error:
            return [f"{name}: {error.detail}{_place(error)}"]
        return []

    def _count(self, name: str, done: intake.Delivery, counts: Counter[str]) -> None:
        for reject in done.rejected:
            if counts["rejected"] < _SHOWN_REJECTS:
                self.stderr.write(f"{name}: record {reject.index + 1}: {reject.detail}")
            counts["rejected"] += 1
        counts.update(received=done.received, created=done.created, merged=done.merged, ignored=done.ignored)


def _batches(source: str, name: str) -> Batches:
    """The records of a file, with the receipts under which to store them."""
    with open(sys.stdin.fileno(), "rb", closefd=False) if name == "-" else Path(name).open("rb") as file:
        for records in feeding.batches(source, file):
            yield records, new_id()


def _followed(source: str, name: str, *, is_anew: bool) -> Batches:
    """As `_batches`, from where it was left the last time, as it grows. Asked for the next ones, it takes the last ones as stored."""
    bookmark = Bookmark(source, Path(name))
    start = None if is_anew else bookmark.position()
    for stretch in feeding.follow(source, Path(name), should_stop=lambda: False, start=start):
        yield stretch.records, bookmark.turn(stretch.end)
        bookmark.stored(stretch.end)


def _place(error: Invalid) -> str:
    places = [place for problem in error.problems for place in problem["loc"] if isinstance(place, int)]
    return f" at character {places[0]}" if places else ""


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
