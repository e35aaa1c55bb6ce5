"""The worker of `benchmarks.bare.effects` that does not hang: who takes over from one that does."""

from __future__ import annotations

import signal
from typing import ClassVar

import django

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
django.setup()

from aurora.bus.streams import Message  # noqa: E402 - needs Django's apps
from benchmarks.bare import effects  # noqa: E402


class Heir(effects.Effect):
    name: ClassVar[str] = "heir"

    def handle(self, message: Message) -> None:
        message.data.pop("hangs", None)
        super().handle(message)


if __name__ == "__main__":
    effects.main(Heir())
