"""Requests made of the OpenAPI schema, against the whole running product: nothing but promised answers. `make fuzz` does it for longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import fuzzing
from tests.group import RunningGroup

pytestmark = [pytest.mark.group, pytest.mark.xdist_group("schemathesis")]

EACH_CALL = ("--phases", "examples,coverage,fuzzing", "--max-examples", "1")
CHAINS = ("--phases", "stateful", "--max-examples", "8")
EXAMPLES = ("--phases", "examples")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGroup]:
    """A group of its own: accounts are deleted in it, and breakers forced open."""
    running = RunningGroup(tmp_path_factory.mktemp("schemathesis") / "data")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("role", "arguments"),
    [
        pytest.param("admin", EACH_CALL, id="admin: each call"),
        pytest.param("admin", CHAINS, id="admin: chains of calls"),
        pytest.param("analyst", EXAMPLES, id="analyst: examples"),
        pytest.param("operator", EXAMPLES, id="operator: examples"),
        pytest.param("viewer", EXAMPLES, id="viewer: examples"),
        pytest.param("api_service", EXAMPLES, id="api_service: examples"),
    ],
)
def test_schemathesis_finds_nothing(target: RunningGroup, role: str, arguments: tuple[str, ...]):
    done = fuzzing.run(target, role, *arguments, "--seed", "1", "--no-shrink")
    assert done.returncode == 0, done.stdout + done.stderr
