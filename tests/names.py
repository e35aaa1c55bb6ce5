"""Names that no DNS resolves, for as long as a test likes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

_LONGEST = 60.0


@contextmanager
def unresolved(name: str) -> Iterator[threading.Event]:
    """While it lasts, whoever looks the name up waits. The event says that somebody waited a minute for the answer."""
    ends, waited_for, resolve = threading.Event(), threading.Event(), socket.getaddrinfo

    def resolved(host, *arguments, **options):
        if host in (name, name.encode()):
            if not ends.wait(_LONGEST):
                waited_for.set()
            raise socket.gaierror(f"{name} is not known")
        return resolve(host, *arguments, **options)

    with patch.object(socket, "getaddrinfo", resolved):
        try:
            yield waited_for
        finally:
            ends.set()
