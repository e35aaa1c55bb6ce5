"""One socket: authorise, join, then accept. From there the broadcaster sends; of what the client says only `hello` is answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from channels.utils import await_many_dispatch

from aurora.errors import AuroraError, Conflict, Denied, Invalid, Missing, Unavailable
from realtime import broadcaster, metrics
from realtime.auth import Query, Scope, authenticate, query_of
from realtime.broadcaster import Broadcaster
from realtime.clients import Client, Send, never
from realtime.messages import Channel
from realtime.protocol import WRITE_NOW
from realtime.tickets import Pass

NOT_SIGNED_IN, NOT_ALLOWED, NOT_FOUND = 4401, 4403, 4404
POLICY_VIOLATION, TOO_BIG, TRY_AGAIN_LATER = 1008, 1009, 1013

CODE_OF: dict[type[AuroraError], int] = {
    Invalid: POLICY_VIOLATION,
    Denied: NOT_ALLOWED,
    Missing: NOT_FOUND,
    Conflict: POLICY_VIOLATION,
    Unavailable: TRY_AGAIN_LATER,
}

INBOUND_BYTES = 4_096
"""Larger frames of a client close its socket."""
AUTHORISE_SECONDS = 10.0
RECHECK_SECONDS = 60.0
"""How long a socket may outlive the right to it, should the word that it was taken away be missed (`aurora.bus.control`)."""
INBOUND_FRAMES, INBOUND_SECONDS = 60, 10.0
"""A client that says more in that time is no client of ours."""

_FAREWELLS = frozenset({1000, 1001, 1012})
"""Codes of a peer that leaves in order, and our own when we end."""
_LONGEST_REASON = 120  # a close frame holds 123 bytes of it


def close_code(error: AuroraError) -> int:
    """The contract's close code for an error's kind."""
    if isinstance(error, Denied) and error.is_anonymous:
        return NOT_SIGNED_IN
    return next(CODE_OF[kind] for kind in type(error).__mro__ if kind in CODE_OF)


async def refuse(send: Send, error: AuroraError) -> None:
    """Accepts and closes at once: the code of a socket that was never accepted does not reach a browser's script."""
    await send({"type": "websocket.accept"})
    reason = error.detail.encode()[:_LONGEST_REASON].decode(errors="ignore")
    await send({"type": "websocket.close", "code": close_code(error), "reason": reason})


def _object(text: str) -> dict[str, Any] | None:
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


class ChannelConsumer(AsyncConsumer):
    """A socket on one channel. It has no subscription of its own (`realtime.control` has one for all): a Redis that is away must not keep
    anybody from connecting or staying."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.client: Client | None = None
        self.broadcaster: Broadcaster | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.rechecks: asyncio.Task[None] | None = None
        self.has_joined = asyncio.Event()
        self.inbound, self.inbound_since = 0, 0.0

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        self.scope, self.base_send = scope, send
        try:
            await await_many_dispatch([receive, self._until_ended], self.dispatch)  # type: ignore[no-untyped-call]
        except StopConsumer:
            pass
        finally:
            await self._leave()

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        """As Channels' own, without its hop to a thread for every message: the one database call here closes its connection itself."""
        await getattr(self, get_handler_name(message))(message)  # type: ignore[no-untyped-call]

    async def websocket_connect(self, _message: Mapping[str, Any]) -> None:
        try:
            self.client = await self._join()
        except AuroraError as error:
            metrics.REFUSED.labels(self.channel.name, str(close_code(error))).inc()
            await self._send_or_stop(refuse(self.base_send, error))
            raise StopConsumer from None
        self.has_joined.set()
        await self._send_or_stop(self.base_send({"type": "websocket.accept"}))
        self.client.start()

    async def websocket_receive(self, message: Mapping[str, Any]) -> None:
        """A client may ask for another `hello`, by which it knows that it is still served and where it stands, and that nothing before is missing. It
        has nothing else to say; a small JSON object now and then is let pass, so that one of a later version may speak."""
        if self.client is None or self.broadcaster is None:
            return
        text = message.get("text")
        size = len(message.get("bytes") or b"") if text is None else len(text.encode("utf-8", "replace"))
        if size > INBOUND_BYTES:
            self.client.drop("garbage", code=TOO_BIG, text="Frame too big")
        elif text is None:
            self.client.drop("garbage", code=POLICY_VIOLATION, text="Binary frames are not understood")
        elif (said := _object(text)) is None:
            self.client.drop("garbage", code=POLICY_VIOLATION, text="Not a JSON object")
        elif self._says_too_much():
            self.client.drop("garbage", code=POLICY_VIOLATION, text="Too many frames")
        elif said.get("type") == "hello":
            self.broadcaster.greet(self.client)

    async def websocket_disconnect(self, message: Mapping[str, Any]) -> None:
        # uvicorn calls a connection that was lost 1005 as well, and then has no reason to tell.
        has_said_farewell = message.get("code") in _FAREWELLS or (message.get("code") == 1005 and "reason" in message)
        if self.client is not None and not has_said_farewell:
            self.client.drop("gone")
        raise StopConsumer

    async def _join(self) -> Client:
        query = query_of(self.scope)
        caller = await self._caller(query)
        self.broadcaster = broadcaster.current()
        client = await self.broadcaster.join(
            self.channel,
            actor=caller.actor,
            send=self.base_send,
            write_now=self.scope.get("extensions", {}).get(WRITE_NOW, never),
            last_event_id=query.get("last_event_id", ""),
        )
        if caller.expires_at is not None:
            expire = partial(client.drop, "expired", code=NOT_SIGNED_IN, text="Credential expired")
            self.expiry = asyncio.get_running_loop().call_later(max(0.0, caller.expires_at - time.time()), expire)
        self.rechecks = asyncio.create_task(self._recheck(client, caller, query), name="ws-recheck")
        return client

    async def _caller(self, query: Query, earlier: Pass | None = None) -> Pass:
        try:
            async with asyncio.timeout(AUTHORISE_SECONDS):
                caller = await authenticate(self.scope, query, earlier=earlier)
        except TimeoutError:
            raise Unavailable("Signing in takes too long") from None
        caller.actor.require(self.channel.permission)
        return caller

    async def _recheck(self, client: Client, caller: Pass, query: Query) -> None:
        """Now and then, whether who was let in would still be: accounts are switched off, keys revoked, passwords and roles changed."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECHECK_SECONDS):
                    await client.doubted.wait()
            client.doubted.clear()
            try:
                caller = await self._caller(query, caller)
            except Unavailable:
                continue  # nobody is sent away because the database is
            except AuroraError as error:
                client.drop("revoked", code=close_code(error), text=error.detail)
                return
            client.types = self.channel.types_for(caller.actor)

    def _says_too_much(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self.inbound_since > INBOUND_SECONDS:
            self.inbound_since, self.inbound = now, 0
        self.inbound += 1
        return self.inbound > INBOUND_FRAMES

    async def _send_or_stop(self, sending: Any) -> None:
        try:
            await sending
        except (OSError, RuntimeError):
            # The peer hung up before it was answered.
            raise StopConsumer from None

    async def _until_ended(self) -> Mapping[str, Any]:
        """The broadcaster's word that it has dropped this client, in the form of a disconnect: a stalled peer never sends one."""
        await self.has_joined.wait()
        if self.client is not None:
            await self.client.ended.wait()
        return {"type": "websocket.disconnect"}

    async def _leave(self) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
        if self.rechecks is not None:
            self.rechecks.cancel()
        if self.client is not None:
            await self.client.leave()
        if self.broadcaster is not None:
            await self.broadcaster.settle()
