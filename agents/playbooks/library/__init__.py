"""The playbooks that come with the product, one file each."""

from __future__ import annotations

from pathlib import Path

from agents.playbooks.definition import Definition
from agents.playbooks.source import parsed


def shipped() -> list[tuple[Definition, str]]:
    """Each with its text, by name. Raises Invalid for a file that is wrong, which a test sees first."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.yaml"))]
    return [(parsed(text), text) for text in texts]
