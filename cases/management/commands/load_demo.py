"""`manage.py load_demo`: the demo story of the last hours, once."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from aurora.actors import system
from cases import intake
from cases.demo.story import story


class Command(BaseCommand):
    help = "Feeds the demo story through the ordinary intake: an intrusion over the last hours in the middle of a SOC's noise."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hours", type=float, default=6.0, help="how long the story took (default 6)")
        parser.add_argument("--seed", type=int, default=7, help="another seed, other hosts and users")

    def handle(self, *args: Any, **options: Any) -> None:
        hours: float = options["hours"]
        by_source: dict[str, list[bytes]] = defaultdict(list)
        for event in story(start=timezone.now() - timedelta(hours=hours), seed=options["seed"], hours=hours):
            by_source[event.source].append(orjson.dumps(event.record))
        actor = system("load_demo")
        created = merged = 0
        # At once, or the first sensor's alerts would be investigated, and get their cases, before the others' are there.
        with transaction.atomic():
            for source, lines in by_source.items():
                done = intake.ingest(source=source, payload=b"\n".join(lines), actor=actor)
                created, merged = created + done.created, merged + done.merged
        if options["verbosity"]:
            self.stdout.write(f"{created} alerts created, {merged} merged into them")
