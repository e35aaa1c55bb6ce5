"""Forms of connectors: one a kind, made of the fields that its settings have. What is right, the settings decide."""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

from django import forms
from pydantic.fields import FieldInfo

from agents.playbooks import connectors
from agents.playbooks.actions import KINDS
from agents.playbooks.models import Connector
from agents.playbooks.states import ConnectorKind
from aurora.console.making import EditingForm
from aurora.texts import words

LABELS = {kind.value: str(kind.label) for kind in ConnectorKind}
_LONG = ("ca_pem",)
_NUMBERS = (
    ("priority", 0, 10_000, "Of several for an action the lowest is taken."),
    ("max_in_flight", 1, 64, "Calls at once, over all workers."),
)
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


class TextField(forms.CharField):
    """A text of several lines, which browsers send with ends of lines of their own."""

    def clean(self, value: Any) -> Any:
        return super().clean(value).replace("\r\n", "\n")


class SettingsForm(EditingForm):
    """What is set of a connector of one kind; of one that is there (`row`), as it stands, but for its secrets."""

    def __init__(self, kind: str, data: Any = None, row: Connector | None = None, held: Collection[str] = ()) -> None:
        """`held` names the secrets that the connector has: left empty they stay."""
        super().__init__(data, initial={"kind": kind})
        self.row, self._kind = row, KINDS[kind]
        if row is not None:
            self.saw(connectors.version_of(row))
        for name, info in self._kind.Settings.model_fields.items():
            self._add_setting(name, info, is_held=name in held)
        if len(self._kind.SERVES) > 1:
            choices = [(name, words(name)) for name in sorted(self._kind.SERVES)]
            self.fields["actions"] = forms.MultipleChoiceField(
                choices=choices,
                widget=forms.CheckboxSelectMultiple,
                label="Serves",
                initial=row.actions if row else sorted(self._kind.SERVES),
            )
        shown = row or Connector()
        for name, least, most, told in _NUMBERS:
            field = forms.IntegerField(min_value=least, max_value=most, initial=getattr(shown, name), help_text=told)
            field.required = row is not None
            self.fields[name] = field

    def _add_setting(self, name: str, info: FieldInfo, *, is_held: bool) -> None:
        is_secret = name in self._kind.SECRETS
        field = _field(name, info, is_secret=is_secret)
        if self.row is not None and not is_secret:
            field.initial = _as_typed(self.row.settings.get(name, info.get_default(call_default_factory=True)))
        self.fields[f"settings.{name}"] = field
        if is_held:
            field.required = False
            field.help_text = f"{field.help_text} It is set, and stays when this is left empty.".strip()
            if not info.is_required():
                self.fields[f"forget.{name}"] = forms.BooleanField(
                    required=False, label=f"Forget the {label_of(name).lower()} that is set"
                )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        changes: dict[str, Any] = {"settings": {}}
        for name, value in given.items():
            where, _, setting = name.partition(".")
            if where == "settings":
                changes["settings"] |= self._setting(setting, value)
            elif where in ("actions", "priority", "max_in_flight") and value is not None:
                changes[where] = value
        return {**given, "changes": changes}

    def look_again(self) -> None:
        """Beside each field that is now otherwise than typed, how it is. Secrets are not told, nor kept in a page: they have to be typed again."""
        super().look_again()
        for name in self.changed_data:
            field, (_, _, setting) = self.fields[name], name.partition(".")
            if name != "seen" and not name.startswith("forget.") and setting not in self._kind.SECRETS:
                self.add_error(name, f"It is now: {written(field.initial)}")

    def _setting(self, name: str, value: Any) -> dict[str, Any]:
        """What is not asked for stays. What is left empty is none or its default; of a secret, it stays unless it is to be forgotten."""
        if f"settings.{name}" not in self.data:
            return {}
        if value not in (None, "", [], {}):
            return {name: value}
        info = self._kind.Settings.model_fields[name]
        if name in self._kind.SECRETS and not self.cleaned_data.get(f"forget.{name}"):
            return {}
        kind, _ = _kind_of(info.annotation)
        if kind in (list, dict):
            return {name: kind()}
        return {name: None if _may_be_none(info) else info.get_default(call_default_factory=True)}


class ConnectorForm(SettingsForm):
    """Name and settings of a new connector."""

    name = forms.CharField(max_length=64)
    kind = forms.CharField(widget=forms.HiddenInput)


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
    if not info.is_required():
        shared["initial"] = _as_typed(info.get_default(call_default_factory=True))
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
    if name in _LONG:
        return TextField(**shared, widget=_area(5))
    return forms.CharField(**shared)


def _kind_of(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a field holds, below what annotates it and what makes it optional; the choices of a literal."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _kind_of(inner[0])
    if origin in (Union, UnionType):
        return _kind_of(next(one for one in inner if one is not type(None)))
    return (origin or annotation), inner


def _may_be_none(info: FieldInfo) -> bool:
    return NoneType in typing.get_args(info.annotation)


def _as_typed(value: Any) -> Any:
    """A setting as a person types it into its field: an item of a list, or of a table, a line."""
    if isinstance(value, Mapping):
        value = [f"{name}: {given}" for name, given in value.items()]
    return "\n".join(map(str, value)) if isinstance(value, list) else value


def _told(shared: dict[str, Any], form: str) -> dict[str, Any]:
    return {**shared, "help_text": f"{shared['help_text']} {form}".strip()}


def _area(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "spellcheck": "false"})
