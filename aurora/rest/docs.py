"""`GET /api/docs`: Swagger UI out of its package, under a policy that lets no script run but our own files."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

# Swagger UI sets styles on its elements and has images in its style sheet. The schema tells nothing of anybody's, and calls go to where the page came from.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(request: HttpRequest) -> HttpResponse:
    """The page. It needs no network beyond this server: the package has all of Swagger UI."""
    response = render(request, "api/docs.html")
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
