"""The event loop, in a thread of this process, on which threads ask services over the network.

One for all: a loop of each question's own would wait, at its end, for whatever name is still being resolved, far beyond the question's time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

MOST_LOOKUPS = 64
"""Names resolved at once, each in a thread: asyncio's own few would all wait for the names of one service whose DNS is away."""

_lock = threading.Lock()
_thread: threading.Thread | None = None
_running: asyncio.AbstractEventLoop | None = None


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Begins `work` on the loop. It has to keep its own time."""
    return asyncio.run_coroutine_threadsafe(work, _loop())


def _loop() -> asyncio.AbstractEventLoop:
    """Made at the first question, and again in the child of a fork, where the parent's thread is not."""
    global _thread, _running
    with _lock:
        if _thread is None or _running is None or not _thread.is_alive():
            _running = asyncio.new_event_loop()
            _running.set_default_executor(ThreadPoolExecutor(MOST_LOOKUPS, thread_name_prefix="agent-names"))
            _thread = threading.Thread(target=_running.run_forever, name="agent-client", daemon=True)
            _thread.start()
        return _running
