"""Forms with a file (`multipart/form-data`, RFC 7578): the file in the field `file`, the rest as a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.core.exceptions import TooManyFieldsSent, TooManyFilesSent
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from pydantic import BaseModel, ValidationError

from aurora.errors import Invalid, Problem
from aurora.rest.problems import problem, problems_of

MULTIPART = "multipart/form-data"
FILE = "file"

Model = TypeVar("Model", bound=BaseModel)


def described(model: type[BaseModel]) -> dict[str, Mapping[str, Any]]:
    """The body of such a form for a view's `Call`."""
    schema = model.model_json_schema()
    binary = {"type": "string", "format": "binary", "minLength": 1}
    properties = {FILE: binary, **schema.pop("properties", {})}
    return {MULTIPART: {"schema": schema | {"properties": properties, "required": [*schema.get("required", ()), FILE]}}}


def read(request: HttpRequest, model: type[Model]) -> tuple[Model, UploadedFile]:
    """The form's fields as `model`, and its one file. Raises Invalid in pydantic's words."""
    try:
        fields, files = request.POST, request.FILES
    except (TooManyFieldsSent, TooManyFilesSent):
        # In our own words: Django's name the setting.
        raise Invalid(problems=[problem(["body"], "The form has too many parts", "too_long")]) from None
    except MultiPartParserError as error:
        raise Invalid(problems=[problem(["body"], f"The form cannot be read: {error}", "multipart_invalid")]) from None
    faults: list[Problem] = []
    given = files.getlist(FILE)
    if not given:
        faults.append(problem(["body", FILE], "Field required", "missing"))
    if len(given) > 1:
        faults.append(problem(["body", FILE], "Only one file at a time", "too_long"))
    faults += [_extra(name) for name in files if name != FILE]
    try:
        values = model.model_validate({name: value for name, value in fields.dict().items() if name != FILE or given})
    except ValidationError as error:
        raise Invalid(problems=[*faults, *problems_of(error, "body")]) from None
    if faults:
        raise Invalid(problems=faults)
    return values, given[0]


def _extra(name: str) -> Problem:
    return problem(["body", name], "Extra inputs are not permitted", "extra_forbidden")
