"""The base of every API view: declared permissions, input checked by pydantic, output as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from pydantic import BaseModel, ValidationError
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from aurora import dry_run
from aurora.actors import Actor
from aurora.errors import Denied, Invalid, Missing
from aurora.ids import uuid_or_none
from aurora.resilience import availability
from aurora.resilience.availability import DatabaseUnavailable
from aurora.resilience.ratelimit import Decision
from aurora.rest import limits, showcase
from aurora.rest.bodies import checked, validated
from aurora.rest.calls import JSON, Call
from aurora.rest.limit_headers import headers_for
from aurora.rest.permissions import PUBLIC
from aurora.rest.problems import problems_of
from aurora.rest.renderers import JsonRenderer
from aurora.rest.schemas import NoQuery
from aurora.standin import kept, opened, source
from aurora.standin.source import SAFE

Model = TypeVar("Model", bound=BaseModel)


class JsonWhateverIsAccepted(BaseContentNegotiation):
    """There is one form of every answer (RFC 9110, 12.5.1 lets a server send it to those who ask for another), and `?format=` is a parameter like any."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ApiView(APIView):
    """A resource. Per method, `permissions` says who may call it, `limits` which quotas a call uses up, `calls` what it takes and answers.

    `path_types` has the types of path parameters for the OpenAPI schema; those named `…_id` are UUIDs without it.
    """

    permissions: ClassVar[Mapping[str, str | tuple[str, ...]]] = {}
    limits: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    calls: ClassVar[Mapping[str, Call]] = {}
    path_types: ClassVar[Mapping[str, Any]] = {}
    taken_while_down: ClassVar[frozenset[str]] = frozenset()
    """Methods other than reading that are answered although PostgreSQL is away: intake, which is put on disk."""
    kept_in_dry_run: ClassVar[frozenset[str]] = frozenset()
    """Methods other than reading that a dry run does not take back: they are no change of an analyst's, or preview by themselves."""
    is_export: ClassVar[bool] = False
    """What leaves the house for others to act on is never made of fixtures."""
    shows_rows_alone: ClassVar[bool] = False
    """What GET answers follows from rows, path and query: not from the caller, the clock or anything outside. While a store stands in, it is made once."""
    http_method_names = ("get", "post", "put", "patch", "delete", "head")
    content_negotiation_class = JsonWhateverIsAccepted

    _decision: Decision | None = None
    _is_preview = False

    @property
    def actor(self) -> Actor:
        """The caller, once the declared permission let it in."""
        user = self.request.user
        assert isinstance(user, Actor)  # noqa: S101 - DeclaredPermission admitted nobody else
        return user

    def body(self, model: type[Model]) -> Model:
        """The request's JSON body as `model`. Raises Invalid in pydantic's words; UnsupportedMediaType for anything but JSON."""
        assert self._call is None or model is self._call.model  # noqa: S101 - what is read is what was declared
        self.require_media_type(lambda media_type: media_type in (JSON, ""))
        body = self.request._request.body
        if not body and self._call is not None and self._call.is_body_optional:
            return model()
        return validated(model, body)

    def query(self, model: type[Model]) -> Model:
        """The query parameters as `model`; of a repeated one the last counts, as in FastAPI."""
        assert self._call is None or model is (self._call.query or NoQuery)  # noqa: S101 - as above
        try:
            return checked(model, self.request.query_params.dict())
        except ValidationError as error:
            raise Invalid(problems=problems_of(error, "query")) from None

    def require_media_type(self, is_taken: Callable[[str], bool]) -> None:
        """Raises UnsupportedMediaType unless the body's type, without its parameters and in small letters, is taken."""
        media_type = (self.request.content_type or "").partition(";")[0].strip().lower()
        if not is_taken(media_type):
            raise UnsupportedMediaType(media_type)

    @property
    def _call(self) -> Call | None:
        method = self.request.method or ""
        return self.calls.get("GET" if method == "HEAD" else method)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # Taken for what it packs, a compressed body would be unreadable text: lines of it, even.
        if request.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
            raise UnsupportedMediaType(request.headers["Content-Encoding"])
        if self._call is not None and self._call.query is None:
            self.query(NoQuery)
        self._require_served()
        name = (request.method or "").lower()
        if name == "get" and self.shows_rows_alone and source.current() in source.STORES:
            setattr(self, name, _made_once(getattr(self, name)))
        if dry_run.is_on() and self.is_taken_back():
            self._is_preview = True
            setattr(self, name, _previewed(getattr(self, name, self.http_method_not_allowed)))

    def is_taken_back(self) -> bool:
        """Whether a dry run keeps nothing of this call. Signing in and out is kept: it changes nothing but who is there."""
        method = self.request.method or ""
        return method not in SAFE and self.permissions.get(method) != PUBLIC and method not in self.kept_in_dry_run

    def _require_served(self) -> None:
        """Raises DatabaseUnavailable or Denied for what cannot be done as things stand."""
        method = self.request.method or ""
        if method in SAFE:
            if self.is_export and source.current() == source.DEMO:
                raise DatabaseUnavailable("nothing is exported from the showcase")
        elif self.permissions.get(method) != PUBLIC:
            if settings.MODE == "demo":
                raise Denied("This is a showcase: nothing can be changed")
            if method not in self.taken_while_down:
                availability.database.require_writable()

    def perform_authentication(self, request: Request) -> None:
        """DRF's. A wrong token or key counts against its address. Raises RateLimited or Unavailable instead of Denied when there were too many."""
        try:
            super().perform_authentication(request)
        except Denied as error:
            self._decision = limits.spend_if_guess(request._request, error)
            if self._decision is not None:
                limits.require_room(self._decision, is_intake=limits.INGEST in self._quotas())
            raise

    def check_throttles(self, request: Request) -> None:
        """DRF's place for quotas, after identity and permission: spends what the call costs. Raises RateLimited, Unavailable."""
        names = self._quotas()
        self._decision = limits.spend(request._request, names, request.user)
        limits.require_room(self._decision, is_intake=limits.INGEST in names)

    def _quotas(self) -> Sequence[str]:
        return self.limits.get(self.request.method or "", ("general",))

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if source.current() == source.DEMO and isinstance(response, Response) and response.status_code < 400:
            response.data = showcase.marked(response.data)
        answer = super().finalize_response(request, response, *args, **kwargs)
        if self._is_preview:
            answer.headers[dry_run.HEADER] = dry_run.MODE
        if self._decision is not None:
            for name, value in headers_for(self._decision).items():
                answer.headers.setdefault(name, value)
        return answer


def _made_once(handler: Callable[..., Response]) -> Callable[..., HttpResponse]:
    store = source.current()

    def read(request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        def make() -> bytes:
            data = handler(request, *args, **kwargs).data
            return JsonRenderer().render(showcase.marked(data) if store == source.DEMO else data)

        question = (opened.edition(store), request._request.get_full_path())
        return HttpResponse(kept.answer(question, make), content_type=JSON)

    return read


def _previewed(handler: Callable[..., Response]) -> Callable[..., Response]:
    def taken_back(request: Request, *args: Any, **kwargs: Any) -> Response:
        with dry_run.preview():
            return handler(request, *args, **kwargs)

    return taken_back


def uuid_of(text: str) -> UUID:
    """An id from a path. Raises Missing: what is no UUID is the id of nothing."""
    found = uuid_or_none(text)
    if found is None:
        raise Missing
    return found
