"""The report as the agent writes it: CommonMark with tables."""

from __future__ import annotations

from agents.reports.paper import Paper


def write(paper: Paper) -> bytes:
    return paper.markdown.encode()
