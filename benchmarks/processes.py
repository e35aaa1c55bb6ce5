"""Process trees and their memory, read from /proc."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple


class Memory(NamedTuple):
    """Megabytes. `pss` counts a page that n processes share as 1/n in each, so the sum is what the tree really takes."""

    pss: float
    rss: float


def tree(root: int) -> list[int]:
    """A process and all its descendants that are alive now."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children[parent].append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children[pid])
    return found


def memory(root: int) -> Memory:
    """Of the whole tree."""
    totals = {"Pss": 0, "Rss": 0}
    for pid in tree(root):
        for name, kilobytes in _rollup(pid):
            totals[name] = totals.get(name, 0) + kilobytes
    return Memory(totals["Pss"] / 1024, totals["Rss"] / 1024)


def _parent(entry: Path) -> int | None:
    try:
        stat = (entry / "stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])  # the name in brackets may hold anything


def _rollup(pid: int) -> list[tuple[str, int]]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return []  # ended meanwhile
    return [(line.partition(":")[0], int(line.split()[1])) for line in lines]


def is_alive(pid: int) -> bool:
    """Whether the process is there and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
