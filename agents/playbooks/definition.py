"""What a playbook consists of, as its author writes it: validated as a whole, then laid out as steps that know what they come after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from agents.playbooks import expressions, templates
from agents.playbooks.catalog import ACTIONS, Risk
from aurora.errors import Invalid
from aurora.rest.schemas import Number, Whole
from aurora.texts import require_storable

T = TypeVar("T")

MOST_STEPS = 50
ActionWord = Annotated[str, Field(pattern=f"^({'|'.join(ACTIONS)})$")]
StepName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w][\w -]*$")]
PlaybookName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Retry(_Part):
    """`attempts` calls in all; the pause before the second is `base_seconds`, and doubles."""

    attempts: Whole = Field(1, ge=1, le=10)
    base_seconds: Number = Field(1.0, ge=0, le=60)


class Rollback(_Part):
    """How a step is taken back. An action of the catalogue is undone by its own undo; `parameters` default to the step's."""

    action: ActionWord
    parameters: dict[str, Any] = {}

    @field_validator("parameters")
    @classmethod
    def _has_known_places(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        return _checked(templates.check, parameters)


class Step(_Part):
    name: StepName
    action: ActionWord
    parameters: dict[str, Any] = {}
    condition: str = Field("", max_length=expressions.LONGEST)
    timeout: Number = Field(30.0, ge=0.1, le=600, description="Seconds that one attempt may take.")
    retry: Retry = Retry()
    on_failure: Literal["stop", "continue", "rollback"] = "stop"
    rollback: Rollback | None = None
    requires_approval: Literal["auto", "always", "never"] = "auto"
    connector: str | None = Field(None, max_length=64, description="By name; else the first that serves the action.")

    @field_validator("condition")
    @classmethod
    def _is_a_condition(cls, text: str) -> str:
        return _checked(expressions.check, text)

    @field_validator("parameters")
    @classmethod
    def _has_known_places(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        return _checked(templates.check, parameters)

    @model_validator(mode="after")
    def _is_safe(self) -> Step:
        risk = ACTIONS[self.action].risk
        if self.requires_approval == "never" and risk in (Risk.HIGH, Risk.IRREVERSIBLE):
            raise ValueError(f"{self.action} has a risk that no playbook may waive the approval of")
        if self.rollback and not ACTIONS[self.action].is_reversible:
            raise ValueError(f"{self.action} cannot be undone, so it has no rollback")
        return self


class Parallel(_Part):
    """Branches that run side by side; what follows waits for all of them."""

    parallel: list[list[Step]] = Field(min_length=2, max_length=10)


def _kind_of(part: Any) -> str:
    is_parallel = isinstance(part, Parallel) or (isinstance(part, dict) and "parallel" in part)
    return "parallel" if is_parallel else "step"


Part = Annotated[
    Annotated[Step, Tag("step")] | Annotated[Parallel, Tag("parallel")],
    Discriminator(_kind_of),
]


class Definition(_Part):
    """A playbook, as `POST /playbooks` takes it and as the files of the library hold it."""

    name: PlaybookName
    title: str = Field("", max_length=200)
    description: str = Field("", max_length=10_000)
    trigger: str = Field("", max_length=200)
    steps: list[Part] = Field(min_length=1, max_length=MOST_STEPS)

    @model_validator(mode="before")
    @classmethod
    def _can_be_stored(cls, given: Any) -> Any:
        return require_storable(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _has_each_step_once(self) -> Definition:
        names = [step.name for step in self.layout_steps()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two steps are named {', '.join(twice)}")
        if len(names) > MOST_STEPS:
            raise ValueError(f"a playbook has at most {MOST_STEPS} steps")
        if not all(branch for part in self.steps if isinstance(part, Parallel) for branch in part.parallel):
            raise ValueError("a branch has no step")
        return self

    def layout_steps(self) -> list[Step]:
        """All steps in the order of the text."""
        found: list[Step] = []
        for part in self.steps:
            found += [part] if isinstance(part, Step) else [step for branch in part.parallel for step in branch]
        return found

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class Placed:
    """A step with its place: the names of the steps it waits for, and of its branch (0: the trunk)."""

    step: Step
    after: tuple[str, ...]
    branch: int


def layout(definition: Definition) -> list[Placed]:
    """The steps, each with those it comes directly after: the one before it, or the ends of all branches before it."""
    placed: list[Placed] = []
    ends: tuple[str, ...] = ()
    for part in definition.steps:
        if isinstance(part, Step):
            placed.append(Placed(part, ends, 0))
            ends = (part.name,)
            continue
        joined = []
        for number, branch in enumerate(part.parallel, 1):
            placed += _chain(branch, ends, number)
            joined.append(branch[-1].name)
        ends = tuple(joined)
    return placed


def _chain(branch: Sequence[Step], ends: tuple[str, ...], number: int) -> list[Placed]:
    placed = []
    for step in branch:
        placed.append(Placed(step, ends, number))
        ends = (step.name,)
    return placed


def _checked(check: Callable[[Any], None], value: T) -> T:
    """`value`, if `check` lets it pass; its Invalid becomes pydantic's kind of error."""
    try:
        check(value)
    except Invalid as error:
        raise ValueError(error.detail) from None
    return value
