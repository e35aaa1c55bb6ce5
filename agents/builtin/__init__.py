"""The agents that come with the product. Each is one function from a task to an answer, computed from the database and the task alone.

The same task over the same data gives the same answer; nothing is asked outside, and nothing is changed.
"""

from __future__ import annotations

from agents.builtin import (
    endpoint_security,
    forensic_analyst,
    incident_responder,
    malware_analyst,
    network_security,
    report_generator,
    security_analyst,
    threat_hunter,
    threat_intel,
)
from agents.builtin.contract import Analysis
from agents.states import AgentType

ANALYSES: dict[str, Analysis] = {
    AgentType.SECURITY_ANALYST.value: security_analyst.analyse,
    AgentType.THREAT_INTEL.value: threat_intel.analyse,
    AgentType.THREAT_HUNTER.value: threat_hunter.analyse,
    AgentType.NETWORK_SECURITY.value: network_security.analyse,
    AgentType.ENDPOINT_SECURITY.value: endpoint_security.analyse,
    AgentType.MALWARE_ANALYST.value: malware_analyst.analyse,
    AgentType.FORENSIC_ANALYST.value: forensic_analyst.analyse,
    AgentType.INCIDENT_RESPONDER.value: incident_responder.analyse,
    AgentType.REPORT_GENERATOR.value: report_generator.analyse,
}
"""The analysis of each built-in agent, by agent type."""
