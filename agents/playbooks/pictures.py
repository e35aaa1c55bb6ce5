"""A playbook as a picture: its steps from the top down, branches side by side. SVG, drawn here, without a script."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from agents.playbooks import catalog
from agents.playbooks.definition import Definition, Parallel, Step
from agents.playbooks.models import ExecutionStep, PlaybookVersion
from agents.playbooks.source import written
from agents.playbooks.states import UndoState
from aurora.console import widgets

WIDTH, HEIGHT, GAP = 230, 62, 24
"""Of a step, and between two, in pixels."""

_UNDOS = {
    UndoState.QUEUED: "undoing",
    UndoState.RUNNING: "undoing",
    UndoState.COMPLETED: "undone",
    UndoState.FAILED: "not_undone",
    UndoState.NOT_CONFIGURED: "not_undone",
}
_KINDS = {"+": "added", "-": "removed", "@": "place"}

_Box = tuple[int, int, Step]


def of_version(version: PlaybookVersion) -> SafeString:
    return _drawn(Definition.model_validate(version.definition), {})


def of_run(version: PlaybookVersion, steps: Iterable[ExecutionStep]) -> SafeString:
    """As `of_version`, each step coloured by how it stands."""
    words = {step.name: _UNDOS[UndoState(step.undo)] if step.undo else step.status for step in steps}
    return _drawn(Definition.model_validate(version.definition), words)


def changes(before: PlaybookVersion, after: PlaybookVersion) -> SafeString:
    """What one version has that another has not, as a unified diff; empty when they say the same."""
    # Written anew, so that a change of indentation or quotes is none.
    old, new = (written(version.definition).splitlines() for version in (before, after))
    lines = difflib.unified_diff(old, new, f"version {before.number}", f"version {after.number}", lineterm="")
    kinds = ((_KINDS.get(line[:1], "same") if number > 1 else "place", line) for number, line in enumerate(lines))
    return format_html_join("", '<span class="au-diff-{}">{}\n</span>', kinds)


def _drawn(definition: Definition, statuses: Mapping[str, str]) -> SafeString:
    boxes, lines, height = _placed(definition)
    width = max(left for left, _, _ in boxes) + WIDTH
    edges = format_html_join("", '<path d="M{} {} L{} {}" fill="none" stroke="currentColor" opacity=".4"/>', lines)
    return format_html(
        '<svg class="au-flow" viewBox="-1 -1 {} {}" width="{}" role="img" aria-label="Steps of the playbook">{}{}</svg>',
        width + 2,
        height + 2,
        width + 2,
        edges,
        format_html_join(
            "", "{}", ((_box(left, top, step, statuses.get(step.name, "")),) for left, top, step in boxes)
        ),
    )


def _placed(definition: Definition) -> tuple[list[_Box], list[tuple[int, int, int, int]], int]:
    boxes: list[_Box] = []
    lines: list[tuple[int, int, int, int]] = []
    ends: list[tuple[int, int]] = []
    top = 0
    for part in definition.steps:
        branches = part.parallel if isinstance(part, Parallel) else [[part]]
        joined = []
        for place, branch in enumerate(branches):
            left, above = place * (WIDTH + GAP), ends
            for depth, step in enumerate(branch):
                at = top + depth * (HEIGHT + GAP)
                boxes.append((left, at, step))
                lines += [(x, y, left + WIDTH // 2, at) for x, y in above]
                above = [(left + WIDTH // 2, at + HEIGHT)]
            joined += above
        ends = joined
        top += max(len(branch) for branch in branches) * (HEIGHT + GAP)
    return boxes, lines, top - GAP


def _box(left: int, top: int, step: Step, status: str) -> SafeString:
    return format_html(
        '<g class="au-flow-{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="8" fill="none" stroke="currentColor"/>'
        '<text x="{}" y="{}" font-size="13" font-weight="600" fill="currentColor">{}</text>'
        '<text x="{}" y="{}" font-size="11" fill="currentColor" opacity=".8">{}</text>'
        '<text x="{}" y="{}" font-size="10" fill="currentColor" opacity=".8">{}</text></g>',
        (status or "plain").replace("_", "-"),
        f"If {step.condition}" if step.condition else step.name,
        left,
        top,
        WIDTH,
        HEIGHT,
        left + 12,
        top + 19,
        step.name[:26],
        left + 12,
        top + 36,
        f"{widgets.words(step.action)}{' · ' + status.replace('_', ' ') if status else ''}",
        left + 12,
        top + 52,
        Truncator(_terms(step)).chars(44),
    )


def _terms(step: Step) -> str:
    """Under which terms a step acts."""
    people = catalog.approval_for(action=step.action, is_target_critical=False).people
    if step.requires_approval == "never":
        asks = "never asks"  # where the risk demands it, nobody can write so
    else:
        asks = {0: "asks first" if step.requires_approval == "always" else "", 1: "asks first"}.get(
            people, "asks two people first"
        )
    undone = "rolls back" if step.rollback else ""
    return " · ".join(filter(None, (asks, undone, step.condition and f"if {step.condition}")))
