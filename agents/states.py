"""The words of agents and investigations, and what may follow what. Pure data."""

from __future__ import annotations

from django.db import models


class AgentType(models.TextChoices):
    SECURITY_ANALYST = "security_analyst"
    THREAT_HUNTER = "threat_hunter"
    THREAT_INTEL = "threat_intel"
    MALWARE_ANALYST = "malware_analyst"
    NETWORK_SECURITY = "network_security"
    ENDPOINT_SECURITY = "endpoint_security"
    INCIDENT_RESPONDER = "incident_responder"
    FORENSIC_ANALYST = "forensic_analyst"
    REPORT_GENERATOR = "report_generator"


class Transport(models.TextChoices):
    BUILTIN = "builtin"
    A2A = "a2a", "A2A"


class Health(models.TextChoices):
    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"


class InvestigationStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"


ENDED_INVESTIGATIONS = (
    InvestigationStatus.COMPLETED,
    InvestigationStatus.PARTIAL,
    InvestigationStatus.FAILED,
)


class StepStatus(models.TextChoices):
    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


OPEN_STEPS = (StepStatus.QUEUED, StepStatus.RUNNING)
ENDED_STEPS = (StepStatus.COMPLETED, StepStatus.FAILED)


NO_CONFIDENCE = "states_no_confidence"
"""The key in the data of a foreign agent's answer: its confidence says nothing."""


class EventKind(models.TextChoices):
    """What one line of an investigation's log tells."""

    PLANNED = "planned"
    STEP_STARTED = "step_started"
    THOUGHT = "thought"
    FINDING = "finding"
    STEP_COMPLETED = "step_completed"
    STEP_FAILED = "step_failed"
    CONCLUDED = "concluded"
    RESUMED = "resumed"
    MODEL = "model"
