"""Reading the outputs of the steps before. They may come from agents of other makers: what has not the right shape is passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

_MAX_ROWS = 50
_MAX_ITEMS = 300

Text = Annotated[str, Field(max_length=10_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[list[Text], Field(max_length=_MAX_ITEMS)]
_Model = TypeVar("_Model", bound=BaseModel)


class Supposed(BaseModel):
    """One hypothesis of the threat hunter."""

    kind: Text
    title: Text
    confidence: Fraction
    alert_ids: list[UUID] = Field(default=[], max_length=_MAX_ITEMS)
    hosts: Words = []
    users: Words = []
    iocs: Words = []


class Said(BaseModel):
    """One finding of any agent."""

    title: Text
    detail: Text = ""
    confidence: Fraction = 0.0
    recommended_actions: Words = []


class Answer(BaseModel):
    """What every agent's output has."""

    summary: Text
    confidence: Fraction
    confidence_reason: Text = ""


class Planned(BaseModel):
    """One action of the incident responder's plan."""

    action: Text
    target: Text
    why: Text = ""
    risk: Text = ""
    people: int = Field(default=0, ge=0, le=10)


class Gap(BaseModel):
    """A stage that the threat hunter expects and no sensor reported."""

    hunt: Text


def answer(output: object) -> Answer | None:
    return _read(Answer, output)


def findings(output: object) -> list[Said]:
    return _rows(Said, _get(output, "findings"))


def hypotheses(output: object) -> list[Supposed]:
    return _rows(Supposed, _get(_get(output, "data"), "hypotheses"))


def plan(output: object) -> list[Planned]:
    return _rows(Planned, _get(_get(output, "data"), "plan"))


def gaps(output: object) -> list[Gap]:
    return _rows(Gap, _get(_get(output, "data"), "gaps"))


def host_names(output: object) -> dict[str, str]:
    """Host name by address, as the threat hunter found them."""
    names = _get(_get(output, "data"), "host_names")
    pairs = list(names.items())[:_MAX_ITEMS] if isinstance(names, Mapping) else []
    return {key: name for key, name in pairs if isinstance(key, str) and isinstance(name, str) and len(name) < 256}


def _get(mapping: object, key: str) -> Any:
    return mapping.get(key) if isinstance(mapping, Mapping) else None


def _rows(model: type[_Model], rows: object) -> list[_Model]:
    if not isinstance(rows, list):
        return []
    return [row for row in (_read(model, item) for item in rows[:_MAX_ROWS]) if row is not None]


def _read(model: type[_Model], item: object) -> _Model | None:
    try:
        return model.model_validate(item)
    except ValidationError:
        return None
