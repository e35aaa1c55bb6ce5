"""The report on paper (PDF), set by Typst.

The text goes to the typesetter as data (JSON), never as its markup: nothing that an attacker wrote into a title can run there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import typst
from markdown_it import MarkdownIt
from markdown_it.token import Token

from agents.reports.paper import Paper

_TEMPLATE = Path(__file__).with_name("report.typ")
_PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")
_LONG_WORD = re.compile(r"[^\s\u200b]{24}")
_MAY_BREAK = "\u200b"
_NARROWEST, _WIDEST = 10, 48
"""Characters."""

Block = dict[str, Any]


def write(paper: Paper) -> bytes:
    report = {"title": str(paper.case), "reference": paper.case.reference, "blocks": list(blocks(paper.markdown))}
    pdf = typst.compile(_TEMPLATE.read_bytes(), sys_inputs={"report": orjson.dumps(report).decode()})
    if not isinstance(pdf, bytes):  # it gives a list when a document has several files
        raise TypeError(f"typst gave {type(pdf).__name__}")
    return pdf


def blocks(markdown: str) -> Iterator[Block]:
    """Headings, paragraphs, list items and tables in their order, each with runs of text of one kind."""
    tokens = iter(_PARSER.parse(markdown))
    for token in tokens:
        match token.type:
            case "heading_open":
                yield {"kind": "heading", "level": int(token.tag[1:]), "runs": _runs(next(tokens))}
            case "paragraph_open":
                yield {"kind": "item" if token.level else "paragraph", "runs": _runs(next(tokens))}
            case "table_open":
                yield _table(tokens)
            case _:
                pass


def _table(tokens: Iterator[Token]) -> Block:
    rows: list[list[list[Block]]] = []
    for token in tokens:
        match token.type:
            case "tr_open":
                rows.append([])
            case "inline":
                rows[-1].append(_runs(token))
            case "table_close":
                break
            case _:
                pass
    return {"kind": "table", "widths": [_width(column) for column in zip(*rows, strict=True)], "rows": rows}


def _width(column: Iterable[list[Block]]) -> int:
    """The column's share of the page: the length of its longest cell, within bounds."""
    longest = max(sum(len(run["text"]) for run in cell) for cell in column)
    return min(max(longest, _NARROWEST), _WIDEST)


def _runs(inline: Token) -> list[Block]:
    runs: list[Block] = []
    is_strong = False
    for token in inline.children or ():
        match token.type:
            case "strong_open":
                is_strong = True
            case "strong_close":
                is_strong = False
            case "softbreak" | "hardbreak":
                runs.append({"text": " ", "strong": is_strong})
            case _ if token.content:
                runs.append({"text": _breakable(token.content), "strong": is_strong})
            case _:
                pass
    return runs


def _breakable(text: str) -> str:
    """Hashes and URLs may be broken anywhere: in a table's cell they would run over the next one."""
    return _LONG_WORD.sub(lambda found: found[0] + _MAY_BREAK, text)
