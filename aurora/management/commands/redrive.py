"""`manage.py redrive [--all | ID…]`: puts dead letters back on their stream, each once; `--spool`: deliveries of this machine's spool."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from aurora import actors
from aurora.bus import dead_letters
from aurora.errors import AuroraError
from aurora.models import DeadLetter
from aurora.resilience import spool


class Command(BaseCommand):
    help = "Puts dead letters back on their stream, for the group that could not handle them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", nargs="*", metavar="ID")
        parser.add_argument("--all", action="store_true", help="every dead letter that has not been put back yet")

        parser.add_argument(
            "--spool",
            action="store_true",
            help="this machine's deliveries that were set aside, instead of dead letters",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["spool"]:
            self.stdout.write(f"{spool.shared().take_up_again()} taken up again")
            return
        if bool(options["ids"]) == options["all"]:
            raise CommandError("name the dead letters, or give --all, or --spool")
        ids: list[Any] = options["ids"] or list(
            DeadLetter.objects.filter(redriven_at=None).order_by("id").values_list("id", flat=True)
        )
        failed = sum(not self._redrive(letter_id) for letter_id in ids)
        self.stdout.write(f"{len(ids) - failed} put back" + (f", {failed} not" if failed else ""))
        # Of those that were named, one that stays is a failure; of all there are, one that nobody can ever put back would make every run one.
        if failed and options["ids"]:
            raise CommandError("not all were put back")

    def _redrive(self, letter_id: object) -> bool:
        try:
            dead_letters.redrive(dead_letter_id=letter_id, actor=actors.system("redrive"))
        except AuroraError as error:
            self.stderr.write(f"{letter_id}: {error.detail}")
            return False
        return True
