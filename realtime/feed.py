"""The live state of one channel in this process: who listens, where it stands, and the last frames, ready to be handed to who comes back.

Nothing here waits: between two steps of the event loop a client is in or out, a frame is published or not. That is what makes joining exact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from realtime.clients import Client
from realtime.messages import Channel, Frame, Gap, WireMessage, gap, word
from realtime.positions import EntryId, Position, advance, furthest, is_at_or_after

RING_FRAMES = 1_024
"""Encoded frames kept per channel, so that a client that was away for a moment costs no query."""


class Feed:
    """One channel's clients and ring. `position` is None until Redis has told where the streams stand."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.clients: set[Client] = set()
        self.seats = 0
        """Clients that have joined or are about to."""
        self.position: Position | None = None
        self._floor: Position = ()
        self._ring: deque[Frame] = deque()

    def begin(self, position: Position, reason: Gap) -> None:
        """Starts, or starts anew, at `position`. Clients that were already there have missed something: they get a `gap`."""
        self.position = self._floor = position
        self._ring.clear()
        message = gap(position, reason)
        for client in tuple(self.clients):
            client.after = None
            client.offer(message)

    def pass_over(self, stream: int, entry_id: EntryId) -> None:
        """Moves past an entry that this channel does not show."""
        self.position = advance(self._known(), stream, entry_id)

    def show(self, kind: str, data: Mapping[str, Any]) -> None:
        """Hands what has no place on a stream to everyone who may see it: nobody can come back to it."""
        if kind not in self.channel.types:
            return
        message = word(kind, self.position, data)
        for client in tuple(self.clients):
            if kind in client.types:
                client.offer(message if client.after is None else word(kind, self.place_of(client), data))

    def place_of(self, client: Client) -> Position | None:
        """Where the client stands once it has had what was offered to it. One that was ahead of this process is not led back."""
        return self.position if client.after is None else furthest(self._known(), client.after)

    def publish(self, frame: Frame, *, is_alone: bool = False) -> None:
        """Hands a frame to everyone who may see it. A client that is dropped meanwhile changes nothing for the others. `is_alone` when no other
        follows at once."""
        self.position = advance(self._known(), frame.stream, frame.entry_id)
        self._keep(frame)
        message = frame.message(self.position)
        for client in tuple(self.clients):
            if frame.type in client.types:
                if client.after is None:
                    (client.offer_now if is_alone else client.offer)(message)
                else:
                    self._offer_resumed(client, frame, message)

    def spans(self, position: Position) -> bool:
        """Whether everything between `position` and now is in the ring, and `position` is not ahead of this process."""
        return self.covers(position) and is_at_or_after(self._known(), position)

    def covers(self, position: Position) -> bool:
        """Whether everything after `position` that this process has read is in the ring."""
        return is_at_or_after(position, self._floor)

    def after(self, position: Position) -> list[Frame]:
        """The ring's frames after `position`."""
        return [frame for frame in self._ring if frame.entry_id > position[frame.stream]]

    def admit(self, client: Client, first: Iterable[WireMessage]) -> None:
        """Puts the client into the live channel, behind the frames `first`."""
        client.replay(first)
        self.clients.add(client)

    def resume(
        self, client: Client, first: WireMessage, frames: Sequence[Frame], start: Position, reached: Position
    ) -> None:
        """As `admit`, for a client that stood at `start`: `frames` are all it missed up to `reached` and what the ring adds to that."""
        messages, position = [first], start
        for frame in frames:
            position = advance(position, frame.stream, frame.entry_id)
            if frame.type in client.types:
                messages.append(frame.message(position))
        if not is_at_or_after(self._known(), reached):
            client.after = furthest(self._known(), reached)
        self.admit(client, messages)

    def _offer_resumed(self, client: Client, frame: Frame, message: WireMessage) -> None:
        """A resumed client may be ahead of this process in some stream: no frame comes twice, and no id leads it back."""
        position = self._known()
        if client.after is None or client.has_had(frame.stream, frame.entry_id):
            return
        if is_at_or_after(position, client.after):
            client.after = None
            client.offer(message)
        else:
            client.offer(frame.message(furthest(position, client.after)))

    def _keep(self, frame: Frame) -> None:
        self._ring.append(frame)
        if len(self._ring) > RING_FRAMES:
            oldest = self._ring.popleft()
            self._floor = advance(self._floor, oldest.stream, oldest.entry_id)

    def _known(self) -> Position:
        assert self.position is not None  # noqa: S101 - callers ask only once the reader has begun
        return self.position
