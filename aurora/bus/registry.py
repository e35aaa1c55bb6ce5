"""What `manage.py work` can run and which types of events there are: filled by the apps in `AppConfig.ready`, so that nothing here imports them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol


class Runner(Protocol):
    """Something that works until `stop` is set: a worker, the relay, the scheduler."""

    def run(self, stop: threading.Event) -> None: ...


_factories: dict[str, Callable[[], Runner]] = {}
_types: dict[str, set[str]] = {}


def register(name: str, factory: Callable[[], Runner]) -> None:
    """Makes `manage.py work NAME` run what `factory` builds. Raises ValueError for a name that is taken."""
    if _factories.setdefault(name, factory) is not factory:
        raise ValueError(f"a worker named {name!r} is registered already")


def names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_factories)


def build(name: str) -> Runner:
    """A new runner. Raises KeyError for an unknown name."""
    return _factories[name]()


def groups_on(stream: str) -> set[str]:
    """The groups of the registered workers that read the stream."""
    workers = (factory for factory in _factories.values() if getattr(factory, "stream", None) == stream)
    return {str(getattr(worker, "group", "")) for worker in workers}


def streams_in_order() -> set[str]:
    """The streams of which some registered worker handles each aggregate's events in their order."""
    return {str(getattr(worker, "stream", "")) for worker in _factories.values() if getattr(worker, "in_order", False)}


def declare_types(stream: str, types: Iterable[str]) -> None:
    """Says that events of these types may stand on `stream`. Once a stream has any, workers bury every other type."""
    _types.setdefault(stream, set()).update(types)


def is_known_type(stream: str, event_type: str) -> bool:
    """Whether the type was declared; true for everything on a stream for which nothing was."""
    return stream not in _types or event_type in _types[stream]
