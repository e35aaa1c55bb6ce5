"""The report on a case, in the forms in which it leaves the house: Markdown, HTML, PDF, JSON, and STIX 2.1 for other products.

Each is written anew from the case's rows and the agents' answers when it is asked for: what is handed out is what is on record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from uuid import UUID, uuid4

from agents.builtin import report_generator
from agents.builtin.contract import Task
from agents.reports.paper import Paper
from agents.states import AgentType
from cases.models import Case

LABELS = {"pdf": "PDF", "html": "HTML", "md": "Markdown", "json": "JSON", "stix": "STIX 2.1"}
"""The forms, by the word that asks for each, and what people call them."""
FORMS = tuple(LABELS)

_CONTENT_TYPES = {
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "json": "application/json",
    "stix": "application/stix+json;version=2.1",
}
MEDIA_TYPES = tuple(content_type.partition(";")[0] for content_type in _CONTENT_TYPES.values())
_ENDINGS = {"stix": "stix.json"}


@dataclass(frozen=True, slots=True)
class Document:
    """A report as it is handed out: its bytes, what they are, and a file name that suits the case."""

    content: bytes
    content_type: str
    file_name: str


def write(*, case_id: UUID, form: str) -> Document:
    """The report on a case in one of `FORMS`. Raises Missing."""
    paper = paper_on(case_id)
    ending = _ENDINGS.get(form, form)
    return Document(_writer(form)(paper), _CONTENT_TYPES[form], f"{paper.case.reference}.{ending}")


def paper_on(case_id: UUID) -> Paper:
    """What a report on the case has to say, before any form. Raises Missing."""
    task = Task(str(uuid4()), AgentType.REPORT_GENERATOR, "", None, str(case_id), {})
    output = report_generator.analyse(task, lambda _text, _data: None)
    return Paper(Case.objects.select_related("assignee").get(pk=case_id), output)


def _writer(form: str) -> Callable[[Paper], bytes]:
    """The form's module, loaded when it is first asked for: what STIX and PDF need takes half a second that no start should pay."""
    write_it: Callable[[Paper], bytes] = import_module(f"agents.reports.as_{form}").write
    return write_it
