"""Which agents are asked, in which order."""

from __future__ import annotations

import pytest

from agents.planning import plan
from agents.states import AgentType
from aurora.errors import Invalid

CORE = ["security_analyst", "threat_intel", "threat_hunter", "incident_responder", "report_generator"]


def _types(steps):
    return [step.agent_type for step in steps]


def test_triage_comes_first_and_the_report_last():
    steps = plan(category="other", enabled=CORE)
    assert _types(steps) == CORE


def test_intelligence_and_hunting_share_a_stage():
    stages = {step.agent_type: step.stage for step in plan(category="other", enabled=CORE)}
    assert stages["threat_intel"] == stages["threat_hunter"] < stages["incident_responder"]


def test_the_category_calls_in_its_specialists_before_the_responder():
    types = _types(plan(category="endpoint", enabled=AgentType.values))
    assert types.index("malware_analyst") < types.index("incident_responder")
    assert "network_security" not in types


def test_a_disabled_agent_is_left_out():
    assert "threat_intel" not in _types(plan(category="other", enabled=set(CORE) - {"threat_intel"}))


def test_only_those_wanted_are_asked_in_the_workflows_order():
    steps = plan(category="other", enabled=CORE, wanted=["report_generator", "security_analyst"])
    assert _types(steps) == ["security_analyst", "report_generator"]


def test_a_wanted_specialist_is_asked_whatever_the_category():
    assert _types(plan(category="email", enabled=AgentType.values, wanted=["network_security"])) == ["network_security"]


def test_wanting_what_is_not_enabled_is_refused_by_name():
    with pytest.raises(Invalid, match="malware_analyst"):
        plan(category="other", enabled=CORE, wanted=["malware_analyst"])


def test_no_agent_at_all_is_refused():
    with pytest.raises(Invalid):
        plan(category="other", enabled=[])
