"""The report as one page that stands alone: no script, no picture, no link, its style within."""

from __future__ import annotations

from django.template.loader import render_to_string

from agents.reports.paper import Paper
from aurora.console.markdown import rendered


def write(paper: Paper) -> bytes:
    context = {"case": paper.case, "report": rendered(paper.markdown)}
    return render_to_string("reports/case.html", context).encode()
