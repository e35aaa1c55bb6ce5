"""What of a model's answer stands: the right form, citations that exist, and nothing named that its citations do not name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from agents.builtin.wording import line
from agents.narration.material import Fact, redacted

LONGEST_STATEMENT = 600
_MOST_SENTENCES, _MOST_HYPOTHESES, _MOST_CITES = 6, 5, 12
_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)
# What a statement may name only if a finding that it cites does: addresses, names of hosts and files, mailboxes, hashes, techniques, CVEs, figures.
_NAMES = re.compile(
    r"(?i)\b(?:[0-9a-f]{32,64}|cve-\d{4}-\d+|t\d{4}(?:\.\d{3})?|(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}"
    r"|[\w.+-]+@[\w.-]+|[\w-]+(?:\.[\w-]+)*\.[a-z][\w-]+|[\w-]*\d[\w.%-]*)"
)
_DEFANGED = re.compile(r"\[(\.|dot|:|at|@)\]|\((\.|dot|at|@)\)", re.IGNORECASE)
_ID = re.compile(r"\bF\d+\b")


_FANGED = {".": ".", "dot": ".", ":": ":", "at": "@", "@": "@"}


class _Statement(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=4_000)]
    cites: Annotated[list[str], Field(max_length=200)]


class _Worded(BaseModel):
    summary: Annotated[list[_Statement], Field(max_length=100)]
    ranking: Annotated[list[str], Field(max_length=1_000)] = []
    hypotheses: Annotated[list[_Statement], Field(max_length=100)] = []


class Unusable(ValueError):
    """The answer is not what was asked for, or nothing of it stands."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of the model's on one line, with the ids of the findings it rests on."""

    text: str
    cites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands, and why each of the rest was dropped."""

    summary: tuple[Statement, ...]
    ranking: tuple[str, ...]
    hypotheses: tuple[Statement, ...]
    dropped: tuple[str, ...]


def read(answer: str, facts: Sequence[Fact]) -> Reading:
    """Raises Unusable."""
    fenced = _FENCE.match(answer.strip())
    try:
        worded = _Worded.model_validate_json(fenced[1] if fenced else answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Unusable(
            f"not in the form asked for ({line(f'{where}: ' if where else '', 60)}{line(first['msg'], 120)})"
        ) from None
    known = {fact.id: fact for fact in facts}
    dropped: list[str] = []
    summary = _standing(worded.summary, known, dropped)[:_MOST_SENTENCES]
    hypotheses = _standing(worded.hypotheses, known, dropped)[:_MOST_HYPOTHESES]
    ranking = tuple(dict.fromkeys(name for name in worded.ranking if name in known))
    if not summary:
        raise Unusable(f"no sentence of its summary stands ({'; '.join(dropped[:3]) or 'it has none'})")
    return Reading(summary, ranking, hypotheses, tuple(dropped))


def _standing(statements: Sequence[_Statement], known: dict[str, Fact], dropped: list[str]) -> tuple[Statement, ...]:
    found = []
    for one in statements:
        # Judged as it will be shown: what is unseen in a text could hide a name from the check.
        statement = Statement(
            line(redacted(one.text), LONGEST_STATEMENT), tuple(dict.fromkeys(one.cites))[:_MOST_CITES]
        )
        reason = _wrong(statement, known)
        if reason:
            dropped.append(reason)
        else:
            found.append(statement)
    return tuple(found)


def _wrong(one: Statement, known: dict[str, Fact]) -> str:
    """Why a statement does not stand; empty when it does."""
    if not one.cites:
        return "a sentence cites nothing"
    unknown = [cite for cite in one.cites if cite not in known]
    if unknown:
        return f"a sentence cites {line(unknown[0], 20)}, which is no finding"
    told = " ".join(known[cite].text for cite in one.cites).lower()
    plain = _DEFANGED.sub(lambda found: _FANGED[(found[1] or found[2]).lower()], _ID.sub("", one.text))
    for name in _NAMES.findall(plain):
        bare = name.strip(".-%").lower()
        if bare and bare not in told:
            return f"a sentence names {line(bare, 60)}, which its findings do not"
    return ""
