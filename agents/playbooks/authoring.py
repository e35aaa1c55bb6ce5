"""Playbooks written and changed: each change is a version of its own, and runs under way keep theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from pydantic import ValidationError

from agents.playbooks.definition import Definition
from agents.playbooks.library import shipped
from agents.playbooks.models import Playbook, PlaybookVersion
from agents.playbooks.source import parsed, written
from aurora import audit, seen
from aurora.actors import Actor, system
from aurora.errors import Conflict, Invalid, Missing
from aurora.rest.problems import problems_of

_LIBRARY_LOCK = 0x91A7B0
_DESCRIBING = ("title", "description", "trigger")


def defined(body: Mapping[str, Any]) -> tuple[Definition, str]:
    """The playbook that a request holds, as fields or as the text `source`, and its text. Raises Invalid."""
    if set(body) == {"source"} and isinstance(body["source"], str):
        return parsed(body["source"]), body["source"]
    try:
        definition = Definition.model_validate(dict(body))
    except ValidationError as error:
        raise Invalid(problems=problems_of(error, "body")) from None
    return definition, written(definition.as_json())


def write_playbook(*, definition: Definition, source: str, actor: Actor) -> Playbook:
    """A new playbook. Raises Denied, Conflict for a name that is taken."""
    actor.require("playbooks:execute")
    try:
        with transaction.atomic():
            return _create(definition, source, actor, is_shipped=False)
    except IntegrityError:
        raise Conflict(f"A playbook named {definition.name} exists") from None


def import_playbook(*, text: str, replaces: bool, actor: Actor, seen_as: str = "") -> Playbook:
    """The playbook that a file holds: a new one, or if `replaces` another version of the one of its name. `seen_as` is the `version_of` that its author
    began with. Raises Denied, Invalid, Conflict, Outdated."""
    actor.require("playbooks:execute")
    definition = parsed(text)
    known = Playbook.objects.filter(name=definition.name).first()
    if known is None:
        return write_playbook(definition=definition, source=text, actor=actor)
    if not replaces:
        raise Conflict(f"A playbook named {definition.name} exists")
    # Begun from another playbook's text, it rests on nothing of this one.
    is_of_it = seen_as.startswith(f"{known.name}:")
    return edit_playbook(
        playbook_id=known.id, changes={"source": text}, actor=actor, seen_as=seen_as if is_of_it else ""
    )


def edit_playbook(*, playbook_id: UUID, changes: Mapping[str, Any], actor: Actor, seen_as: str = "") -> Playbook:
    """`enabled` switches it; anything else makes a new version of it. What is so already is no change. Raises Denied, Missing, Invalid, Outdated."""
    actor.require("playbooks:execute")
    with transaction.atomic():
        playbook = Playbook.objects.select_for_update().filter(pk=playbook_id).first()
        if playbook is None:
            raise Missing
        seen.require(playbook, seen=seen_as, is_now=version_of(playbook), action="playbook.revised")
        rest = {name: value for name, value in changes.items() if name != "enabled"}
        if "enabled" in changes:
            _switch(playbook, changes["enabled"], actor)
        if rest:
            _revise(playbook, rest, actor)
    return playbook


def ensure_library() -> None:
    """Brings the shipped playbooks in, and those that nobody has changed to what is shipped now. For the start of an installation."""
    keeper = system("library")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LIBRARY_LOCK])
        known = {playbook.name: playbook for playbook in Playbook.objects.all()}
        for definition, source in shipped():
            playbook = known.get(definition.name)
            if playbook is None:
                _create(definition, source, keeper, is_shipped=True)
            elif playbook.is_shipped:
                _add_version(playbook, definition, source, keeper)


def find(playbook_id: UUID) -> Playbook:
    """Raises Missing."""
    row = Playbook.objects.filter(pk=playbook_id).first()
    if row is None:
        raise Missing
    return row


def current_version(playbook: Playbook) -> PlaybookVersion:
    return PlaybookVersion.objects.get(playbook=playbook, number=playbook.version)


def version_of(playbook: Playbook) -> str:
    return f"{playbook.name}:{playbook.version}"


def _create(definition: Definition, source: str, actor: Actor, *, is_shipped: bool) -> Playbook:
    described = {name: getattr(definition, name) for name in _DESCRIBING}
    playbook = Playbook.objects.create(name=definition.name, is_shipped=is_shipped, **described)
    _keep(playbook, definition, source, actor)
    audit.record(actor, "playbook.created", playbook, after={"name": playbook.name, "steps": len(definition.steps)})
    return playbook


def _switch(playbook: Playbook, enabled: Any, actor: Actor) -> None:
    if playbook.enabled == enabled:
        return
    playbook.enabled, playbook.updated_at = enabled, timezone.now()
    playbook.save(update_fields=["enabled", "updated_at"])
    action = "playbook.enabled" if enabled else "playbook.disabled"
    audit.record(actor, action, playbook, before={"enabled": not enabled}, after={"enabled": enabled})


def _revise(playbook: Playbook, changes: Mapping[str, Any], actor: Actor) -> None:
    given = changes if "source" in changes else {**current_version(playbook).definition, **changes}
    definition, source = defined(given)
    if definition.name != playbook.name:
        raise Invalid(f"The playbook is named {playbook.name}; another name is another playbook")
    if _add_version(playbook, definition, source, actor):
        # From now on it is the author's: the library no longer replaces it.
        Playbook.objects.filter(pk=playbook.pk).update(is_shipped=False)
        playbook.is_shipped = False


def _add_version(playbook: Playbook, definition: Definition, source: str, actor: Actor) -> bool:
    if current_version(playbook).definition == definition.as_json():
        return False
    before, playbook.version, playbook.updated_at = playbook.version, playbook.version + 1, timezone.now()
    for name in _DESCRIBING:
        setattr(playbook, name, getattr(definition, name))
    playbook.save()
    _keep(playbook, definition, source, actor)
    audit.record(actor, "playbook.revised", playbook, before={"version": before}, after={"version": playbook.version})
    return True


def _keep(playbook: Playbook, definition: Definition, source: str, actor: Actor) -> None:
    PlaybookVersion.objects.create(
        playbook=playbook,
        number=playbook.version,
        definition=definition.as_json(),
        source=source,
        created_by=actor.name,
    )
