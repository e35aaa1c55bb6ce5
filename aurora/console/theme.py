"""django-unfold's settings: the console's look."""

from __future__ import annotations

from typing import Any

UNFOLD: dict[str, Any] = {"SITE_TITLE": "AuroraSOC", "SITE_HEADER": "AuroraSOC"}
