from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import attack


def test_a_technique_has_its_name_and_tactics():
    assert attack.technique("T1190") == ("T1190", "Exploit Public-Facing Application", ("initial-access",))


def test_a_sub_technique_bears_its_parents_name():
    dns = attack.technique("T1071.004")
    assert dns is not None
    assert dns.name == "Application Layer Protocol: DNS"
    assert dns.tactics == ("command-and-control",)


def test_an_id_is_found_however_it_is_cased():
    assert attack.technique(" t1071.004 ") == attack.technique("T1071.004")


def test_tactics_come_in_the_order_of_the_kill_chain():
    valid_accounts = attack.technique("T1078")
    assert valid_accounts is not None
    assert valid_accounts.tactics == (
        "initial-access",
        "persistence",
        "privilege-escalation",
        "defense-evasion",
    )


def test_a_revoked_technique_still_resolves():
    compressed = attack.technique("T1002")
    assert compressed is not None
    assert compressed.name == "Data Compressed"


@pytest.mark.parametrize("unknown", ["", "T9999", "T1071.999", "DNS", "TA0001"])
def test_what_the_data_do_not_know_is_no_technique(unknown):
    assert attack.technique(unknown) is None


def test_every_technique_of_the_data_has_only_known_tactics():
    tactics = {tactic for known in attack._techniques().values() for tactic in known.tactics}
    assert tactics == set(attack.TACTICS)


def test_ids_are_picked_out_of_mixed_input():
    values = ["t1059.001", None, 7, "no id", {"id": "T1001"}, "T1190", "T1059.001"]
    assert attack.techniques_in(values) == ["T1059.001", "T1190"]


def test_ids_are_picked_out_of_tags():
    assert attack.techniques_in(["attack.t1071.004", "T1566 - Phishing", "T1003,T1005"]) == [
        "T1071.004",
        "T1566",
        "T1003",
        "T1005",
    ]


def test_an_id_newer_than_the_data_is_kept():
    assert attack.techniques_in(["T9999.123"]) == ["T9999.123"]


@pytest.mark.parametrize("lookalike", ["T10711", "XT1071", "T107", "TA0011", "T１０７１"])
def test_a_lookalike_is_no_id(lookalike):
    assert attack.techniques_in([lookalike]) == []


@given(st.lists(st.one_of(st.text(), st.integers(), st.none(), st.binary())))
def test_any_input_gives_distinct_well_formed_ids(values):
    found = attack.techniques_in(values)
    assert len(found) == len(set(found))
    assert all(attack._TECHNIQUE_ID.fullmatch(one) for one in found)


def test_tactics_rank_along_the_kill_chain():
    assert [attack.tactic_rank(tactic) for tactic in attack.TACTICS] == list(range(14))
    assert attack.tactic_rank("reconnaissance") < attack.tactic_rank("impact") < attack.tactic_rank("juggling")


def test_a_tactic_is_named_as_people_write_it():
    assert attack.tactic_name("command-and-control") == "Command and Control"
    assert attack.tactic_name("initial-access") == "Initial Access"
