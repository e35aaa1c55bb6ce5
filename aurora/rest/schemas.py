"""Pieces that the request and answer schemas of every app are made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticKnownError

_NO_NUL = "^[^\\u0000]*$"

Text = Annotated[str, StringConstraints(pattern=_NO_NUL)]
"""Text of a caller, without NUL, which PostgreSQL's text cannot hold. A pattern, for pydantic's core looks at it without a word of Python."""

Line = Annotated[
    str,
    StringConstraints(min_length=1, strip_whitespace=True, pattern=_NO_NUL),
    Field(json_schema_extra={"pattern": "^[^\\u0000]*[^\\u0000\\s][^\\u0000]*$"}),
]
"""Text that is more than blanks, which are taken from its ends."""


def _no_text_and_no_flag(value: object) -> object:
    if isinstance(value, str | bool):
        raise PydanticKnownError("int_type")
    return value


# What JSON says in its own types: pydantic would take `"1"` and `1` for true, and `"0.5"` for a number. `2.0` is a whole number to JSON.
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, BeforeValidator(_no_text_and_no_flag)]
Number = Annotated[float, Field(strict=True)]


class _Input(BaseModel):
    """What callers send. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Body(_Input):
    """A request body."""


class Query(_Input):
    """Query parameters: were unknown ones let pass, a mistyped filter would silently show everything."""


class PageQuery(Query):
    """Paging of every list."""

    skip: int = Field(0, ge=0, le=1_000_000)
    limit: int = Field(50, ge=1, le=200)
    cursor: Text | None = Field(None, min_length=1, max_length=1024)


class NoQuery(Query):
    """Of calls that take no query parameter."""


def one_of(words: Sequence[str]) -> Any:
    """A field that holds one of `words`: by a pattern, so that a refusal names them, and as an enumeration in the schema."""
    escaped = "|".join(word.replace("+", r"\+") for word in words)
    return Field(pattern=f"^({escaped})$", json_schema_extra={"enum": list(words), "examples": [words[0]]})


def _rfc3339(value: object) -> object:
    """A text, and no number in it: pydantic would take `0` and `"1700000000"` for seconds since 1970."""
    if isinstance(value, str) and not value.strip().lstrip("+-").replace(".", "", 1).isdecimal():
        return value
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        raise PydanticKnownError("datetime_from_date_parsing", {"error": "input is too short"})
    raise PydanticKnownError("datetime_type")


def _in_utc(moment: datetime) -> datetime:
    """In UTC, where a time at either end of the calendar may have left it: PostgreSQL would store it, and nobody could read the row again."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time must lie in the years 1 to 9999, in UTC") from None


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_in_utc),
    Field(json_schema_extra={"examples": ["2026-11-26T08:15:00Z"]}),
]
"""A time with its zone, RFC 3339; as a value in UTC."""

Id = Annotated[UUID, Field(json_schema_extra={"examples": ["019ac0de-7b1e-7c3a-9d52-3f6f0c2b8a41"]})]


def _open(schema: dict[str, Any]) -> None:
    """Clients are not to break over a field that a later version adds."""
    schema.pop("additionalProperties", None)


class Answer(BaseModel):
    """The body of an answer. Strict, for the tests: they hold against it what is sent, to the last field."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_open)


Item = TypeVar("Item", bound=BaseModel)


class Page(Answer, Generic[Item]):
    """The envelope of every list."""

    items: list[Item]
    next_cursor: str | None
    total: int = Field(ge=0)
    total_is_exact: bool
    data_source: Literal["database", "demo", "snapshot"]
