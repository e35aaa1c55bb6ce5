"""How far a followed file has been stored, kept in the data directory, so that who follows it again goes on there.

Each stretch is announced here, with the receipt under which it is to be stored, before it is stored. Whoever was killed in between left both
ends of it, and PostgreSQL knows by the receipt which of them holds: nothing is stored twice, and nothing is passed over.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import orjson
from django.conf import settings

from aurora.errors import Invalid
from aurora.ids import new_id
from cases.feeding import Position
from cases.models import IngestReceipt


class Bookmark:
    """Of one file, as one source. Two who follow the same file at once are not kept apart."""

    def __init__(self, source: str, path: Path) -> None:
        self._about = {"source": source, "path": str(path.resolve())}
        name = hashlib.sha256(orjson.dumps(self._about)).hexdigest()[:32]
        self._path = Path(settings.DATA_DIR) / "followed" / f"{name}.json"
        self._stored: Position | None = None

    def position(self) -> Position | None:
        """Up to where the file is stored; None for one that was not followed yet. Raises Invalid for a bookmark that is none."""
        try:
            kept = orjson.loads(self._path.read_bytes())
            ends = [Position(**kept[name]) if kept[name] else None for name in ("stored", "next")]
            is_stored = IngestReceipt.objects.filter(pk=UUID(kept["receipt"])).exists()
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise Invalid(f"{self._path} is no bookmark: remove it, or follow with --from-beginning") from error
        self._stored = ends[1] if is_stored else ends[0]
        return self._stored

    def turn(self, end: Position) -> UUID:
        """Announces the stretch up to `end`; the receipt to store it under."""
        receipt = new_id()
        stored = asdict(self._stored) if self._stored else None
        kept = {**self._about, "stored": stored, "next": asdict(end), "receipt": receipt}
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(f".{os.getpid()}.new")
        with unfinished.open("wb") as file:
            file.write(orjson.dumps(kept))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)
        return receipt

    def stored(self, end: Position) -> None:
        """That the stretch up to `end` is stored."""
        self._stored = end
