"""The ground floor's part of the working set: accounts, without what signs anybody in, and what waits or was buried."""

from __future__ import annotations

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import Group, User

from aurora.models import DeadLetter, OutboxEvent
from aurora.standin.working_set import Part, register

_WAITING = 1_000


def register_all() -> None:
    register(Part(Group, Group.objects.all))
    register(Part(User, User.objects.all, blanked={"password": UNUSABLE_PASSWORD_PREFIX, "email": ""}))
    register(Part(User.groups.through, User.groups.through._base_manager.all))
    register(Part(DeadLetter, DeadLetter.objects.all, newest=_WAITING))
    register(Part(OutboxEvent, OutboxEvent.objects.all, newest=_WAITING))
