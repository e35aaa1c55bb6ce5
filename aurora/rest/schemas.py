"""Pieces that the request schemas of every app are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, field_validator

Text = str
"""Text of a caller. `_Input` looks for NUL: a validator here would keep pydantic from applying lengths to it as to other text."""


class _Input(BaseModel):
    """What callers send. Unknown fields are refused, and NUL wherever text may stand: PostgreSQL's text cannot hold it."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*")
    @classmethod
    def _without_nul(cls, value: Any) -> Any:
        texts = value if isinstance(value, list) else (value,)
        if any(isinstance(text, str) and "\0" in text for text in texts):
            raise ValueError("NUL characters are not allowed")
        return value


class Body(_Input):
    """A request body."""


class Query(_Input):
    """Query parameters: were unknown ones let pass, a mistyped filter would silently show everything."""


class PageQuery(Query):
    """Paging of every list."""

    skip: int = Field(0, ge=0, le=1_000_000)
    limit: int = Field(50, ge=1, le=200)
    cursor: Text | None = None


def _in_utc(moment: datetime) -> datetime:
    """In UTC, where a time at either end of the calendar may have left it: PostgreSQL would store it, and nobody could read the row again."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time must lie in the years 1 to 9999, in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with its zone, RFC 3339; as a value in UTC."""
