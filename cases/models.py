"""Alerts, what ties them together, cases with their timeline, and what intake refused."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from aurora.ids import new_id
from aurora.models import QuickRows
from cases.observables.values import MAX_VALUE_BYTES
from cases.states import (
    AlertStatus,
    AssetType,
    CaseStatus,
    Category,
    CustodyAction,
    IocStatus,
    IocType,
    PivotKind,
    Severity,
    TaskStatus,
    TimelineKind,
    Tlp,
)


def _one_of(field: str, choices: type[models.TextChoices], name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=models.Q(**{f"{field}__in": choices.values}), name=name)


def reference_of(case_id: UUID | None) -> str:
    """A case's name, short enough to say on the telephone; empty for none."""
    return f"C-{case_id.hex[-6:].upper()}" if case_id else ""


class Case(QuickRows):
    """What is believed to be one incident: alerts, findings, decisions, in the order in which they came."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    title = models.CharField(max_length=500)
    description = models.TextField(blank=True)
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.MEDIUM)
    status = models.CharField(max_length=20, choices=CaseStatus, default=CaseStatus.OPEN)
    confidence = models.FloatField(default=0.0, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)])
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    opened_by = models.CharField(max_length=150)
    resolution = models.TextField(blank=True, help_text="Why the case could be closed.")
    merged_into = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="taken_in",
        editable=False,
        help_text="Where it goes on; a case that has gone there never changes again.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    closed_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            _one_of("severity", Severity, "case_severity_is_known"),
            _one_of("status", CaseStatus, "case_status_is_known"),
            models.CheckConstraint(
                condition=models.Q(confidence__gte=0, confidence__lte=1), name="case_confidence_is_a_fraction"
            ),
        ]
        indexes = [
            models.Index(fields=["status", "-id"], name="case_by_status"),
            models.Index(fields=["updated_at"], name="case_by_update"),
        ]

    def __str__(self) -> str:
        return f"{self.reference} {self.title}"

    @property
    def reference(self) -> str:
        """As `reference_of`."""
        return reference_of(self.id)


class Alert(QuickRows):
    """One detection, normalised. The same detection again raises `count`; which is the same, `dedup_hash` decides."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    title = models.CharField(max_length=500)
    description = models.TextField(blank=True)
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.MEDIUM)
    status = models.CharField(max_length=15, choices=AlertStatus, default=AlertStatus.NEW)
    source = models.CharField(max_length=64)
    category = models.CharField(max_length=10, choices=Category, default=Category.OTHER)
    asset_type = models.CharField(max_length=16, choices=AssetType, blank=True)
    affected_assets = models.JSONField(default=list, blank=True)
    users = models.JSONField(default=list, blank=True)
    iocs = models.JSONField(
        default=list,
        blank=True,
        help_text="[{type, value}], as found; the linked IOC rows hold what is known of them.",
    )
    mitre_techniques = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(
        default=dict,
        blank=True,
        help_text="The sensor's own fields under common names: src_ip, dest_port, process_name …",
    )
    raw = models.TextField(blank=True, help_text="The record as the sensor sent it.")
    dedup_hash = models.CharField(max_length=64, unique=True)
    count = models.PositiveBigIntegerField(default=1)
    first_seen = models.DateTimeField(default=timezone.now)
    last_seen = models.DateTimeField(default=timezone.now, db_index=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    acknowledged_at = models.DateTimeField(null=True, blank=True, editable=False)
    resolved_at = models.DateTimeField(null=True, blank=True, editable=False)
    reopened_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When it was last seen again after it had been resolved."
    )
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    case = models.ForeignKey(Case, on_delete=models.SET_NULL, null=True, blank=True, related_name="alerts")

    class Meta:
        ordering = ["-id"]
        constraints = [
            _one_of("severity", Severity, "alert_severity_is_known"),
            _one_of("status", AlertStatus, "alert_status_is_known"),
            models.CheckConstraint(condition=models.Q(count__gte=1), name="alert_count_is_positive"),
        ]
        indexes = [
            models.Index(fields=["status", "-id"], name="alert_by_status"),
            models.Index(fields=["severity", "-id"], name="alert_by_severity"),
            models.Index(fields=["source", "-id"], name="alert_by_source"),
            models.Index(fields=["updated_at"], name="alert_by_update"),
        ]

    def __str__(self) -> str:
        return self.title


