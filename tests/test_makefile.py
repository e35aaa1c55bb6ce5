"""The Makefile's environment, broken in the ways in which it breaks. The locks are empty here: nothing is fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    (folder / "requirements").mkdir(parents=True)
    for name in ("uv", "run", "dev"):
        (folder / "requirements" / f"{name}.txt").touch()
    shutil.copy(ROOT / "Makefile", folder)
    return folder


def _make(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-s", f"PYTHON={sys.executable}", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _is_whole(folder: Path) -> bool:
    command = [str(folder / ".venv" / "bin" / "python"), "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_an_environment_whose_making_was_cut_short_is_made_anew(clone):
    venv.create(clone / ".venv", with_pip=False)
    _make(clone, ".venv/.run")
    assert _is_whole(clone)


def test_an_environment_whose_python_was_removed_is_made_anew(clone):
    venv.create(clone / ".venv", with_pip=False, symlinks=True)
    for stamp in (".uv", ".run", ".dev"):
        (clone / ".venv" / stamp).touch()
    python = clone / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    _make(clone, ".venv/.run")
    assert _is_whole(clone)


def test_an_environment_that_was_removed_half_way_does_not_pass_for_whole(clone):
    """`make clean`, cut short: the notes of what is installed go first."""
    first = _make(clone, "-n", "clean").splitlines()[0]
    assert all(f".venv/{stamp}" in first for stamp in (".uv", ".run", ".dev"))


def test_nothing_is_done_twice(clone):
    _make(clone, ".venv/.dev")
    for target in (".venv/.uv", ".venv/.run", ".venv/.dev"):
        _make(clone, "--question", target)
