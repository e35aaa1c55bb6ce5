"""The way to a model's server."""

from __future__ import annotations

import pytest

from agents.narration import talk
from tests.names import unresolved


def test_a_name_that_nobody_resolves_takes_no_longer_than_any_other_silence():
    with unresolved("lost.example") as waited_for:
        with pytest.raises(talk.ModelFault, match=r"no answer within 0\.5 s"):
            talk.complete(talk.Model("http://lost.example/v1", "m"), [], most_tokens=1, timeout=0.5)
        assert not waited_for.is_set()
