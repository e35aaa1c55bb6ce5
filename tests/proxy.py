"""A wire that can be cut: forwards a port or socket to a server, and on request refuses, resets, swallows or dribbles."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
import threading
from pathlib import Path
from typing import Any

DRIP_BYTES, DRIP_SECONDS = 48, 0.02


class Wire(enum.Enum):
    """What the wire does with what is sent over it."""

    WHOLE = "whole"
    REFUSED = "refused"
    """Nobody listens; what was open is reset."""
    BLACK_HOLE = "black hole"
    """Connections are taken and nothing ever arrives."""
    DRIP = "drip"
    """A few bytes at a time."""


class Proxy:
    """Listens at `path`, or at a free TCP port, for a server's Unix socket at `upstream`."""

    def __init__(self, upstream: Path, path: Path | None = None) -> None:
        self.upstream, self.path, self.port = upstream, path, 0
        self.wire = Wire.WHOLE
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def start(self) -> Proxy:
        self._thread.start()
        self._do(self._listen())
        return self

    def stop(self) -> None:
        self.set(Wire.REFUSED)
        self._do(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, wire: Wire) -> None:
        """From now on; returns when it is so."""
        self._do(self._set(wire))

    def reset(self) -> None:
        """Resets what is open, once."""
        self._do(self._reset())

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set(self, wire: Wire) -> None:
        before, self.wire = self.wire, wire
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if wire is Wire.REFUSED:
            if self._server is not None:
                self._server.close()
                self._server = None
            await self._reset()
        elif before is Wire.REFUSED:
            await self._listen()
        elif before is Wire.BLACK_HOLE:
            await self._reset()  # what was swallowed is lost: the streams are broken

    async def _listen(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._accept, str(self.path), backlog=512)
            return
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _reset(self) -> None:
        for writer in list(self._open):
            _abort(writer)

    async def _end_tasks(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            await self._passage()
            from_server, upstream = await asyncio.open_unix_connection(str(self.upstream))
            self._open.add(upstream)
            ends = [
                asyncio.create_task(self._pump(reader, upstream)),
                asyncio.create_task(self._pump(from_server, writer)),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the second is `stop`; asyncio complains of a connection's task that ends by it
        finally:
            for end_of_it in filter(None, (writer, upstream)):
                self._open.discard(end_of_it)
                _abort(end_of_it)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(65_536):
                await self._passage()
                while self.wire is Wire.DRIP and chunk:
                    piece, chunk = chunk[:DRIP_BYTES], chunk[DRIP_BYTES:]
                    sink.write(piece)
                    await sink.drain()
                    await asyncio.sleep(DRIP_SECONDS)
                sink.write(chunk)
                await sink.drain()

    async def _passage(self) -> None:
        """Waits while the wire swallows."""
        while self.wire is Wire.BLACK_HOLE:
            await self._changed.wait()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Closes with a reset, as a crashed peer's kernel does."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
