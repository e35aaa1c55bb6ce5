"""Dotted names that look like hosts and are files, packages, classes, fields or products."""

from __future__ import annotations

import re

# Endings that are real top-level domains, too: with two labels the name is a file far more often than a site.
_FILE_OR_TLD = re.compile(r"cab|cat|mov|md|pl|ps|pub|py|rs|sh|so|zip")
_FILE_ENDING = re.compile(
    r"7z|apk|aspx?|bat|bin|cfg|class|cmd|conf|cpl|csv|dat|db|dll|dmg|docm?|docx|elf|eml|exe|gif|gz|hta|html?"
    r"|img|ini|iso|jar|jpe?g|js|json|jsp|key|lnk|log|lua|msi|msg|ocx|pdf|php|png|ppt|ps1|psm1|rar|reg|rtf|scr"
    r"|service|sql|sys|tar|tgz|tmp|ts|txt|vbe|vbs|wsf|xlsm?|xlsx|xml|ya?ml"
)
_PACKAGE_ROOT = re.compile(r"com|org|net|edu|gov|io|javax?|sun|kotlin|androidx?")
_FIELD = re.compile(
    r"(?:agent|client|cloud|data|destination|device|dns|event|file|host|http|log|network|observer|process|registry"
    r"|rule|server|service|source|system|threat|url|user|winlog)\..*\b(?:computer|host|id|name|network|is|in|as)"
)
_PRODUCT = re.compile(r"(?:asp|vb|ado)\.net|node\.js|socket\.io")


def is_file_name(name: str, *, was_defanged: bool) -> bool:
    """Whether a bare dotted name is rather a file's than a host's."""
    stem, _, ending = name.lower().rpartition(".")
    if not stem or "/" in name:
        return False
    if _FILE_ENDING.fullmatch(ending):
        return True
    return "." not in stem and not was_defanged and _FILE_OR_TLD.fullmatch(ending) is not None


def is_code(name: str) -> bool:
    """Whether a dotted name is rather a package's, a class's, a field's or a product's than a host's."""
    first, *middle, last = name.split(".")
    if not last.islower() and not name.isupper():
        return True  # `System.IO`, or a sentence that begins right after a full stop
    lowered = name.lower()
    is_package = bool(middle) and _PACKAGE_ROOT.fullmatch(first.lower()) is not None
    return is_package or bool(_FIELD.fullmatch(lowered) or _PRODUCT.fullmatch(lowered))
