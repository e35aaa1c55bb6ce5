"""What of agents, investigations and responses is still to be read while PostgreSQL is away."""

from __future__ import annotations

from agents.models import Agent, Investigation, InvestigationEvent, InvestigationStep
from agents.playbooks.models import (
    Approval,
    AutomationRule,
    BlocklistEntry,
    Connector,
    Delivery,
    DisabledAccount,
    Execution,
    ExecutionStep,
    Playbook,
    PlaybookVersion,
)
from aurora.standin.working_set import Part, register

NEWEST = 2_000
_LINES = 50_000


def register_all() -> None:
    register(Part(Agent, Agent.objects.all, blanked={"sealed_bearer": ""}))
    register(Part(Investigation, Investigation.objects.all, newest=NEWEST))
    register(Part(InvestigationStep, InvestigationStep.objects.all, newest=10 * NEWEST))
    register(Part(InvestigationEvent, InvestigationEvent.objects.all, newest=_LINES))
    register(Part(Playbook, Playbook.objects.all))
    register(Part(PlaybookVersion, PlaybookVersion.objects.all))
    register(Part(AutomationRule, AutomationRule.objects.all))
    register(Part(BlocklistEntry, BlocklistEntry.objects.all))
    register(Part(Connector, Connector.objects.all, blanked={"secret": ""}))
    register(Part(Delivery, Delivery.objects.all, newest=NEWEST))
    register(Part(DisabledAccount, DisabledAccount.objects.all, newest=NEWEST))
    register(Part(Execution, Execution.objects.all, newest=NEWEST))
    register(Part(Approval, Approval.objects.all, newest=NEWEST))
    register(Part(ExecutionStep, ExecutionStep.objects.all, newest=10 * NEWEST))
