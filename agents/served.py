"""A built-in agent as an A2A service: what `manage.py serve_agent` serves.

One task is analysed once, however often it is asked for: a repetition joins the run that is under way, or gets the answer that is there.
A run ends when the last who asked has cancelled.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import orjson
import structlog
from a2a.helpers.proto_helpers import new_data_part, new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    HTTPAuthSecurityScheme,
    Message,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)
from a2a.types.a2a_pb2 import Task as A2ATask
from a2a.utils.constants import AGENT_CARD_WELL_KNOWN_PATH
from a2a.utils.errors import InvalidParamsError
from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.db import connection as database
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from agents import envelope
from agents.analysis_run import AnalysisRun
from agents.builtin import ANALYSES
from agents.builtin.contract import Output, Task
from agents.registry import OFFERED
from aurora.errors import AuroraError, Conflict, Unavailable
from aurora.observability import tracing

MAX_RUNS = 32
"""Analyses at once. More are refused: their callers try again, or ask another copy."""
MAX_ANSWERS = 256
"""Answers kept for repetitions, the oldest forgotten first."""
MAX_TASKS = 512
"""Tasks whose state can be asked for. More than can run at once, so that only ended ones are forgotten."""

_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})

log = structlog.get_logger(__name__)

Thought = tuple[str, dict[str, Any]]


def application(agent_type: str, *, url: str, bearer: str = "", max_body: int) -> ASGIApp:
    """The service: A2A 1.0 and 0.3 by JSON-RPC and HTTP+JSON, its card, and its health.

    `url` is where others reach it, as the card says. With `bearer` all but card and health ask for it.
    """
    card = card_of(agent_type, url=url, asks_bearer=bool(bearer))
    handler = DefaultRequestHandler(
        agent_executor=AnalysisExecutor(agent_type), task_store=LatestTasks(), agent_card=card
    )
    routes = [
        Route("/health/live", _live, methods=["GET"]),
        Route("/health/ready", _ready, methods=["GET"]),
        *create_agent_card_routes(card),
        *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True),
        *create_rest_routes(handler, enable_v0_3_compat=True),
    ]
    return Guard(Starlette(routes=routes), bearer=bearer, max_body=max_body)


def card_of(agent_type: str, *, url: str, asks_bearer: bool) -> AgentCard:
    """What the agent says of itself to whoever asks."""
    name, description = OFFERED[agent_type]
    bindings = [(binding, version) for version in ("1.0", "0.3") for binding in ("JSONRPC", "HTTP+JSON")]
    card = AgentCard(
        name=name,
        description=description,
        version="1.0",
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding=binding, protocol_version=version) for binding, version in bindings
        ],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=[AgentSkill(id=agent_type, name=name, description=description, tags=["security"])],
    )
    if asks_bearer:
        scheme = SecurityScheme(http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="bearer"))
        card.security_schemes["bearer"].CopyFrom(scheme)
        card.security_requirements.append(SecurityRequirement(schemes={"bearer": StringList()}))
    return card


class LatestTasks(InMemoryTaskStore):
    """The SDK's store, which forgets nothing until the process ends, without the tasks that nobody has written to for longest."""

    def __init__(self) -> None:
        super().__init__()
        self._latest: OrderedDict[str, ServerCallContext] = OrderedDict()

    async def save(self, task: A2ATask, context: ServerCallContext) -> None:
        await super().save(task, context)
        self._latest[task.id] = context
        self._latest.move_to_end(task.id)
        while len(self._latest) > MAX_TASKS:
            await self.delete(*self._latest.popitem(last=False))


