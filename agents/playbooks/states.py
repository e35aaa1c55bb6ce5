"""The words of playbooks, runs, approvals and connectors, and which of them are an end. Pure data."""

from __future__ import annotations

from django.db import models


class ExecutionStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    COMPLETED = "completed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"


ENDED_EXECUTIONS = (
    ExecutionStatus.COMPLETED,
    ExecutionStatus.FAILED,
    ExecutionStatus.ROLLED_BACK,
    ExecutionStatus.CANCELLED,
)


class Course(models.TextChoices):
    """Where a run is going: on, to a stop once what runs has ended, or back."""

    FORWARD = "forward"
    HALT = "halt"
    CANCEL = "cancel"
    UNDO = "undo"


class StepState(models.TextChoices):
    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    NOT_CONFIGURED = "not_configured"
    FAILED = "failed"
    CANCELLED = "cancelled"


IN_FLIGHT_STEPS = (StepState.QUEUED, StepState.RUNNING)
UNSETTLED_STEPS = (StepState.PENDING, StepState.QUEUED, StepState.RUNNING, StepState.AWAITING_APPROVAL)


class UndoState(models.TextChoices):
    """What became of a step's rollback; empty while nobody asked for one."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    NOT_CONFIGURED = "not_configured"


IN_FLIGHT_UNDOS = (UndoState.QUEUED, UndoState.RUNNING)


class ApprovalStatus(models.TextChoices):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


class ConnectorKind(models.TextChoices):
    """By what means an action reaches the world."""

    BLOCKLIST = "blocklist", "Block list feed"
    IOC_STORE = "ioc_store", "IOC store"
    WEBHOOK = "webhook"
    EMAIL = "email", "E-mail"
    CHAT = "chat"
    WAZUH = "wazuh"
    LDAP = "ldap", "Directory (LDAP)"


class BlockType(models.TextChoices):
    IP = "ip", "IP address"
    DOMAIN = "domain"
    URL = "url", "URL"
