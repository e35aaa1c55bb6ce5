"""`manage.py verify_audit`: whether the audit trail is what was written."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InternalError

from aurora import audit_chain
from aurora.audit_chain import Anchor
from aurora.errors import Conflict
from aurora.resilience.availability import Sign, sign_of


class Command(BaseCommand):
    help = (
        "Recomputes the audit trail's chain of digests and names every entry that is missing, changed or out of place."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--anchor",
            action="append",
            type=_anchor,
            default=[],
            metavar="NUMBER:DIGEST",
            help="a head that an earlier run printed: the chain must still pass through it",
        )
        parser.add_argument(
            "--sign",
            action="store_true",
            help="after a change of AURORA_SECRET_KEY: sign the head under the new key, if all else is as it was",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["sign"]:
            try:
                audit_chain.sign_anew()
            except Conflict as error:
                raise CommandError(error.detail) from None
        _seal_what_waits()
        verdict = audit_chain.verify(anchors=tuple(options["anchor"]))
        for fault in verdict.faults:
            self.stderr.write(fault)
        self.stdout.write(f"{verdict.looked_at} entries sealed, {verdict.waiting} waiting; head {verdict.head}")
        if verdict.faults:
            raise CommandError("the audit trail is not what was written")


def _seal_what_waits() -> None:
    """What was looked at once is protected from then on, though no scheduler ran. Only on a standby it goes on waiting."""
    try:
        audit_chain.seal()
    except InternalError as error:
        if sign_of(error) is not Sign.READ_ONLY:
            raise


def _anchor(text: str) -> Anchor:
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise ArgumentTypeError(f"an anchor is NUMBER:DIGEST as verify_audit prints it, not {text!r}")
    return Anchor(int(number), digest)