class SharedRun:
    """One analysis and all who wait for it. Lives on the event loop; thoughts come in from the analysis's thread."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.followers = 0
        self._thoughts: list[Thought] = []
        self._news = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell(function: Callable[..., None], *arguments: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(function, *arguments)

        analysis = ANALYSES[task.agent_type]
        self._run = AnalysisRun(analysis, task, lambda text, data: tell(self._add, (text, data)))
        self.answer = asyncio.wrap_future(self._run.answer)
        self.answer.add_done_callback(lambda _: self._news.set())

    async def thoughts(self) -> AsyncIterator[Thought]:
        """Every thought from the first on, as they come, until the analysis has ended."""
        told = 0
        while True:
            while told < len(self._thoughts):
                yield self._thoughts[told]
                told += 1
            if self.answer.done():
                return
            self._news.clear()
            await self._news.wait()

    def leave(self) -> None:
        """One follower less; the last one takes the analysis with it."""
        self.followers -= 1
        if not self.followers and not self.answer.done():
            self.answer.cancel()
            self._run.give_up()

    def _add(self, thought: Thought) -> None:
        self._thoughts.append(thought)
        self._news.set()


class AnalysisExecutor(AgentExecutor):
    """Carries out what the SDK's handler is asked for."""

    def __init__(self, agent_type: str) -> None:
        self._agent_type = agent_type
        self._runs: dict[str, SharedRun] = {}
        self._answers: OrderedDict[str, tuple[Task, Output]] = OrderedDict()
        self._executing: dict[str, asyncio.Task[Any]] = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message, task_id, context_id = context.message, context.task_id or "", context.context_id or ""
        if message is None:
            raise InvalidParamsError
        await event_queue.enqueue_event(context.current_task or new_task_from_user_message(message))
        updater = TaskUpdater(event_queue, task_id, context_id)
        headers = context.call_context.state.get("headers", {})
        self._executing[task_id] = asyncio.current_task()  # type: ignore[assignment]
        try:
            with tracing.span(f"agent {self._agent_type}", traceparent=headers.get("traceparent", "")):
                await self._carry_out(message, updater)
        finally:
            self._executing.pop(task_id, None)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        executing = self._executing.pop(context.task_id or "", None)
        if executing is not None:
            executing.cancel()
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()

    async def _carry_out(self, message: Message, updater: TaskUpdater) -> None:
        try:
            task = envelope.task_of(message, agent_type=self._agent_type)
            await updater.start_work()
            output = await self._answer(task, updater)
        except Unavailable as error:
            await updater.failed(_words(updater, error.detail))
        except AuroraError as error:
            # The task is wrong and stays wrong, which is not the agent's failure.
            await updater.reject(_words(updater, error.detail))
        except Exception as error:  # the caller is told that it failed, the log why
            log.exception("agent_task_failed", agent_type=self._agent_type)
            await updater.failed(_words(updater, f"The analysis failed: {type(error).__name__}"))
        else:
            await updater.add_artifact(envelope.parts_of(output), name="answer", last_chunk=True)
            await updater.complete()

    async def _answer(self, task: Task, updater: TaskUpdater) -> Output:
        known = self._answers.get(task.task_id)
        if known is not None:
            if known[0] != task:
                _refuse_other(task)
            return known[1]
        run = self._join(task)
        try:
            async for text, data in run.thoughts():
                parts = [new_text_part(text), *([new_data_part(_plain(data))] if data else [])]
                await updater.start_work(updater.new_agent_message(parts))
            output = await asyncio.shield(run.answer)
        finally:
            run.leave()
            if run.answer.done() or not run.followers:
                self._runs.pop(task.task_id, None)
        self._remember(task, output)
        return output

    def _join(self, task: Task) -> SharedRun:
        run = self._runs.get(task.task_id)
        if run is None:
            if len(self._runs) >= MAX_RUNS:
                raise Unavailable("The agent is at its limit")
            run = self._runs[task.task_id] = SharedRun(task)
        elif run.task != task:
            _refuse_other(task)
        run.followers += 1
        return run

    def _remember(self, task: Task, output: Output) -> None:
        self._answers[task.task_id] = (task, output)
        while len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)


class Guard:
    """Before everything else: the bearer, and a bound on what is read."""

    def __init__(self, inner: ASGIApp, *, bearer: str, max_body: int) -> None:
        self._inner, self._bearer, self._max_body = inner, bearer.encode(), max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        if self._bearer and not self._is_open(scope["path"]) and not self._is_known(headers):
            refusal = JSONResponse({"detail": "Authentication required"}, 401, headers={"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
            return
        if scope["method"] in _WITH_BODY:
            body = await self._body(receive)
            if body is None:
                await JSONResponse({"detail": "The body is too large"}, 413)(scope, receive, send)
                return
            receive = _replayed(body, receive)
        await self._inner(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path.startswith("/health/") or path == AGENT_CARD_WELL_KNOWN_PATH

    def _is_known(self, headers: dict[bytes, bytes]) -> bool:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._bearer)

    async def _body(self, receive: Receive) -> bytes | None:
        """None for one that is too large."""
        chunks, size = [], 0
        while True:
            message = await receive()
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._max_body:
                return None
            if not message.get("more_body"):
                return b"".join(chunks)


def _replayed(body: bytes, receive: Receive) -> Receive:
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return pending.pop() if pending else await receive()

    return replay


def _refuse_other(task: Task) -> NoReturn:
    raise Conflict(f"The task {task.task_id} was asked for with another content")


def _words(updater: TaskUpdater, text: str) -> Message:
    return updater.new_agent_message([new_text_part(text)])


def _plain(data: dict[str, Any]) -> Any:
    """As the log of an investigation keeps it: dates and ids as text."""
    return orjson.loads(orjson.dumps(data, default=str))


async def _live(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "alive"})


async def _ready(_request: Request) -> JSONResponse:
    is_ready = await sync_to_async(_has_database)()
    return JSONResponse({"status": "up" if is_ready else "down"}, status_code=200 if is_ready else 503)


def _has_database() -> bool:
    try:
        with database.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True
