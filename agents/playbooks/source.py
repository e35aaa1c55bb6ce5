"""From the text of a playbook, YAML or JSON (which is YAML), to its definition. Faults are told with the line on which they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from agents.playbooks.definition import Definition
from aurora.errors import Invalid
from aurora.rest.problems import problem, problems_of

LONGEST = 256 * 1024
_MOST_NODES = 20_000
_TAGS_OF_UNIONS = frozenset({"step", "parallel"})


class _Loader(yaml.SafeLoader):
    """YAML without its traps: no aliases, which a few lines can blow up to gigabytes, no tags, which call for what PyYAML breaks at
    (`!!int ''`), no two values under one key, and none under a key that is more than one value itself."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not allowed", event)
        if getattr(event, "tag", None) is not None:
            raise _refusal("tags are not allowed", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a key is one word or text; a text that begins with a bracket stands in quotes", key)
            if key.value in seen:
                raise _refusal(f"`{key.value}` stands here twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parsed(text: str) -> Definition:
    """The definition in `text`. Raises Invalid: `loc` is the way to the fault, `msg` ends in its line."""
    if len(text) > LONGEST:
        raise Invalid(problems=[_fault((), f"A playbook has at most {LONGEST} characters", "too_long")])
    try:
        loader = _Loader(text)  # which refuses characters that YAML does not allow, before it has read a node
        node = loader.get_single_node()
        if node is None or sum(1 for _ in _nodes(node)) > _MOST_NODES:
            raise Invalid(problems=[_fault((), "There is no playbook in it, or too much", "value_error")])
        data = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # OverflowError: a time of day can be too large a number.
        raise Invalid(problems=[_fault((), _told(error), "yaml_invalid")]) from None
    try:
        return Definition.model_validate(data)
    except ValidationError as error:
        raise Invalid(problems=[_with_line(fault, node) for fault in problems_of(error, "body")]) from None


def written(definition: dict[str, Any]) -> str:
    """The definition as YAML, for people: what `parsed` reads back."""
    return yaml.safe_dump(definition, sort_keys=False, allow_unicode=True, width=110)


def _refusal(problem: str, place: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)  # type: ignore[arg-type]


def _nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    waiting = [node]
    while waiting:
        found = waiting.pop()
        yield found
        if isinstance(found, yaml.MappingNode):
            waiting += [part for pair in found.value for part in pair]
        elif isinstance(found, yaml.SequenceNode):
            waiting += found.value


def _with_line(fault: Any, root: yaml.Node) -> Any:
    way = [part for part in fault["loc"][1:] if part not in _TAGS_OF_UNIONS or part == "parallel"]
    line = _line_of(root, way)
    return _fault(fault["loc"][1:], f"{fault['msg']} (line {line})", fault["type"])


def _line_of(node: yaml.Node, way: list[Any]) -> int:
    """The line of what `way` leads to, or of the last thing on it that is there."""
    line = node.start_mark.line
    for part in way:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                continue
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
    return int(line) + 1


def _told(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or str(error) or type(error).__name__
    return f"{reason} (line {mark.line + 1}, column {mark.column + 1})" if mark else reason


def _fault(way: Any, msg: str, kind: str) -> Any:
    return problem(["body", "source", *way], msg, kind)
