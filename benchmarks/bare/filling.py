"""Streams full of events, as the relay writes them. Needs no Django."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

DATA = '{"id":"0198c1de-7aa1-7bb0-8c2f-000000000001","title":"' + "x" * 240 + '","severity":"high"}'
_CHUNK = 1_000


def fill(client: Any, stream: str, count: int) -> None:
    """Puts `count` events of 300 bytes on the stream."""
    for start in range(0, count, _CHUNK):
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(start, min(count, start + _CHUNK)):
                pipeline.xadd(
                    stream,
                    {"id": str(uuid4()), "type": "bench.event", "timestamp": "", "data": DATA, "traceparent": ""},
                )
            pipeline.execute()
