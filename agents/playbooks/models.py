"""Playbooks by version, their runs step by step, the approvals these ask for, and the means by which actions reach the world."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from agents.playbooks.states import (
    UNSETTLED_STEPS,
    ApprovalStatus,
    BlockType,
    ConnectorKind,
    Course,
    ExecutionStatus,
    StepState,
    UndoState,
)
from aurora.ids import new_id
from cases.models import Alert, Case


def _one_of(
    field: str, choices: type[models.TextChoices], name: str, *, or_empty: bool = False
) -> models.CheckConstraint:
    words = [*choices.values, ""] if or_empty else choices.values
    return models.CheckConstraint(condition=models.Q(**{f"{field}__in": words}), name=name)


class Playbook(models.Model):
    """A response that can be run. What it consists of is kept by version: a run keeps the one it began with."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    title = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    trigger = models.CharField(max_length=200, blank=True)
    enabled = models.BooleanField(default=True)
    version = models.PositiveIntegerField(default=1, help_text="The version that the next run takes.")
    is_shipped = models.BooleanField(default=False, help_text="Came with the product.")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "agents"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.title or self.name


class PlaybookVersion(models.Model):
    """One version's text and what it says. Written once, never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    playbook = models.ForeignKey(Playbook, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    definition = models.JSONField()
    source = models.TextField(help_text="As its author wrote it.")
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "agents"
        ordering = ["playbook", "-number"]
        constraints = [models.UniqueConstraint(fields=["playbook", "number"], name="playbook_version_numbered_once")]

    def __str__(self) -> str:
        return f"{self.playbook} v{self.number}"


class Execution(models.Model):
    """One run of a playbook over an alert or a case. Its row is locked by whoever changes it or one of its steps."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    version = models.ForeignKey(PlaybookVersion, on_delete=models.PROTECT, related_name="executions")
    playbook = models.ForeignKey(Playbook, on_delete=models.PROTECT, related_name="executions")
    case = models.ForeignKey(Case, on_delete=models.CASCADE, null=True, blank=True, related_name="executions")
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, null=True, blank=True, related_name="executions")
    status = models.CharField(max_length=17, choices=ExecutionStatus, default=ExecutionStatus.QUEUED)
    course = models.CharField(max_length=7, choices=Course, default=Course.FORWARD)
    is_paused = models.BooleanField(default=False)
    dry_run = models.BooleanField(default=False)
    requested_by = models.CharField(max_length=150)
    requester = models.CharField(
        max_length=160, help_text="Who may not decide its approvals: an account's name or a key's id."
    )
    rule = models.ForeignKey(
        "AutomationRule", on_delete=models.SET_NULL, null=True, blank=True, related_name="executions"
    )
    parameters = models.JSONField(default=dict, blank=True)
    facts = models.JSONField(
        default=dict, blank=True, help_text="What was known when it began; its steps see nothing else."
    )
    summary = models.TextField(blank=True)
    settled_count = models.PositiveIntegerField(
        default=0, help_text="Steps that have ended: their order, for going back."
    )
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "agents"
        ordering = ["-id"]
        constraints = [
            _one_of("status", ExecutionStatus, "execution_status_is_known"),
            _one_of("course", Course, "execution_course_is_known"),
            models.UniqueConstraint(
                fields=["playbook", "alert"],
                condition=models.Q(rule__isnull=False),
                name="execution_by_rule_once_an_alert",
            ),
        ]
        indexes = [models.Index(fields=["status", "-id"], name="execution_by_status")]

    def __str__(self) -> str:
        return f"{self.playbook} {self.reference}"

    @property
    def reference(self) -> str:
        """A name short enough to say on the telephone."""
        return f"E-{self.id.hex[-6:].upper()}"


