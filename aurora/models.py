"""What every app leans on: the outbox, the bus's memory, the audit trail, credentials of programs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models.base import ModelState
from django.utils import timezone

from aurora.ids import new_id
from aurora.roles import ROLES


class QuickRows(models.Model):
    """For models whose rows are read by the page: made of what was read at once, where Django's way asks two signals and sets each field by itself.

    Nobody may listen to `pre_init` and `post_init` of such a model, nor hand over anything at its making.
    """

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any]) -> Self:
        row = cls.__new__(cls)
        state = row._state = ModelState()
        state.adding, state.db = False, db
        row.__dict__.update(zip(field_names, values, strict=True))
        return row


class OutboxEvent(models.Model):
    """An event that waits to be moved to its stream. Written in the transaction of the change it announces; deleted once Redis has confirmed it."""

    event_id = models.UUIDField(default=new_id)
    stream = models.CharField(max_length=64)
    type = models.CharField(max_length=64)
    addressee = models.CharField(
        max_length=64, blank=True, db_default="", help_text="The only group that shall handle it; empty: everyone."
    )
    aggregate = models.CharField(
        max_length=100, help_text="What the event is about; events of one aggregate keep their order."
    )
    data = models.TextField(help_text="The payload as JSON text, moved to the stream as it is.")
    traceparent = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["event_id", "addressee"], name="outbox_event_once_an_addressee")]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class PublishedEvent(models.Model):
    """An event that has left the outbox and that some group has not finished: published again when Redis has forgotten it (`aurora.bus.keeping`)."""

    id = models.BigIntegerField(primary_key=True, help_text="As it was in the outbox, where it goes back under it.")
    event_id = models.UUIDField()
    stream = models.CharField(max_length=64)
    type = models.CharField(max_length=64)
    addressee = models.CharField(max_length=64, blank=True)
    aggregate = models.CharField(max_length=100)
    data = models.TextField()
    traceparent = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()
    milliseconds = models.BigIntegerField(help_text="First part of the entry's id.")
    sequence = models.BigIntegerField(help_text="Second part of the entry's id.")
    run = models.CharField(max_length=64, help_text="The run of Redis that confirmed it.")
    is_ordered = models.BooleanField(
        db_default=False, help_text="Whether some worker reads its stream in order: then it is found by its aggregate."
    )

    class Meta:
        indexes = [
            models.Index(fields=["aggregate", "id"], name="published_in_order", condition=models.Q(is_ordered=True))
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class ProcessedEvent(models.Model):
    """That a consumer group has handled an event: committed with the handler's own rows, so an effect happens once."""

    group = models.CharField(max_length=64)
    event_id = models.UUIDField()
    processed_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "event_id"], name="processed_event_once_a_group")]

    def __str__(self) -> str:
        return f"{self.group} {self.event_id}"


class DeadLetter(models.Model):
    """A message that no delivery could handle, kept with everything needed to understand it and to put it back."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    stream = models.CharField(max_length=64)
    group = models.CharField(max_length=64)
    entry_id = models.CharField(max_length=40)
    event_id = models.CharField(max_length=64, blank=True)
    type = models.CharField(max_length=64, blank=True)
    data = models.TextField(blank=True)
    traceparent = models.CharField(max_length=64, blank=True)
    error = models.TextField()
    deliveries = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now)
    redriven_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["stream", "group", "entry_id"], name="dead_letter_once_a_delivery")
        ]

    def __str__(self) -> str:
        return f"{self.type or 'message'} {self.entry_id} of {self.group}"


class AuditEntry(models.Model):
    """Who changed what, from where. Written in the change's own transaction."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.CharField(max_length=150)
    address = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=64)
    target_type = models.CharField(max_length=64)
    target_id = models.CharField(max_length=64)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    number = models.BigIntegerField(
        null=True, editable=False, unique=True, help_text="Its place in the chain, from 1; empty until it is sealed."
    )
    digest = models.CharField(max_length=64, blank=True, db_default="", editable=False)
    sealed_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["target_type", "target_id"], name="audit_of_target"),
            models.Index(fields=["id"], name="audit_unsealed", condition=models.Q(number=None)),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target_type} {self.target_id}"


class AuditHead(models.Model):
    """Where the chain of audit entries ends: signed, so that neither its end nor the whole of it can be cut off or written anew."""

    number = models.BigIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)
    sealed_at = models.DateTimeField(null=True)
    signature = models.CharField(max_length=64, blank=True)
    checked_number = models.BigIntegerField(default=0, help_text="How far the check that is under way has come.")
    checked_at = models.DateTimeField(null=True)
    faults = models.JSONField(default=list, help_text="What the last check found wrong, in words.")

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


class ApiKey(models.Model):
    """A program's credential. Only a hash of the secret is kept; the prefix finds the row."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, unique=True)
    key_hash = models.CharField(max_length=64)
    role = models.CharField(max_length=20, choices=[(role, role) for role in ROLES])
    networks = models.JSONField(
        default=list, blank=True, help_text="Networks (CIDR) from where the key is good; none named: from everywhere."
    )
    rotated_from = models.UUIDField(null=True, blank=True, editable=False, help_text="The key that this one follows.")
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"
        verbose_name_plural = "API keys"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class RefreshToken(models.Model):
    """One refresh token of a signed-in family. A used one that comes again means theft: the whole family dies."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    family = models.UUIDField(db_index=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField(db_index=True)
    password_mark = models.CharField(
        max_length=16, db_default="", help_text="Tells the password that the token was got by from a later one."
    )
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return str(self.id)


class IdempotencyKey(models.Model):
    """The answer once given under a caller's `Idempotency-Key`; the same request gets it again, another one gets 409."""

    actor = models.CharField(max_length=160)
    key = models.CharField(max_length=200)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["actor", "key"], name="idempotency_key_once_an_actor")]

    def __str__(self) -> str:
        return self.key
