"""Answers what reads from a stand-in store while PostgreSQL is away, the very request that finds out included, and refuses what writes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from aurora.resilience import availability
from aurora.resilience.availability import is_outage
from aurora.rest import problems
from aurora.standin import opened, source
from aurora.standin.source import SAFE

HEADER = "X-Aurora-Data-Source"
_NO_STORE = ("/health/", "/metrics", "/static/")
# Reading SQLite never waits for a server, but its driver lets go of the interpreter at each row and queues for it again behind every thread that
# computes: sixteen at once take half as much work on, and a list of fifty rows up to fifty turns of 5 ms longer.
_readers = threading.BoundedSemaphore(2)

log = structlog.get_logger(__name__)


class StandInMiddleware:
    """Around sessions and accounts. A read that meets the failure is done once more, from its beginning, on the store that stands in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in SAFE or request.path.startswith(_NO_STORE):
            return self._whatever_breaks(request, self.get_response(request))
        store = source.wanted()
        if store in source.STORES:
            return self._read(request, store)
        opened.release()
        response = self.get_response(request)
        if response.status_code < 500 or availability.database.standing.is_up:
            return self._whatever_breaks(request, response)
        store = source.stand_in()
        if store not in source.STORES:
            return self._whatever_breaks(request, response)
        response.close()
        log.info("read_again", store=store)
        _forget_caller(request)
        return self._read(request, store)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """A page's failure; the API's views have an answer of their own."""
        if not is_outage(error):
            return None
        log.warning("database_unavailable", error=str(error).strip()[:300])
        return unavailable(request)

    def _read(self, request: HttpRequest, store: str) -> HttpResponseBase:
        with _readers, source.reading_from(store):
            response = self._whatever_breaks(request, self.get_response(request))
        response.headers[HEADER] = store
        return response

    def _whatever_breaks(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Whatever broke because PostgreSQL is away, in other middleware too, is unavailable and no fault of the product."""
        if response.status_code == 500 and not availability.database.standing.is_up:
            return unavailable(request)
        return response


def unavailable(request: HttpRequest) -> HttpResponse:
    """The contract's 503: JSON below `/api/`, a page elsewhere."""
    if problems.is_of_the_api(request.path):
        return problems.unavailable()
    response = render(request, "503.html", {"is_change": request.method not in SAFE}, status=503)
    response.headers["Retry-After"] = str(problems.DATABASE_RETRY_SECONDS)
    return response


def refused_in_showcase(request: HttpRequest) -> HttpResponse:
    """For a page's change: an installation that shows fixtures has rows of its own behind them, which nobody sees change. The API says so itself."""
    return render(request, "showcase.html", status=403)


def _forget_caller(request: HttpRequest) -> None:
    """What Django keeps on a request of who sent it: that came from PostgreSQL, or did not come."""
    for name in ("_cached_user", "_acached_user", "_messages"):
        if hasattr(request, name):
            delattr(request, name)
