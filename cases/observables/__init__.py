"""Observables (indicators of compromise) as values: what one is, its canonical form, finding them in text.

No database here: what is stored, who sighted it and whether it is bad belong to `cases.iocs`.
"""

from __future__ import annotations

from cases.observables.fang import defang, refang
from cases.observables.shared import is_public_resolver, is_system_program
from cases.observables.text import extract
from cases.observables.values import (
    IOC_TYPES,
    MAX_VALUE_BYTES,
    Observable,
    canonical,
    classify,
    domain,
    email,
    file_hash,
    host_of,
    ip,
    is_internal_ip,
    url,
)

__all__ = [
    "IOC_TYPES",
    "MAX_VALUE_BYTES",
    "Observable",
    "canonical",
    "classify",
    "defang",
    "domain",
    "email",
    "extract",
    "file_hash",
    "host_of",
    "ip",
    "is_internal_ip",
    "is_public_resolver",
    "is_system_program",
    "refang",
    "url",
]
