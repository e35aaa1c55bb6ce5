"""Request bodies and queries of playbooks, runs, approvals and connectors. Playbooks themselves are `definition.Definition`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, cast
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, field_validator
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema

from agents.playbooks.actions import KINDS
from agents.playbooks.actions.contract import Kind
from agents.playbooks.catalog import ACTIONS
from agents.playbooks.definition import Definition
from agents.playbooks.states import ApprovalStatus, BlockType, ConnectorKind, ExecutionStatus
from aurora.rest.schemas import Body, Flag, PageQuery, Text, Whole, one_of
from aurora.texts import require_storable

ExecutionStatusWord = Annotated[str, one_of(ExecutionStatus.values)]
ApprovalStatusWord = Annotated[str, one_of(ApprovalStatus.values)]
BlockTypeWord = Annotated[str, one_of(BlockType.values)]
BlockStateWord = Annotated[str, one_of(["blocked", "over"])]
KindWord = Annotated[str, one_of(ConnectorKind.values)]
ActionWord = Annotated[str, one_of(list(ACTIONS))]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=64, pattern=r"^[\w][\w .-]*$")]
Reason = Annotated[Text, Field(max_length=2_000)]
Condition = Annotated[
    Text,
    Field(
        max_length=500,
        examples=['severity >= "high" and "T1110" in techniques and source == "wazuh" and is_it'],
        description="As conditions of steps: on severity, source, category, techniques, asset_criticality, is_ot, is_it, business_hours, alert.",
    ),
]
Parameters = dict[str, Any]


class _As:
    """Tells of a field what the definition takes under that name. It is checked there, as a whole."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get_pydantic_json_schema__(self, _core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        field = Definition.model_fields[self.name]
        kind: Any = Annotated[cast(Any, field.annotation), *field.metadata] if field.metadata else field.annotation
        return handler(TypeAdapter(kind).core_schema)


_DRILL: Any = {
    "name": "drill",
    "title": "A drill",
    "steps": [{"name": "tell", "action": "notify", "parameters": {"text": "A drill"}}],
}


class PlaybookBody(Body):
    """`POST /playbooks`: a definition's fields, or its text as `source`; what they hold is checked as a definition."""

    needed: ClassVar[tuple[str, ...]] = ("name", "steps")
    model_config = ConfigDict(json_schema_extra={"examples": [_DRILL]})

    name: Annotated[Any, _As("name")] = None
    title: Annotated[Any, _As("title")] = None
    description: Annotated[Any, _As("description")] = None
    trigger: Annotated[Any, _As("trigger")] = None
    steps: Annotated[Any, _As("steps")] = None
    source: Annotated[Text, Field(max_length=262_144)] | None = None
    enabled: Flag = True

    @field_validator("name", "title", "description", "trigger", "steps")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        return require_storable(value)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Either the one or the other: two closed objects."""
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        fields = schema.pop("properties")
        for name in fields.keys() - {"enabled"}:
            fields[name].pop("default")  # there is none: null is refused
        text, enabled = fields.pop("source")["anyOf"][0], fields["enabled"]
        closed = {name: schema.pop(name) for name in ("type", "additionalProperties")}
        as_text = closed | {"properties": {"source": text, "enabled": enabled}, "required": ["source"]}
        schema["anyOf"] = [closed | {"properties": fields, "required": list(cls.needed)}, as_text]
        return reference


class PlaybookPatch(PlaybookBody):
    """`PATCH /playbooks/{id}`: as `POST`, but what is absent stays."""

    needed: ClassVar[tuple[str, ...]] = ()


class ExecuteIn(Body):
    """`POST /playbooks/{id}/execute`."""

    case_id: UUID | None = None
    alert_id: UUID | None = None
    dry_run: Flag = False
    parameters: Parameters = Field(default={}, max_length=50)

    @field_validator("parameters")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        return require_storable(value)


class CancelIn(Body):
    rollback: Flag = False


class ExecutionQuery(PageQuery):
    status: ExecutionStatusWord | None = None
    playbook_id: UUID | None = None
    case_id: UUID | None = None


class ApprovalQuery(PageQuery):
    status: ApprovalStatusWord | None = None
    execution_id: UUID | None = None


class RulePatch(Body):
    """`PATCH /automation-rules/{id}`: what is absent stays."""

    condition: Condition = ""
    enabled: Flag = False
    dry_run: Flag = False
    max_per_minute: Whole = Field(5, ge=1, le=1_000)


class RuleIn(RulePatch):
    name: Name
    playbook_id: UUID
    condition: Condition


class DeliveryQuery(PageQuery):
    connector_id: UUID | None = None
    event_id: Text | None = Field(None, max_length=64)


class BlocklistEntryQuery(PageQuery):
    type: BlockTypeWord | None = None
    value: Text | None = Field(None, max_length=2_048)
    state: BlockStateWord | None = Field(
        None, description="`blocked`: firewalls are told so; `over`: lifted or expired."
    )


class LiftIn(Body):
    reason: Reason = Field(min_length=1)


class BreakerReset(Body):
    """`POST /connectors/{id}/breaker`."""

    action: Literal["reset"]


class DecisionIn(Body):
    reason: Reason = ""


class ConnectorPatch(Body):
    """`PATCH /connectors/{id}`: what is absent stays, of `settings` too; those depend on the kind."""

    enabled: Flag = True
    actions: list[ActionWord] = Field([], max_length=8)
    priority: Whole = Field(100, ge=0, le=10_000)
    max_in_flight: Whole = Field(4, ge=1, le=64)
    settings: Parameters = {}

    @field_validator("settings")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        return require_storable(value)


_WEBHOOK: Any = {
    "name": "ticketing",
    "kind": ConnectorKind.WEBHOOK.value,
    "actions": ["notify"],
    "settings": {"url": "https://tickets.example/hooks/aurora", "secret": "at least sixteen characters"},
}


class ConnectorIn(ConnectorPatch):
    """`POST /connectors`: the settings are the kind's."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK]})

    name: Name
    kind: KindWord

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """One closed object for each kind, with that kind's settings and actions."""
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        fields, required = schema.pop("properties"), schema.pop("required")
        closed = {name: schema.pop(name) for name in ("type", "additionalProperties")}
        schema["oneOf"] = [
            closed
            | {"properties": fields | _fields_of(word, kind, fields, handler), "required": _needed(kind, required)}
            for word, kind in KINDS.items()
        ]
        return reference


def _fields_of(word: str, kind: Kind, fields: dict[str, Any], handler: GetJsonSchemaHandler) -> dict[str, Any]:
    actions = {**fields["actions"], "items": {"type": "string", "enum": sorted(kind.SERVES)}}
    told = {"type": "string", "const": word}
    return {"kind": told, "actions": actions, "settings": handler(kind.Settings.__pydantic_core_schema__)}


def _needed(kind: Kind, required: list[str]) -> list[str]:
    needs_settings = any(field.is_required() for field in kind.Settings.model_fields.values())
    return [*required, "settings"] if needs_settings else required
