"""What a web process does before its first request, so that none of its callers waits for it."""

from __future__ import annotations

import gc

from django.urls import get_resolver

from aurora.standin import opened

_NEW_OBJECTS = 10_000
"""So many more objects than before make Python look for garbage; its own 700 are reached several times by one page of a list."""


def warm_up() -> None:
    """Imports all views, makes the showcase, and has the garbage collector pass over what stays for good: going through it takes 0.1 s and more,
    in which every request stands still."""
    _ = get_resolver().url_patterns
    opened.prepare()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
