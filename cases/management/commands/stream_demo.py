"""`manage.py stream_demo --rate N`: a steady, realistic flow of alerts, story after story."""

from __future__ import annotations

import time
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from aurora.actors import system
from cases import intake
from cases.demo.story import endless


class Command(BaseCommand):
    help = "Feeds intrusions in the middle of noise through the ordinary intake, N records a second, until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rate", type=float, default=5.0, help="records a second (default 5)")
        parser.add_argument(
            "--seed", type=int, default=None, help="the same seed gives the same flow (default: the clock)"
        )
        parser.add_argument("--count", type=int, default=None, help="stop after so many records")

    def handle(self, *args: Any, **options: Any) -> None:
        rate, count = options["rate"], options["count"]
        if not 0 < rate <= 10_000:
            raise CommandError("--rate must be above 0 and at most 10000")
        seed = options["seed"] if options["seed"] is not None else int(time.time())
        actor, began, sent = system("stream_demo"), time.monotonic(), 0
        try:
            for event in endless(start=timezone.now(), seed=seed, rate=rate):
                if sent == count:
                    break
                time.sleep(max(0.0, began + sent / rate - time.monotonic()))
                intake.ingest(source=event.source, payload=orjson.dumps(event.record), actor=actor)
                sent += 1
        except KeyboardInterrupt:
            pass
        self.stdout.write(f"{sent} records in {time.monotonic() - began:.0f} s")