class ExecutionStep(models.Model):
    """One step of a run. Its id is the key under which its target is told of it, whichever attempt and whichever worker tells."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=64)
    action = models.CharField(max_length=32)
    branch = models.PositiveSmallIntegerField(default=0)
    after = models.JSONField(default=list, help_text="Names of the steps it waits for.")
    status = models.CharField(max_length=17, choices=StepState, default=StepState.PENDING)
    parameters = models.JSONField(default=dict, help_text="With their places filled; written when it is taken up.")
    result = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)
    note = models.TextField(blank=True, help_text="What it waits for.")
    attempts = models.PositiveIntegerField(default=0)
    lease = models.UUIDField(null=True, blank=True, help_text="Whose it is: only the holder may write how it ended.")
    lease_until = models.DateTimeField(null=True, blank=True)
    settled_as = models.PositiveIntegerField(null=True, blank=True, help_text="Its place among those that have ended.")
    undo = models.CharField(max_length=14, choices=UndoState, blank=True)
    undo_result = models.JSONField(default=dict, blank=True)
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "agents"
        ordering = ["execution", "position"]
        constraints = [
            models.UniqueConstraint(fields=["execution", "name"], name="execution_step_named_once"),
            _one_of("status", StepState, "execution_step_status_is_known"),
            _one_of("undo", UndoState, "execution_step_undo_is_known", or_empty=True),
        ]
        indexes = [
            models.Index(
                fields=["status"],
                condition=models.Q(status__in=UNSETTLED_STEPS) | models.Q(undo__in=["queued", "running"]),
                name="execution_step_under_way",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.status})"


class Approval(models.Model):
    """A question to people: may this step be done? `granted` says by how many of the `needed` it was affirmed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="approvals")
    step = models.ForeignKey(ExecutionStep, on_delete=models.CASCADE, related_name="approvals")
    status = models.CharField(max_length=8, choices=ApprovalStatus, default=ApprovalStatus.PENDING)
    action = models.CharField(max_length=32)
    parameters = models.JSONField(default=dict, help_text="On what: exactly this is approved.")
    reason = models.TextField(help_text="Why it asks.")
    is_reversible = models.BooleanField()
    needed = models.PositiveSmallIntegerField(default=1)
    granted = models.PositiveSmallIntegerField(default=0)
    decisions = models.JSONField(default=list, blank=True, help_text="[{by, name, verdict, reason, at}]")
    requested_by = models.CharField(max_length=150)
    requester = models.CharField(max_length=160)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    escalated_at = models.DateTimeField(null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "agents"
        ordering = ["-id"]
        constraints = [
            _one_of("status", ApprovalStatus, "approval_status_is_known"),
            models.CheckConstraint(
                condition=~models.Q(status="approved") | models.Q(granted__gte=models.F("needed")),
                name="approval_has_all_its_people",
            ),
            models.UniqueConstraint(
                fields=["step"], condition=models.Q(status="pending"), name="approval_pending_once_a_step"
            ),
        ]
        indexes = [models.Index(fields=["status", "-id"], name="approval_by_status")]

    def __str__(self) -> str:
        return f"{self.action} ({self.status})"


class ActionSlot(models.Model):
    """The right to do something that must not be done twice at once: isolate at a site, touch this host."""

    name = models.CharField(max_length=300, primary_key=True)
    step = models.ForeignKey(ExecutionStep, on_delete=models.CASCADE, related_name="slots")
    is_for_run = models.BooleanField(default=False, help_text="Kept until the run ends, not only while the step acts.")
    taken_at = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "agents"

    def __str__(self) -> str:
        return self.name


class Connector(models.Model):
    """A configured way to act: which actions it serves, and where. What is secret in it is kept encrypted."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=10, choices=ConnectorKind)
    enabled = models.BooleanField(default=True)
    actions = models.JSONField(default=list)
    priority = models.PositiveSmallIntegerField(default=100, help_text="Of several for an action the lowest is taken.")
    settings = models.JSONField(default=dict, blank=True)
    secret = models.TextField(blank=True, editable=False)
    max_in_flight = models.PositiveSmallIntegerField(
        default=4,
        validators=[MinValueValidator(1), MaxValueValidator(64)],
        help_text="Calls at once, over all workers.",
    )
    tested_at = models.DateTimeField(null=True, blank=True)
    test_error = models.TextField(blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "agents"
        ordering = ["priority", "name"]
        constraints = [_one_of("kind", ConnectorKind, "connector_kind_is_known")]

    def __str__(self) -> str:
        return self.name


class Delivery(models.Model):
    """One message to a webhook: what was sent and what came of it. Sent again from here when somebody asks."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    connector = models.ForeignKey(Connector, on_delete=models.CASCADE, related_name="deliveries")
    event_id = models.CharField(
        max_length=64, help_text="The same for every attempt and replay: receivers tell doubles by it."
    )
    body = models.TextField()
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="What the receiver answered.")
    error = models.TextField(blank=True)
    sent_at = models.DateTimeField(default=timezone.now)
    is_replay = models.BooleanField(default=False)

    class Meta:
        app_label = "agents"
        ordering = ["-id"]
        verbose_name_plural = "deliveries of webhooks"

    def __str__(self) -> str:
        return f"{self.event_id} {self.status or self.error}"


