"""What a breaker counts: calls of the last seconds by their outcome, for those who open it at a rate; and calls of this process, for everybody.

The window is a row of ten slots on whatever clock its owner uses; as a slot gets too old it is left out. It is kept where the breaker's state is
decided, in Redis or else in this process, and begins anew with each move of the breaker.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields

from aurora.errors import Invalid

SLOTS = 10
WHOLE = 1_000_000
"""Of a share: rates are compared in millionths, without a fraction, here as in Redis. 0.07 of 100 calls is a little more than 7 otherwise."""
WINDOW_SECONDS, LEAST_CALLS = 60.0, 20

Window = tuple[tuple[int, int, int, int], ...]
"""(slot, calls, failures, slow calls), oldest first."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Rates that open a breaker, beside failures in a row: shares (0 to 1) of the calls of the last `seconds`, once there were `least_calls`.

    A rate of 0 is off. A call is slow when it succeeded and took longer than `slow_seconds`.
    """

    seconds: float = WINDOW_SECONDS
    least_calls: int = LEAST_CALLS
    failure_rate: float = 0.0
    slow_seconds: float = 0.0
    slow_rate: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not (math.isfinite(value) and value >= 0):
                raise Invalid(f"{each.name} must be zero or a positive number")
        if self.seconds <= 0 or self.least_calls < 1:
            raise Invalid("a window needs a length and a least number of calls")
        if self.failure_rate > 1 or self.slow_rate > 1:
            raise Invalid("a rate is a share, from 0 to 1")
        if bool(self.slow_rate) != bool(self.slow_seconds):
            raise Invalid("a rate of slow calls and the time from which a call is slow need each other")

    @property
    def is_off(self) -> bool:
        return not (self.failure_rate or self.slow_rate)

    @property
    def shares(self) -> tuple[int, int]:
        """The rates of failures and of slow calls, in millionths."""
        return round(self.failure_rate * WHOLE), round(self.slow_rate * WHOLE)

    def added(self, window: Window, now: float, *, calls: int, failures: int = 0, slow: int = 0) -> Window:
        """The window with these calls in the slot of `now`, without what is too old, or was counted in slots of another length."""
        slot = math.floor(now / (self.seconds / SLOTS))
        kept = [row for row in window if slot - SLOTS < row[0] <= slot]
        if kept and kept[-1][0] == slot:
            _, *last = kept.pop()
            calls, failures, slow = calls + last[0], failures + last[1], slow + last[2]
        return (*kept, (slot, calls, failures, slow))

    def are_met(self, window: Window) -> bool:
        calls, failures, slow = (sum(row[place] for row in window) for place in (1, 2, 3))
        if calls < self.least_calls:
            return False
        failure_share, slow_share = self.shares
        is_failing = failure_share > 0 and failures * WHOLE >= failure_share * calls
        return is_failing or (slow_share > 0 and slow * WHOLE >= slow_share * calls)


class Tally:
    """Counts what threads report at any time, without a lock: one step of an `itertools.count` is one step of
    the interpreter. What was counted is taken out, and may be given back, under the breaker's lock."""

    __slots__ = ("_looks", "_taken", "_told", "hit")

    def __init__(self) -> None:
        self.hit = itertools.count().__next__
        self._looks = self._taken = self._told = 0

    def pending(self) -> int:
        return self._total() - self._taken

    def take(self) -> int:
        taken = self.pending()
        self._taken += taken
        return taken

    def give_back(self, number: int) -> None:
        self._taken -= number

    def tell(self) -> int:
        """What was counted since this was last asked; apart from what is taken."""
        total = self._total()
        news, self._told = total - self._told, total
        return news

    def _total(self) -> int:
        # To look is to step on; the looks are known and do not count.
        hits = self.hit() - self._looks
        self._looks += 1
        return hits
