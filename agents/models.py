"""Agents as configured, investigations, their steps and their numbered log."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from agents.states import AgentType, EventKind, InvestigationStatus, StepStatus, Transport
from aurora.ids import new_id
from cases.models import Alert, Case


class Agent(models.Model):
    """A specialist as the operators configured it. What stands before it, its breaker, is live state and not kept here."""

    agent_type = models.CharField(max_length=32, primary_key=True, choices=AgentType)
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    enabled = models.BooleanField(default=True)
    transport = models.CharField(max_length=8, choices=Transport, default=Transport.BUILTIN)
    endpoint = models.URLField(blank=True, max_length=500, help_text="The agent's address when its transport is A2A.")
    sealed_bearer = models.TextField(
        blank=True, editable=False, help_text="What its service asks for, encrypted; never shown again."
    )
    failure_threshold = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="Failures in a row that open the breaker; empty: the installation's default.",
    )
    reset_timeout = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1), MaxValueValidator(86400)],
        help_text="Seconds until the open breaker admits a probe; empty: the default.",
    )
    longest_reset = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1), MaxValueValidator(86400)],
        help_text="Seconds up to which each failed probe doubles the open time; empty: it does not grow.",
    )
    window_seconds = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(86400)],
        help_text="Seconds over which the rates below are taken; empty: 60.",
    )
    minimum_calls = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100_000)],
        help_text="Calls that the window has to hold before a rate counts; empty: 20.",
    )
    failure_rate = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.001), MaxValueValidator(1)],
        help_text="Share of failed calls (0 to 1) that opens the breaker; empty: only failures in a row do.",
    )
    slow_call_seconds = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.001), MaxValueValidator(3600)],
        help_text="Seconds from which an answered call is slow; empty: none is.",
    )
    slow_call_rate = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.001), MaxValueValidator(1)],
        help_text="Share of slow calls (0 to 1) that opens the breaker; empty: none does.",
    )
    timeout = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1), MaxValueValidator(3600)],
        help_text="Seconds one call may take; empty: the default.",
    )
    max_concurrency = models.PositiveIntegerField(default=4, validators=[MinValueValidator(1), MaxValueValidator(256)])
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["agent_type"]

    def __str__(self) -> str:
        return self.name


class Investigation(models.Model):
    """Agents at work on one alert or case, from the plan to the conclusion."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, null=True, blank=True, related_name="investigations")
    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="investigations")
    status = models.CharField(max_length=10, choices=InvestigationStatus, default=InvestigationStatus.QUEUED)
    requested_by = models.CharField(
        max_length=150, help_text="A user's name, or `orchestrator` when the alert's severity asked for it."
    )
    summary = models.TextField(blank=True)
    confidence = models.FloatField(null=True, blank=True)
    event_count = models.PositiveIntegerField(default=0, help_text="The number of the last line of its log.")
    model_wording = models.JSONField(
        null=True,
        blank=True,
        editable=False,
        help_text="What a language model made of the computed findings, as far as it stands. Text for people; nothing is decided by it.",
    )
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=InvestigationStatus.values),
                name="investigation_status_is_known",
            )
        ]
        indexes = [models.Index(fields=["status", "-id"], name="investigation_by_status")]

    def __str__(self) -> str:
        return f"Investigation {self.reference}"

    @property
    def reference(self) -> str:
        """A name short enough to say on the telephone."""
        return self.id.hex[-6:].upper()


class InvestigationStep(models.Model):
    """One agent's task within an investigation; its id is the task's id. Steps of one stage run side by side."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    investigation = models.ForeignKey(Investigation, on_delete=models.CASCADE, related_name="steps")
    agent_type = models.CharField(max_length=32, choices=AgentType)
    stage = models.PositiveSmallIntegerField()
    reason = models.TextField(help_text="Why the orchestrator asks this agent.")
    status = models.CharField(max_length=10, choices=StepStatus, default=StepStatus.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    is_owed = models.BooleanField(
        default=False, help_text="It failed because its agent was down, and is done when that is back."
    )
    resumptions = models.PositiveSmallIntegerField(default=0, help_text="How often it was begun again for that.")
    output = models.JSONField(
        default=dict,
        blank=True,
        help_text="What the agent answered: summary, confidence, findings, evidence.",
    )
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    noted_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When its result was taken into the case and moved the rest on.",
    )

    class Meta:
        ordering = ["stage", "id"]
        constraints = [
            models.UniqueConstraint(fields=["investigation", "agent_type"], name="investigation_step_once_an_agent"),
            models.CheckConstraint(
                condition=models.Q(status__in=StepStatus.values), name="investigation_step_status_is_known"
            ),
        ]
        indexes = [
            models.Index(
                fields=["status"], condition=models.Q(noted_at__isnull=True), name="investigation_step_under_way"
            ),
            models.Index(fields=["agent_type"], condition=models.Q(is_owed=True), name="investigation_step_owed"),
        ]

    def __str__(self) -> str:
        return f"{self.agent_type} ({self.status})"


class InvestigationEvent(models.Model):
    """One numbered line of an investigation's log. Appended, never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    investigation = models.ForeignKey(Investigation, on_delete=models.CASCADE, related_name="events")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=16, choices=EventKind)
    agent_type = models.CharField(max_length=32, blank=True)
    text = models.TextField()
    data = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["investigation", "number"]
        constraints = [
            models.UniqueConstraint(fields=["investigation", "number"], name="investigation_event_numbered_once")
        ]

    def __str__(self) -> str:
        return f"{self.number}. {self.text[:80]}"


from agents.playbooks.models import (  # noqa: E402, F401 - Django finds an app's models by its `models` module
    ActionSlot,
    Approval,
    ApprovalLink,
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
