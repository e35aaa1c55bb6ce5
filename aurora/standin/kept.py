"""Answers made of a store that stands in, as bytes: its rows do not change, so the same question has the same answer.

When PostgreSQL is lost, everybody's dashboard asks the same lists at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

MOST_ANSWERS = 64
LARGEST_ANSWER = 256 * 1024
"""Bytes. With so many at most, this costs a process no more than 16 MiB."""

_lock = threading.Lock()
_answers: OrderedDict[Hashable, bytes] = OrderedDict()


def answer(question: Hashable, make: Callable[[], bytes]) -> bytes:
    """What was answered to `question` before, else what `make` answers, kept for the next one who asks. Raises what `make` raises."""
    with _lock:
        known = _answers.get(question)
        if known is not None:
            _answers.move_to_end(question)
            return known
    made = make()
    if len(made) <= LARGEST_ANSWER:
        with _lock:
            _answers[question] = made
            if len(_answers) > MOST_ANSWERS:
                _answers.popitem(last=False)
    return made
