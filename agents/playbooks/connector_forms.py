"""Forms of new connectors: one a kind, made of the fields that its settings have. What is right, the settings decide."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union

from django import forms
from pydantic.fields import FieldInfo

from agents.playbooks.actions import KINDS
from agents.playbooks.states import ConnectorKind

LABELS = {kind.value: str(kind.label) for kind in ConnectorKind}
_LONG = ("ca_pem",)
_NAMES = {
    "ca_pem": "Authority's certificate (PEM)",
    "url": "URL",
    "urls": "URLs",
    "bind_dn": "Bind DN",
    "base_dn": "Base DN",
}


class KindForm(forms.Form):
    """The first question: what kind it is."""

    kind = forms.ChoiceField(choices=[(kind.value, kind.label) for kind in ConnectorKind], initial="webhook")


class LinesField(forms.CharField):
    """A list, one item a line."""

    widget = forms.Textarea

    def clean(self, value: Any) -> Any:
        return [line.strip() for line in super().clean(value).splitlines() if line.strip()]


class PairsField(forms.CharField):
    """A table, one `name: value` a line."""

    widget = forms.Textarea

    def clean(self, value: Any) -> Any:
        lines = [line.partition(":") for line in super().clean(value).splitlines() if line.strip()]
        if any(not colon for _, colon, _ in lines):
            raise forms.ValidationError("Each line is a name, a colon, and a value")
        return {name.strip(): given.strip() for name, _, given in lines}


class ConnectorForm(forms.Form):
    """Name and settings of a connector of one kind. What is left empty keeps its default."""

    name = forms.CharField(max_length=64)
    kind = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, kind: str, data: Any = None) -> None:
        super().__init__(data, initial={"kind": kind})
        for name, info in KINDS[kind].Settings.model_fields.items():
            self.fields[f"settings.{name}"] = _field(name, info, is_secret=name in KINDS[kind].SECRETS)

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        return {name: value for name, value in given.items() if value not in ("", [], {})}


def form_of(kind: str, data: Any) -> forms.Form:
    """Of a kind that there is; else the form that asks for one."""
    return ConnectorForm(kind, data) if kind in KINDS else KindForm()


def written(value: Any) -> str:
    """A setting as a page shows it: lists and tables in a line."""
    if isinstance(value, Mapping):
        value = [f"{name}: {given}" for name, given in value.items()]
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "—" if value in (None, "") else str(value)


def label_of(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " ").capitalize())


def _field(name: str, info: FieldInfo, *, is_secret: bool) -> forms.Field:
    shared: dict[str, Any] = {
        "required": info.is_required(),
        "label": label_of(name),
        "help_text": info.description or "",
    }
    if not info.is_required() and info.default not in ("", [], {}, None):
        shared["initial"] = written(info.default) if not isinstance(info.default, Mapping) else _lines(info.default)
    kind, choices = _kind_of(info.annotation)
    if kind is Literal:
        return forms.ChoiceField(choices=[(choice, choice) for choice in choices], **shared)
    if kind is list:
        return LinesField(**_told(shared, "One a line."), widget=_area(3))
    if kind is dict:
        return PairsField(**_told(shared, "One a line: name, colon, value."), widget=_area(3))
    if kind in (int, float):
        return (forms.IntegerField if kind is int else forms.FloatField)(**shared)
    if is_secret:
        hidden = forms.PasswordInput(attrs={"autocomplete": "new-password"})
        return forms.CharField(strip=False, widget=hidden, **shared)
    return forms.CharField(**shared, widget=_area(5) if name in _LONG else forms.TextInput())


def _kind_of(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a field holds, below what annotates it and what makes it optional; the choices of a literal."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _kind_of(inner[0])
    if origin in (Union, UnionType):
        return _kind_of(next(one for one in inner if one is not type(None)))
    return (origin or annotation), inner


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in table.items())


def _told(shared: dict[str, Any], form: str) -> dict[str, Any]:
    return {**shared, "help_text": f"{shared['help_text']} {form}".strip()}


def _area(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "spellcheck": "false"})
