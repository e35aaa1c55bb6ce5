"""django-unfold's settings: the console's look. Read by settings before any app is loaded, so callables are named by string or made lazy."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static


def _logo(request: HttpRequest) -> str:
    return static("aurora/logo.svg")


def _favicon(request: HttpRequest) -> str:
    return static("aurora/favicon.svg")


def _login_image(request: HttpRequest) -> str:
    return static("aurora/login.svg")


def _tokens(request: HttpRequest) -> str:
    return static("aurora/tokens.css")


def _styles(request: HttpRequest) -> str:
    return static("aurora/console.css")


def _script(request: HttpRequest) -> str:
    return static("aurora/console.js")


def _standing(request: HttpRequest) -> str:
    return static("aurora/standing.js")


def _live(request: HttpRequest) -> str:
    return static("aurora/live.js")


# A blue-green, after the lights. 600 carries white text at 5.5:1, 500 stands on the dark ground at 7:1 (WCAG AA asks 4.5:1).
_PRIMARY = {
    "50": "#effcf9",
    "100": "#cbf7ec",
    "200": "#98eedb",
    "300": "#5cddc5",
    "400": "#34cfb6",
    "500": "#17b8a0",
    "600": "#0f766e",
    "700": "#115e59",
    "800": "#134e4a",
    "900": "#123f3d",
    "950": "#042f2e",
}
_BASE = {
    "50": "#f7f9fc",
    "100": "#eef2f7",
    "200": "#dfe5ee",
    "300": "#c7d0dd",
    "400": "#93a1b5",
    "500": "#5f6e84",
    "600": "#45526a",
    "700": "#2f3b50",
    "800": "#1b2536",
    "900": "#0f1726",
    "950": "#080d18",
}

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "AuroraSOC",
    "SITE_HEADER": "AuroraSOC",
    "SITE_SUBHEADER": "Security operations",
    "SITE_URL": None,
    "SITE_ICON": _logo,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "sizes": "any", "href": _favicon}],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "8px",
    "COLORS": {"primary": _PRIMARY, "base": _BASE},
    "STYLES": [_tokens, _styles],
    "SCRIPTS": [_script, _live, _standing],
    "LOGIN": {"image": _login_image, "form": "aurora.console.sign_in.SignInForm"},
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": "aurora.console.navigation.sidebar",
    },
}
