"""`manage.py ingest SOURCE FILE…`: feeds files through the same intake as HTTP."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aurora.actors import Actor, system
from aurora.errors import Invalid
from cases import feeding, intake
from cases.normalizers import SOURCES, RawRecord

_SHOWN_REJECTS = 10


class Command(BaseCommand):
    help = "Stores the alerts in sensor files: JSON, a JSON array or NDJSON; `-` reads standard input, --follow tails one file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", choices=SOURCES)
        parser.add_argument("files", nargs="+", metavar="FILE")
        parser.add_argument("--follow", action="store_true", help="wait for more at the end of the file, until Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        files: list[str] = options["files"]
        if options["follow"] and (len(files) != 1 or files == ["-"]):
            raise CommandError("--follow takes exactly one file")
        counts: Counter[str] = Counter()
        try:
            for name in files:
                self._feed(options["source"], name, options["follow"], counts)
        except KeyboardInterrupt:
            self.stderr.write("interrupted; what was counted is stored")
        names = ("received", "created", "merged", "ignored", "rejected")
        self.stdout.write(", ".join(f"{counts[name]} {name}" for name in names))

    def _feed(self, source: str, name: str, is_following: bool, counts: Counter[str]) -> None:
        actor = system("ingest")
        try:
            with _opened(name) as file, _progress() as progress:
                task = progress.add_task(name, total=None)
                for records in self._batches(source, file, is_following):
                    self._store(source, name, records, counts, actor)
                    progress.advance(task, len(records))
        except OSError as error:
            raise CommandError(f"{name}: {error.strerror}") from None
        except Invalid as error:
            raise CommandError(f"{name}: {error.detail}") from None

    def _batches(self, source: str, file: BinaryIO, is_following: bool) -> Iterator[list[RawRecord]]:
        if is_following:
            return feeding.follow(source, file, should_stop=lambda: False)
        return feeding.batches(source, file)

    def _store(self, source: str, name: str, records: list[RawRecord], counts: Counter[str], actor: Actor) -> None:
        done = intake.ingest_records(source=source, records=records, actor=actor)
        for reject in done.rejected:
            if counts["rejected"] < _SHOWN_REJECTS:
                self.stderr.write(f"{name}: record {reject.index + 1}: {reject.detail}")
            counts["rejected"] += 1
        counts.update(received=done.received, created=done.created, merged=done.merged, ignored=done.ignored)


def _opened(name: str) -> BinaryIO:
    return sys.stdin.buffer if name == "-" else Path(name).open("rb")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
