"""The words of alerts, cases and IOCs, and what may follow what. Pure data."""

from __future__ import annotations

from django.db import models


class Severity(models.TextChoices):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"


SEVERITIES = tuple(Severity.values)
"""From the gravest to the least."""

GRAVITY = models.Case(
    *(models.When(severity=severity, then=place) for place, severity in enumerate(reversed(SEVERITIES), 1)),
    default=0,
    output_field=models.SmallIntegerField(),
)
"""For ordering rows by `severity`, which as a word would sort `info` above `low`; the gravest counts most."""

URGENT = (Severity.CRITICAL, Severity.HIGH)
"""Severities that are investigated without anybody asking."""


class AlertStatus(models.TextChoices):
    NEW = "new"
    TRIAGED = "triaged"
    INVESTIGATING = "investigating"
    ESCALATED = "escalated"
    RESOLVED = "resolved"
    FALSE_POSITIVE = "false_positive"


ENDED_ALERTS = (AlertStatus.RESOLVED, AlertStatus.FALSE_POSITIVE)

ALERT_TRANSITIONS: dict[str, frozenset[str]] = {
    "new": frozenset({"triaged", "investigating", "escalated", "resolved", "false_positive"}),
    "triaged": frozenset({"investigating", "escalated", "resolved", "false_positive"}),
    "investigating": frozenset({"escalated", "resolved", "false_positive"}),
    "escalated": frozenset({"investigating", "resolved", "false_positive"}),
    "resolved": frozenset({"investigating"}),
    "false_positive": frozenset({"investigating"}),
}


class CaseStatus(models.TextChoices):
    OPEN = "open"
    IN_PROGRESS = "in_progress"
    PENDING_APPROVAL = "pending_approval"
    CONTAINED = "contained"
    ERADICATED = "eradicated"
    RECOVERED = "recovered"
    CLOSED = "closed"


CASE_TRANSITIONS: dict[str, frozenset[str]] = {
    "open": frozenset({"in_progress", "closed"}),
    "in_progress": frozenset({"pending_approval", "contained", "closed"}),
    "pending_approval": frozenset({"in_progress", "contained"}),
    "contained": frozenset({"in_progress", "eradicated", "closed"}),
    "eradicated": frozenset({"in_progress", "recovered", "closed"}),
    "recovered": frozenset({"in_progress", "closed"}),
    "closed": frozenset({"in_progress"}),
}
CLOSED_CASES = (CaseStatus.CLOSED,)


class IocStatus(models.TextChoices):
    ACTIVE = "active"
    EXPIRED = "expired"
    FALSE_POSITIVE = "false_positive"


class Tlp(models.TextChoices):
    """Traffic Light Protocol 2.0 (FIRST)."""

    RED = "red"
    AMBER_STRICT = "amber+strict"
    AMBER = "amber"
    GREEN = "green"
    CLEAR = "clear"


class Category(models.TextChoices):
    NETWORK = "network"
    ENDPOINT = "endpoint"
    IDENTITY = "identity"
    CLOUD = "cloud"
    CPS = "cps"
    EMAIL = "email"
    WEB = "web"
    OTHER = "other"


class AssetType(models.TextChoices):
    SERVER = "server"
    WORKSTATION = "workstation"
    IOT_SENSOR = "iot_sensor"
    CPS_CONTROLLER = "cps_controller"
    NETWORK_DEVICE = "network_device"
    MOBILE = "mobile"
    CLOUD_RESOURCE = "cloud_resource"
    IDENTITY = "identity"


class IocType(models.TextChoices):
    IP = "ip", "IP address"
    DOMAIN = "domain"
    URL = "url", "URL"
    HASH_MD5 = "hash_md5", "MD5"
    HASH_SHA1 = "hash_sha1", "SHA-1"
    HASH_SHA256 = "hash_sha256", "SHA-256"
    EMAIL = "email", "e-mail"
    CVE = "cve", "CVE"
    FILE_PATH = "file_path"
    REGISTRY_KEY = "registry_key"
    MUTEX = "mutex"
    USER_AGENT = "user_agent"


class PivotKind(models.TextChoices):
    """By what, besides shared IOCs, two alerts are found to belong together."""

    ASSET = "asset"
    USER = "user"
    TECHNIQUE = "technique"


class TaskStatus(models.TextChoices):
    OPEN = "open"
    DONE = "done"


class TimelineKind(models.TextChoices):
    OPENED = "opened"
    ALERT_LINKED = "alert_linked"
    ALERT_REOPENED = "alert_reopened"
    AGENT_FINDING = "agent_finding"
    AGENT_FAILED = "agent_failed"
    INVESTIGATION = "investigation"
    STATUS_CHANGED = "status_changed"
    ASSIGNED = "assigned"
    COMMENT = "comment"
    PLAYBOOK = "playbook"
    APPROVAL = "approval"
    MERGED = "merged"
    EVIDENCE = "evidence"
    TASK = "task"


class CustodyAction(models.TextChoices):
    """What somebody did with a piece of evidence."""

    COLLECTED = "collected"
    READ = "read"
    MOVED = "moved"
    """With its case into another one."""
    MISSED = "missed"
    """Asked for, and its content was gone or no longer what was taken in."""
