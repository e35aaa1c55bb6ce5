"""The language of conditions: `severity >= "high" and not is_ot and results["scan"]["status"] == "completed"`.

Python's grammar is used to read it and nothing of Python to run it: each node of the tree is one of a dozen that are evaluated here, over plain
values, and any other is refused when the playbook is written. There are no attributes, no calls, no arithmetic.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from aurora.errors import Invalid
from cases.states import SEVERITIES

NAMES = frozenset(
    {"severity", "asset_criticality", "is_ot", "is_it", "business_hours", "category", "source", "results", "parameters"}
    | {"alert", "case", "title", "techniques"}
)
"""What a condition may speak of."""

CRITICALITIES = ("unknown", "ordinary", "raised", "high", "critical")
LONGEST = 500

_RANKS: Mapping[str, Mapping[str, int]] = {
    "severity": {word: rank for rank, word in enumerate(reversed(SEVERITIES))},
    "asset_criticality": {word: rank for rank, word in enumerate(CRITICALITIES)},
}
_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Compare, ast.Name, ast.Load),
    *(ast.Constant, ast.Subscript, ast.List, ast.Tuple, *_ORDERS),
)


def check(text: str) -> None:
    """Raises Invalid, saying where, for what is no condition."""
    _parse(text)


def holds(text: str, context: Mapping[str, Any]) -> bool:
    """Whether the condition is true of `context`. Raises Invalid for what cannot be told: an absent key, values that do not compare."""
    if not text.strip():
        return True
    try:
        return bool(_value(_parse(text).body, context))
    except (TypeError, RecursionError) as error:
        raise Invalid(f"The condition `{text}` cannot be told: {error}") from None


@lru_cache(maxsize=1024)
def _parse(text: str) -> ast.Expression:
    if len(text) > LONGEST:
        raise Invalid(f"A condition has at most {LONGEST} characters")
    try:
        tree = ast.parse(text.strip() or "True", mode="eval")
        for node in ast.walk(tree):
            _check(node)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is too deep"
        raise Invalid(f"`{text}` is no condition: {reason}") from None
    return tree


def _check(node: ast.AST) -> None:
    if not isinstance(node, _ALLOWED):
        raise Invalid(f"A condition cannot hold {type(node).__name__}")
    if isinstance(node, ast.Name) and node.id not in NAMES:
        raise Invalid(f"A condition knows nothing of `{node.id}`; it may speak of {', '.join(sorted(NAMES))}")
    if isinstance(node, ast.Constant) and not isinstance(node.value, (str, int, float, bool, type(None))):
        raise Invalid(f"A condition cannot hold the value {node.value!r}")
    if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Constant):
        raise Invalid("Only a text or a number may stand in brackets")


def _value(node: ast.expr, context: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return context.get(node.id)
        case ast.List() | ast.Tuple():
            return [_value(item, context) for item in node.elts]
        case ast.Subscript():
            return _item(_value(node.value, context), node.slice)
        case ast.UnaryOp():
            return not _value(node.operand, context)
        case ast.BoolOp():
            is_and = isinstance(node.op, ast.And)
            return (all if is_and else any)(_value(part, context) for part in node.values)
        case _:
            return _compared(node, context)


def _item(whole: Any, key: ast.expr) -> Any:
    """None for what is not there: a step that was skipped has no result, and a condition on it is simply not true."""
    wanted = key.value if isinstance(key, ast.Constant) else None
    if isinstance(whole, Mapping):
        return whole.get(wanted)
    if isinstance(whole, list) and isinstance(wanted, int) and -len(whole) <= wanted < len(whole):
        return whole[wanted]
    return None


def _compared(node: ast.expr, context: Mapping[str, Any]) -> bool:
    assert isinstance(node, ast.Compare)  # noqa: S101 - _check let nothing else pass
    left, left_node = _value(node.left, context), node.left
    for order, right_node in zip(node.ops, node.comparators, strict=True):
        right = _value(right_node, context)
        ranks = _ranks_of(left_node) or _ranks_of(right_node)
        ordered = isinstance(order, (ast.Lt, ast.LtE, ast.Gt, ast.GtE))
        pair = (_rank(left, ranks), _rank(right, ranks)) if ranks and ordered else (left, right)
        if not _ORDERS[type(order)](*pair):
            return False
        left, left_node = right, right_node
    return True


def _ranks_of(node: ast.expr) -> Mapping[str, int] | None:
    return _RANKS.get(node.id) if isinstance(node, ast.Name) else None


def _rank(word: Any, ranks: Mapping[str, int]) -> int:
    if word not in ranks:
        raise TypeError(f"{word!r} is none of {', '.join(ranks)}")
    return ranks[word]
