"""What the benchmarks of the bus have handled: nothing, or one row a message. `python -m benchmarks.bare.effects` runs the latter until SIGTERM."""

from __future__ import annotations

import signal
import threading
import time
from typing import ClassVar

if __name__ == "__main__":
    import django

    # Before any thread is there, so that none is interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    django.setup()

from aurora.bus.streams import Message
from aurora.bus.worker import Worker
from aurora.models import AuditEntry

STREAM, TYPE, ACTION = "aurora:audit", "bench.event", "bench"


class Empty(Worker):
    """Counts, and stops when all have come."""

    name: ClassVar[str] = "bench"
    stream: ClassVar[str] = "bench:consumed"
    group: ClassVar[str] = "bench"
    types: ClassVar[frozenset[str]] = frozenset({TYPE})
    exactly_once: ClassVar[bool] = False

    def __init__(self, count: int, stop: threading.Event) -> None:
        self.left = self.count = count
        self.stop = stop
        self.began = time.perf_counter()
        self.rate = 0.0

    def handle(self, message: Message) -> None:
        self.left -= 1
        if not self.left:
            self.rate = self.count / (time.perf_counter() - self.began)
            self.stop.set()


class Effect(Worker):
    """One row a message, once; in it, when its handling began."""

    name: ClassVar[str] = "bench"
    stream: ClassVar[str] = STREAM
    group: ClassVar[str] = "bench"
    types: ClassVar[frozenset[str]] = frozenset({TYPE})
    batch: ClassVar[int] = 50

    def handle(self, message: Message) -> None:
        began = time.time()
        if message.data.get("hangs"):
            time.sleep(3_600)
        write(message.id, began)


def write(event_id: str, began: float) -> None:
    """The effect, the same for us and for Celery."""
    AuditEntry.objects.create(
        actor="bench", action=ACTION, target_type="event", target_id=event_id, after={"began": began}
    )


def main(worker: Worker) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    signal.sigwait([signal.SIGTERM])
    stop.set()
    thread.join()


if __name__ == "__main__":
    main(Effect())
