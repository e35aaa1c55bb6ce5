"""`make run` as a newcomer has it: from `git clone` of the committed tree to `/health/ready`, and again; idle memory; Ctrl-C.

The clone lies in a temporary directory with none of our variables set but the port; packages come from the package installers' caches, which
an unmeasured run of `make bench` has filled. Memory is the sum over the whole process tree, embedded servers included, after 20 s in which
nobody asked for anything: PSS, which counts a page shared by n processes as 1/n in each; RSS, which counts it n times, for comparison.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import Figure, Target
from benchmarks.installation import ROOT, Installation, free_port, wait_until_answers

TARGETS = (
    Target(60, "at most", "ours", "s"),
    Target(8, "at most", "ours", "s"),
    Target(700, "at most", "ours", "MB"),
    Target(0, "at most", "ours", "processes"),
)
_IDLE_SECONDS = 20
_STOP_SECONDS = 40


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Measures nothing when quick."""
    if is_quick:
        return []
    directory = Path(tempfile.mkdtemp(prefix="aurora-bench-start-"))
    try:
        return _measured(directory / "clone")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _measured(clone: Path) -> list[Figure]:
    began = time.perf_counter()
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)  # noqa: S607 - the one in the path
    with _Group(clone) as group:
        first = time.perf_counter() - began
    began = time.perf_counter()
    with _Group(clone) as group:
        second = time.perf_counter() - began
        time.sleep(_IDLE_SECONDS)
        memory = processes.memory(group.make.pid)
    return [
        Figure("git clone to /health/ready", "s", first, target=TARGETS[0]),
        Figure("second start to /health/ready", "s", second, target=TARGETS[1]),
        Figure("idle memory of the group (PSS)", "MB", memory.pss, target=TARGETS[2]),
        Figure("the same as RSS, shared pages repeated", "MB", memory.rss),
        Figure("Ctrl-C to the end of everything", "s", group.stop_seconds),
        Figure("left over after Ctrl-C", "processes", len(group.left_over), target=TARGETS[3]),
    ]


class _Group:
    """`make run` in a process group of its own, as a terminal has it; entered when it is ready, left by Ctrl-C."""

    def __init__(self, clone: Path) -> None:
        self.port = free_port()
        ours = ("AURORA_", "OTEL_", "DJANGO_", "PROMETHEUS_", "PYTHONPATH", "VIRTUAL_ENV", "DATABASE_URL", "REDIS_URL")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.output = (clone.parent / "output").open("ab")
        self.make = subprocess.Popen(
            ["make", "run"],  # noqa: S607 - the one in the path
            cwd=clone,
            env={**inherited, "AURORA_PORT": str(self.port)},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            process_group=0,
        )
        self.stop_seconds = 0.0
        self.left_over: list[int] = []

    def __enter__(self) -> _Group:
        try:
            wait_until_answers(self.port, "/health/ready", self.make, seconds=180)
        except BaseException:
            self.__exit__()
            print(Path(self.output.name).read_text(errors="replace")[-3000:])
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        members = processes.tree(self.make.pid)
        began = time.perf_counter()
        os.killpg(self.make.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.make.wait(_STOP_SECONDS)
        self.left_over = [pid for pid in members if processes.is_alive(pid)]
        self.stop_seconds = time.perf_counter() - began
        for pid in self.left_over:
            os.kill(pid, signal.SIGKILL)
        self.make.wait()
        self.output.close()