class BlocklistEntry(models.Model):
    """One thing that firewalls are told to block, until it expires or is lifted."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    type = models.CharField(max_length=6, choices=BlockType)
    value = models.CharField(max_length=2048)
    key = models.CharField(max_length=64, help_text="The key of the step that put it there.")
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.CharField(max_length=150, blank=True)
    lifted_because = models.TextField(blank=True)

    class Meta:
        app_label = "agents"
        ordering = ["-id"]
        verbose_name_plural = "block list"
        constraints = [
            models.UniqueConstraint(fields=["key", "type", "value"], name="blocklist_entry_once_a_key"),
            _one_of("type", BlockType, "blocklist_entry_type_is_known"),
        ]
        indexes = [
            models.Index(
                fields=["type", "value"], condition=models.Q(lifted_at__isnull=True), name="blocklist_in_force"
            )
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.value}"


class DisabledAccount(models.Model):
    """An account of a directory that a step disables, and how it stood before: kept before it is changed, for an undo to go by."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    connector = models.ForeignKey(
        Connector,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="disabled_accounts",
        help_text="Empty: it was removed, and whoever enables the account does it in the directory itself.",
    )
    directory = models.CharField(max_length=64, blank=True, help_text="The name of the connector, once it was removed.")
    key = models.CharField(max_length=64, help_text="The key of the step.")
    dn = models.TextField()
    attribute = models.CharField(max_length=64)
    before = models.JSONField(help_text="The values that the attribute had.")
    created_at = models.DateTimeField(default=timezone.now)
    disabled_at = models.DateTimeField(null=True, blank=True, help_text="When the directory showed it as disabled.")
    enabled_at = models.DateTimeField(null=True, blank=True, help_text="When the step was undone.")

    class Meta:
        app_label = "agents"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["connector", "key", "dn"], name="disabled_account_once_a_key"),
        ]

    def __str__(self) -> str:
        return self.dn


class AutomationRule(models.Model):
    """When an alert of a kind arrives, run a playbook: so often a minute at most. Off until somebody switches it on."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    playbook = models.ForeignKey(Playbook, on_delete=models.CASCADE, related_name="rules")
    condition = models.CharField(max_length=500)
    enabled = models.BooleanField(default=False)
    dry_run = models.BooleanField(default=False, help_text="It rehearses: its runs have no effect.")
    max_per_minute = models.PositiveSmallIntegerField(
        default=5, validators=[MinValueValidator(1), MaxValueValidator(1000)]
    )
    held_back = models.PositiveBigIntegerField(
        default=0, help_text="Alerts that it did not run for: beyond its bound, or nothing new in them."
    )
    error = models.TextField(blank=True, help_text="Why it last did not run although it should have.")
    created_by = models.CharField(max_length=150)
    owner = models.CharField(
        max_length=160, blank=True, help_text="Who last said what it does, and so may not decide approvals of its runs."
    )
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "agents"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ApprovalLink(models.Model):
    """A link by which one person may decide one approval once, and whether it reached them. Only a hash of it is kept."""

    digest = models.CharField(max_length=64, primary_key=True)
    approval = models.ForeignKey(Approval, on_delete=models.CASCADE, related_name="links")
    connector = models.ForeignKey(Connector, on_delete=models.CASCADE, null=True, related_name="links")
    username = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now)
    told_of = models.UUIDField(null=True, blank=True, help_text="The announcement that it was last sent for.")
    told_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="Why it could not be sent.")
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "agents"
        ordering = ["username", "created_at"]

    def __str__(self) -> str:
        return f"{self.username} {self.approval_id}"