class AlertSighting(models.Model):
    """A repetition of an alert: when, and the record as the sensor sent it. The first sighting is the alert itself."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="sightings", db_index=False)
    seen_at = models.DateTimeField()
    metadata = models.JSONField(default=dict, blank=True)
    raw = models.TextField(blank=True)

    class Meta:
        ordering = ["seen_at"]
        indexes = [models.Index(fields=["alert", "seen_at"], name="sighting_of_alert")]

    def __str__(self) -> str:
        return f"{self.alert_id} at {self.seen_at}"


class Ioc(QuickRows):
    """An indicator of compromise: an observable with what is known of it. Unique by type and canonical value."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    type = models.CharField(max_length=12, choices=IocType)
    value = models.CharField(max_length=MAX_VALUE_BYTES)
    source = models.CharField(max_length=64, default="alert")
    description = models.TextField(blank=True)
    confidence = models.FloatField(default=0.5, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)])
    status = models.CharField(max_length=14, choices=IocStatus, default=IocStatus.ACTIVE)
    tlp = models.CharField(max_length=12, choices=Tlp, default=Tlp.AMBER)
    sightings = models.PositiveBigIntegerField(
        default=0, help_text="How often alerts carried it, repetitions included."
    )
    first_seen = models.DateTimeField(default=timezone.now)
    last_seen = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    alerts: models.ManyToManyField[Alert, AlertIoc] = models.ManyToManyField(
        Alert, through="AlertIoc", related_name="ioc_rows"
    )

    class Meta:
        ordering = ["-id"]
        verbose_name = "IOC"
        verbose_name_plural = "IOCs"
        constraints = [
            models.UniqueConstraint(fields=["value", "type"], name="ioc_once"),
            _one_of("type", IocType, "ioc_type_is_known"),
            _one_of("status", IocStatus, "ioc_status_is_known"),
            models.CheckConstraint(
                condition=models.Q(confidence__gte=0, confidence__lte=1), name="ioc_confidence_is_a_fraction"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.value}"


class AlertIoc(models.Model):
    """That an alert carried an IOC."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="ioc_links")
    ioc = models.ForeignKey(Ioc, on_delete=models.CASCADE, related_name="alert_links")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["ioc", "alert"], name="alert_ioc_once")]

    def __str__(self) -> str:
        return f"{self.alert_id} {self.ioc_id}"


class AlertPivot(models.Model):
    """One asset, user or technique of an alert, indexed: how related alerts are found."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="pivots")
    kind = models.CharField(max_length=10, choices=PivotKind)
    value = models.CharField(max_length=255, help_text="Lower-case for assets and users.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "value", "alert"], name="alert_pivot_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class TimelineEntry(models.Model):
    """One thing that happened to a case. Written once, never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="timeline")
    kind = models.CharField(max_length=20, choices=TimelineKind)
    actor = models.CharField(max_length=150, help_text="A user's name, or an agent's type.")
    text = models.TextField()
    data = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "timeline entries"

    def __str__(self) -> str:
        return f"{self.kind}: {self.text[:80]}"


class CaseTask(models.Model):
    """Something to be done for a case, by whom and until when."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="tasks")
    title = models.CharField(max_length=500)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=5, choices=TaskStatus, default=TaskStatus.OPEN)
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    due_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    done_by = models.CharField(max_length=150, blank=True, editable=False)
    done_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["id"]
        verbose_name = "task"
        constraints = [_one_of("status", TaskStatus, "task_status_is_known")]

    def __str__(self) -> str:
        return self.title


class Evidence(models.Model):
    """A file kept for a case. Its content lies in the evidence store under its hash; the row says what it is and where from."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="evidence")
    sha256 = models.CharField(max_length=64, db_index=True)
    sha1 = models.CharField(max_length=40, blank=True, help_text="For look-ups elsewhere; integrity is SHA-256's.")
    md5 = models.CharField(max_length=32, blank=True, help_text="As SHA-1.")
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    name = models.CharField(max_length=255, help_text="As its sender called it; never a path of ours.")
    media_type = models.CharField(max_length=127, blank=True, help_text="As its sender declared it; never believed.")
    description = models.TextField(blank=True)
    added_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        verbose_name = verbose_name_plural = "evidence"
        constraints = [models.UniqueConstraint(fields=["case", "sha256"], name="evidence_once_a_case")]

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12]})"


class CustodyEntry(models.Model):
    """One link of a piece of evidence's chain of custody: who had it, when, what for. Appended, never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    evidence = models.ForeignKey(Evidence, on_delete=models.PROTECT, related_name="custody")
    action = models.CharField(max_length=12, choices=CustodyAction)
    actor = models.CharField(max_length=150)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "custody entries"
        constraints = [_one_of("action", CustodyAction, "custody_action_is_known")]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"


class IngestReceipt(models.Model):
    """What became of one delivery: of a sensor, or of a single alert. Unique, so that nothing accepted is stored twice."""

    receipt = models.UUIDField(primary_key=True, default=new_id, editable=False)
    source = models.CharField(max_length=64)
    received = models.PositiveIntegerField()
    created = models.PositiveIntegerField()
    merged = models.PositiveIntegerField()
    ignored = models.PositiveIntegerField()
    rejected = models.PositiveIntegerField()
    stored_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["-receipt"]

    def __str__(self) -> str:
        return str(self.receipt)


class IngestReject(models.Model):
    """A record that was not an alert, with the reason, kept so that its sender can mend it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    receipt = models.UUIDField(db_index=True)
    source = models.CharField(max_length=64)
    index = models.PositiveIntegerField(help_text="Its place in the delivery, from 0.")
    detail = models.TextField()
    raw = models.TextField(help_text="The record as received, cut at 64 KiB.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        verbose_name = "rejected record"

    def __str__(self) -> str:
        return f"{self.source} {self.index}: {self.detail[:80]}"
