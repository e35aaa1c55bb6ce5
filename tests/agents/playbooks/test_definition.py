"""What a playbook may hold, and how faults in it are told."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.playbooks.catalog import ACTIONS, PLAYBOOKS
from agents.playbooks.definition import Definition, layout
from agents.playbooks.library import shipped
from agents.playbooks.source import parsed, written
from aurora.errors import Invalid

TEXT = """\
name: drill
steps:
  - name: look
    action: run_scan
  - parallel:
      - - name: left
          action: notify
      - - name: right
          action: notify
        - name: further
          action: notify
  - name: join
    action: notify
"""


def _fault(text: str) -> tuple[list[object], str]:
    with pytest.raises(Invalid) as caught:
        parsed(text)
    fault = caught.value.problems[0]
    return list(fault["loc"]), fault["msg"]


def test_branches_begin_after_the_trunk_and_are_joined_by_what_follows():
    after = {placed.step.name: placed.after for placed in layout(parsed(TEXT))}
    assert after == {
        "look": (),
        "left": ("look",),
        "right": ("look",),
        "further": ("right",),
        "join": ("left", "further"),
    }


def test_a_definition_that_is_written_reads_the_same():
    definition = parsed(TEXT)
    assert parsed(written(definition.as_json())) == definition


@pytest.mark.parametrize(
    ("wrong", "right", "line", "says"),
    [
        ("action: run_scan", "action: explode", 4, "String should match pattern"),
        ("name: drill", "name: drill\ncolour: red", 2, "Extra inputs are not permitted"),
        ("name: further", "name: left", 1, "two steps are named left"),
        ("      - - name: left\n          action: notify\n", "", 5, "List should have at least 2 items"),
        ("          action: notify\n  - name: join", "          action: 7\n  - name: join", 11, "valid string"),
        ("action: run_scan", "action: run_scan\n    timeout: 0", 5, "greater than or equal to 0.1"),
        ("action: run_scan", "action: run_scan\n    condition: import os", 5, "is no condition"),
        ("action: run_scan", "action: run_scan\n    condition: severity.__class__", 5, "cannot hold Attribute"),
        ("action: run_scan", "action: run_scan\n    condition: open('x')", 5, "cannot hold Call"),
        ("action: run_scan", "action: run_scan\n    parameters: {a: '{{ os.environ }}'}", 5, "is no path"),
        ("action: run_scan", "action: isolate_host\n    requires_approval: never", 3, "no playbook may waive"),
        ("action: run_scan", "action: revoke_certificate\n    rollback: {action: notify}", 3, "cannot be undone"),
    ],
)
def test_a_fault_is_told_with_its_line(wrong, right, line, says):
    _, message = _fault(TEXT.replace(wrong, right))
    assert says in message
    assert message.endswith(f"(line {line})")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: [", "(line 1, column 8)"),
        ("name: a\nname: b\nsteps: []", "`name` stands here twice (line 2, column 1)"),
        ("name: o\u009b", "special characters are not allowed"),
        ("a: &x [1]\nb: [*x, *x]", "aliases are not allowed (line 2, column 5)"),
        ("", "There is no playbook in it"),
        ("!!python/object/apply:os.system ['true']", "tags are not allowed (line 1, column 1)"),
        ("name: !!int ''", "tags are not allowed (line 1, column 7)"),
        ("hosts: {{ alert.hosts }}", "a text that begins with a bracket stands in quotes (line 1, column 9)"),
        ("? [a]\n: b", "a key is one word or text"),
        (f"at: 1{':59' * 200}.5", "too large"),
        ("just text", "Input should be a valid dictionary"),
    ],
)
def test_what_is_no_yaml_of_a_playbook_is_refused_in_words(text, says):
    assert says in _fault(text)[1]


PIECES = st.sampled_from(
    [
        *"[]{}:?,!&*|>-'\"#%@ \n0aé",
        "!!",
        "int",
        "name",
        "steps",
        "<<",
        ": ",
        "\n  - ",
        "1:59:",
        ".5",
        "~",
        "=",
        "2020-01-01",
    ]
)


@given(
    st.lists(PIECES, max_size=40).map("".join),
    st.sampled_from(["{}", "name: a\nsteps:\n  - name: b\n    action: notify\n    parameters: {}"]),
)
def test_any_text_is_a_playbook_or_refused(text, frame):
    with contextlib.suppress(Invalid):
        parsed(frame.replace("{}", text))


def test_json_is_read_as_well():
    assert parsed('{"name": "drill", "steps": [{"name": "a", "action": "notify"}]}').name == "drill"


def test_the_way_to_a_fault_is_told():
    assert _fault(TEXT.replace("run_scan", "explode"))[0] == ["body", "source", "steps", 0, "step", "action"]


def test_what_ships_is_what_the_catalogue_says():
    books = {definition.name: definition for definition, _ in shipped()}
    told = {name: [(step.name, step.action) for step in book.layout_steps()] for name, book in books.items()}
    assert told == {name: [(step.name, step.action) for step in book.steps] for name, book in PLAYBOOKS.items()}
    asking = {
        name: [step.name for step in book.layout_steps() if step.requires_approval == "always"]
        for name, book in books.items()
    }
    assert asking == {name: [step.name for step in book.steps if step.asks] for name, book in PLAYBOOKS.items()}


def test_every_reversible_step_that_ships_can_be_taken_back():
    steps = [step for definition, _ in shipped() for step in definition.layout_steps() if ACTIONS[step.action].undo]
    assert [step.name for step in steps if step.rollback is None] == []


def test_unknown_fields_have_pydantics_words():
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Definition.model_validate({"name": "x", "steps": [{"name": "a", "action": "notify", "do": 1}]})
