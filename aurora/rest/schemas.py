"""Pieces that the request schemas of every app are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field


def _without_nul(text: str) -> str:
    """PostgreSQL's text cannot hold NUL."""
    if "\0" in text:
        raise ValueError("NUL characters are not allowed")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]


class Body(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Query(BaseModel):
    """Query parameters: unknown ones are refused, or a mistyped filter would silently show everything."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(Query):
    """Paging of every list."""

    skip: int = Field(0, ge=0, le=1_000_000)
    limit: int = Field(50, ge=1, le=200)
    cursor: Text | None = None


Moment = AwareDatetime
"""A time with its zone, RFC 3339."""
