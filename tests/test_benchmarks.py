"""The benchmarks: that each can be imported and says what it is held against. They are not run here."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from aurora.embedded import locations
from aurora.embedded.servers import Postgres
from benchmarks import SUBJECTS
from benchmarks.figures import Figure, Target, quantile
from benchmarks.installation import Installation


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_benchmark_says_what_it_measures_and_what_it_is_held_against(name):
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__
    assert all(isinstance(target, Target) for target in module.TARGETS)
    assert list(inspect.signature(module.run).parameters) == ["opened", "is_quick"]


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("ingest", ["≥ 0.4 ×"]),
        ("alert_post", ["≤ 3 ×"]),
        ("frames", ["≤ 50 ms", "≤ 250 ms"]),
        ("validation", ["≤ 10 µs", "≤ 10 µs"]),
        ("breaker", ["≤ 1 µs", "≤ 0.8 ×", "≤ 0.2 ×", "≤ 1.3 ×"]),
        ("breaker_fleet", ["≤ 100 ms", "≤ 1 probes", "≤ 1000 ms", "≤ 0 rounds"]),
        ("dispatch", ["≤ 3 failures", "≤ 100 ms", "≤ 1 s", "≤ 10 ms"]),
        ("playbooks", ["≤ 3 ×"]),
        ("spool", ["≤ 2 ×", "≤ 15 s"]),
        ("degraded", ["≤ 1 s", "≤ 3 s", "≤ 1 s", "≤ 1 s", "≤ 20 ms", "≤ 20 ms", "≤ 50 ms", "≤ 2500 ms"]),
        ("start", ["≤ 60 s", "≤ 8 s", "≤ 700 MB", "≤ 0 processes"]),
    ],
)
def test_the_targets_are_those_that_were_set(name, targets):
    assert [str(target) for target in importlib.import_module(f"benchmarks.{name}").TARGETS] == targets


def test_a_ratio_below_its_target_is_not_met():
    figure = Figure("rows", "rows/s", 30.0, "bare", 100.0, Target(0.4, "at least", "ratio"))
    assert (figure.ratio, figure.is_met) == (0.3, False)


def test_a_figure_without_a_peer_is_held_against_its_own_value():
    assert Figure("start", "s", 7.0, target=Target(8, "at most", "ours", "s")).is_met


def test_a_quantile_is_a_measured_value():
    assert [quantile([3.0, 1.0, 2.0, 4.0], fraction) for fraction in (0.0, 0.5, 0.99)] == [1.0, 3.0, 4.0]


def test_an_outage_ends_with_the_server_there_again(tmp_path: Path):
    server = Postgres(tmp_path / "postgres", locations.socket_dir(tmp_path))
    server.start()
    installation = Installation(tmp_path, "", "", server)
    try:
        with installation.outage():
            assert not server.is_running()
        with installation.connect() as session:
            assert session.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()
