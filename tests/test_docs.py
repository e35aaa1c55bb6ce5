"""What the documents promise, held against the code in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora.bus import streams

ROOT = Path(__file__).resolve().parent.parent
APPS = ("aurora", "cases", "agents", "realtime")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
NOT_OURS = {"PROMETHEUS_MULTIPROC_DIR", "DJANGO_SETTINGS_MODULE"}
"""Set by the product for libraries, never read from an operator."""


def sources() -> Iterator[str]:
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            yield path.read_text()


def first_column(page: str) -> set[str]:
    """Everything in code type in the first column of a page's tables."""
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", page, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def variables_read() -> set[str]:
    readers = r'\b(?:env\.\w+|os\.environ\.get|getenv)\(\s*"([A-Z][A-Z_]+)"|\bos\.environ\["([A-Z][A-Z_]+)"\]'
    found = {first or second for text in sources() for first, second in re.findall(readers, text)}
    return found - NOT_OURS


def event_types() -> set[str]:
    """The constants of all modules that announce events."""
    announcing = [
        text for text in sources() if re.search(r"^from aurora\.bus.* import .*\b(outbox|Event)\b", text, re.M)
    ]
    return {name for text in announcing for name in re.findall(r'^[A-Z_]+ = "([a-z]+\.[a-z_]+)"$', text, re.MULTILINE)}


def commands() -> set[str]:
    paths = [path for app in APPS for path in (ROOT / app / "management" / "commands").glob("*.py")]
    return {path.stem for path in paths} - {"__init__"}


def test_every_variable_that_is_read_is_documented_and_no_other():
    assert first_column(CONFIGURATION) == variables_read()


def test_the_variables_that_production_needs_are_marked():
    settings = (ROOT / "aurora" / "settings.py").read_text()
    required = re.search(r"_required = \(([^)]*)\)", settings)
    assert required
    marked = re.findall(r"^\| `(\w+)` \*", CONFIGURATION, re.MULTILINE)
    assert set(marked) == set(re.findall(r'"(\w+)"', required[1]))


@pytest.mark.parametrize("kind", ["streams", "event types", "commands"])
def test_the_architecture_names_all_there_are_and_no_other(kind):
    documented = first_column(ARCHITECTURE)
    found, there = {
        "streams": ({name for name in documented if name.startswith("aurora:")}, set(streams.STREAMS)),
        "event types": ({name for name in documented if re.fullmatch(r"[a-z]+\.[a-z_]+", name)}, event_types()),
        "commands": ({name[10:] for name in documented if name.startswith("manage.py ")}, commands()),
    }[kind]
    assert found == there


def test_every_test_that_a_page_cites_exists():
    cited = [cite for page in PAGES for cite in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text())]
    absent = [
        f"{path}::{name}"
        for path, name in cited
        if not (ROOT / path).exists() or not re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.M)
    ]
    assert cited
    assert absent == []


@pytest.mark.parametrize("page", ["failure-modes.md", "threat-model.md"])
def test_nothing_is_claimed_to_hold_without_a_test(page):
    rows = re.findall(r"^\|.*\| *(.*?) *\|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    claimed = rows[rows.index("test") + 2 :]
    assert claimed
    assert [row for row in claimed if "`tests/" not in row] == []


def test_every_link_between_pages_leads_somewhere():
    absent = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert absent == []


def test_every_path_of_the_code_that_a_page_names_exists():
    named = r"`((?:aurora|cases|agents|realtime|tests)/[\w/]+\.\w+)`"
    absent = [
        f"{page.relative_to(ROOT)}: {path}"
        for page in PAGES
        for path in re.findall(named, page.read_text())
        if "NAME" not in path and not (ROOT / path).exists()
    ]
    assert absent == []
