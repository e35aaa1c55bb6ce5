"""What the pump and its handler threads share without a lock."""

from __future__ import annotations

from collections import deque

from aurora.bus.pump import taken_from


class Shared(deque[int]):
    """From which another thread takes one between the look at its length and the last taking."""

    def __len__(self) -> int:
        return super().__len__() + 1


def test_what_another_thread_took_meanwhile_is_not_missed():
    shared = Shared([1, 2, 3])
    assert taken_from(shared) == [1, 2, 3]
    assert not list(shared)
