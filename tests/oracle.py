"""FastAPI as the oracle of invalid input: an application with the product's own models, whose lists of faults ours must equal."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast
from uuid import UUID

import httpx
from fastapi import Body, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from aurora.rest.schemas import NoQuery
from tests.promises import route_of
from tests.routes import Route, api_routes

ROUTES = [route for route in api_routes() if not re.search(r"users/me$", route.pattern)]
"""`/users/me` is `/users/{username}` to whoever sees only the patterns."""
_NAMES = {"agent_type": "threat_intel", "source": "generic"}


class Oracle:
    """The application, asked in an event loop of its own."""

    def __init__(self) -> None:
        application = FastAPI()
        application.add_exception_handler(RequestValidationError, _without_input)
        for route in ROUTES:
            application.add_api_route(route_of(route.pattern), _endpoint(route), methods=[route.method])
        self._transport = httpx.ASGITransport(application)
        self._runner = asyncio.Runner()

    def ask(self, method: str, path: str, body: bytes = b"", query: Mapping[str, str] | None = None) -> httpx.Response:
        """FastAPI's answer: 200 for what its models take, 422 with the list for what they do not."""
        headers = {"Content-Type": "application/json"}
        request = httpx.Request(method, f"http://oracle{path}", params=query, content=body, headers=headers)
        return self._runner.run(self._answer(request))

    def close(self) -> None:
        self._runner.close()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        await response.aread()
        return response


def path_of(route: Route, name: str | None = None) -> str:
    """The route's path, with ids of nothing; or with `name` in the place of each."""
    return "/" + re.sub(
        r"<\w+:(\w+)>", lambda found: name or _NAMES.get(str(found[1]), str(UUID(int=7))), route.pattern
    )


def _endpoint(route: Route) -> Any:
    async def accept(**_given: Any) -> str:
        return "accepted"

    cast(Any, accept).__signature__ = inspect.Signature(list(_parameters(route)))
    return accept


def _parameters(route: Route) -> Iterator[inspect.Parameter]:
    call = route.view.calls[route.method]
    for name in re.findall(r"<\w+:(\w+)>", route.pattern):
        kind = route.view.path_types.get(name, UUID if name.endswith("_id") else str)
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
    query: Any = Annotated[cast(Any, call.query or NoQuery), Query()]
    yield inspect.Parameter("query", inspect.Parameter.KEYWORD_ONLY, annotation=query)
    if call.model is not None:
        default = call.model() if call.is_body_optional else inspect.Parameter.empty
        body: Any = Annotated[cast(Any, call.model), Body()]
        yield inspect.Parameter("body", inspect.Parameter.KEYWORD_ONLY, annotation=body, default=default)


async def _without_input(_request: Request, error: Exception) -> Response:
    """The faults without what was sent: FastAPI's own handler fails to encode halves of surrogate pairs."""
    assert isinstance(error, RequestValidationError)
    faults = [{name: fault[name] for name in ("loc", "msg", "type")} for fault in error.errors()]
    return Response(json.dumps({"detail": faults}), status_code=422, media_type="application/json")
