"""What each call of a view takes and answers: declared once, beside the view.

The view lets through only the query parameters that are declared, the OpenAPI schema (`aurora.rest.openapi`) is made of the declarations, and
the tests hold every answer against them (`tests/promises.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

JSON = "application/json"

Answer = type[BaseModel] | str | tuple[str, ...] | None
"""A model of a JSON body, the media type of a text, those of documents of which the caller chooses one, or no body."""


@dataclass(frozen=True, slots=True)
class Call:
    """One method of a view.

    `answers` has the body of each status of success. `errors` are statuses that this call's own work ends in (a 409, a 404 for an id
    in the body); what any call may end in is known without. `body` is a model, or media type → JSON schema where the body is not our own JSON.
    """

    answers: Mapping[int, Answer]
    body: type[BaseModel] | Mapping[str, Mapping[str, Any]] | None = None
    query: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    is_body_optional: bool = False
    """An empty body is then one without a field."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers that mean something to this call, and what."""

    @property
    def model(self) -> type[BaseModel] | None:
        """The body's model, where it is JSON of ours."""
        return self.body if isinstance(self.body, type) else None
