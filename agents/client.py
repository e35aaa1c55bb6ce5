"""Asking an agent over A2A: any server that speaks protocol 1.0 or 0.3, by JSON-RPC or HTTP+JSON.

`ask` is for threads. The SDK is asynchronous: its conversations run on one event loop in a thread of its own (`agents.loop`), and the thoughts come back
to the thread that asks, which alone touches the database. The SDK's and httpx's errors become ours in `_ours`, and nowhere else.

An agent's address was set by an operator and is all that is ever connected to: interfaces that its card names are taken to be at that
address, redirects are not followed, and the proxy variables of the environment are not read.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from a2a.client import A2ACardResolver, Client, ClientCallContext, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientTimeoutError, AgentCardResolutionError
from a2a.types.a2a_pb2 import (
    AgentCard,
    Artifact,
    CancelTaskRequest,
    GetTaskRequest,
    Message,
    SendMessageRequest,
    StreamResponse,
    TaskState,
    TaskStatus,
)
from a2a.types.a2a_pb2 import Task as RemoteTask
from a2a.utils import errors as theirs
from a2a.utils.constants import TransportProtocol

from agents import envelope, loop
from agents.builtin.contract import Output, Task, Think
from aurora.errors import AuroraError, Conflict, Invalid, RateLimited, Unavailable
from aurora.observability.tracing import current_traceparent
from aurora.texts import storable

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MOST_THOUGHTS, MOST_FINDINGS = 500, 200
"""Of one answer: each is a line of the investigation's log, and is written while the caller waits."""
CANCEL_SECONDS = 2.0
"""How long a task that nobody waits for may take to be cancelled, behind the caller's back."""
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.2, 2.0
OLD_CARD = "/.well-known/agent.json"

_WORKING = frozenset({TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_UNSPECIFIED})
_WRONG_TASK = (
    theirs.InvalidParamsError,
    theirs.InvalidRequestError,
    theirs.ContentTypeNotSupportedError,
    theirs.ExtensionSupportRequiredError,
    theirs.UnsupportedOperationError,
)
_COMES_AGAIN = frozenset({408, 425})

log = structlog.get_logger(__name__)


class AgentFault(Unavailable):
    """The agent is at fault: refused, reset, silent, garbled, answered with a 5xx, or said itself that it failed."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an agent is, and what it asks for."""

    endpoint: str
    bearer: str = field(default="", repr=False)


def ask(*, address: Address, task: Task, think: Think, timeout: float, subject: str = "") -> Output:
    """The agent's answer. `subject` is what the task is about, in words; `think` is called in this thread, as the thoughts come. `timeout` is in seconds, for all of it.

    Raises AgentFault; Invalid and Conflict for what is wrong on our side; RateLimited. Whatever ends it early cancels the agent's task.
    """
    thoughts: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
    conversation = _Conversation(address, envelope.message_of(task, subject=subject), thoughts)
    future = loop.submit(conversation.hold(timeout))
    future.add_done_callback(lambda _: thoughts.put(None))
    try:
        while (thought := thoughts.get()) is not None:
            think(*thought)
        return future.result()
    finally:
        future.cancel()


def greet(*, address: Address, timeout: float) -> str:
    """The agent's name, by its card. Raises what `ask` does."""
    return loop.submit(_greet(address, timeout)).result()


async def _greet(address: Address, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            return storable((await _card_of(address)).name, 200)
    except Exception as error:
        raise _ours(error, seconds) from error


@dataclass
class _Conversation:
    """One task with one agent, from the card to the answer. Lives on the loop."""

    address: Address
    message: Message
    thoughts: queue.SimpleQueue[tuple[str, dict[str, Any]] | None]
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    status: TaskStatus | None = None
    remote_id: str = ""
    thought: int = 0

    async def hold(self, seconds: float) -> Output:
        client: Client | None = None
        try:
            async with asyncio.timeout(seconds):
                client = _client_of(await _card_of(self.address), self.address)
                return await self._answer(client)
        except BaseException as error:
            if client is not None and self.remote_id and self._is_working():
                _in_background(self._cancel(client))
            if not isinstance(error, Exception):
                raise
            raise _ours(error, seconds) from error

    async def _answer(self, client: Client) -> Output:
        request = SendMessageRequest(message=self.message)
        async for event in _all(client, request, self._context()):
            if event.HasField("message"):
                return _output(list(event.message.parts))
            self._take(event)
        await self._poll(client)
        return self._judge()

    def _take(self, event: StreamResponse) -> None:
        if event.HasField("task"):
            self._take_task(event.task)
        elif event.HasField("status_update"):
            self.remote_id = event.status_update.task_id
            self._take_status(event.status_update.status)
        elif event.HasField("artifact_update"):
            update = event.artifact_update
            known = self.artifacts.get(update.artifact.artifact_id)
            if known is not None and update.append:
                known.parts.extend(update.artifact.parts)
            else:
                self.artifacts[update.artifact.artifact_id] = update.artifact

    def _take_task(self, task: RemoteTask) -> None:
        self.remote_id = task.id
        self.artifacts |= {artifact.artifact_id: artifact for artifact in task.artifacts}
        self._take_status(task.status)

    def _take_status(self, status: TaskStatus) -> None:
        is_news = self.status is None or status.message != self.status.message
        self.status = status
        if is_news and self._is_working() and status.HasField("message") and self.thought < MOST_THOUGHTS:
            text, data = envelope.thought_of(status.message)
            if text:
                self.thought += 1
                self.thoughts.put((text, data))

    def _is_working(self) -> bool:
        return self.status is None or self.status.state in _WORKING

    async def _poll(self, client: Client) -> None:
        """A server that does not stream, or whose stream ended early, is asked until it is done; the time limit is the caller's."""
        wait = FIRST_POLL_SECONDS
        while self._is_working():
            if not self.remote_id:
                raise AgentFault("The agent answered with nothing")
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_POLL_SECONDS)
            self._take_task(await client.get_task(GetTaskRequest(id=self.remote_id), context=self._context()))

    def _judge(self) -> Output:
        assert self.status is not None  # noqa: S101 - `_poll` has waited for it
        state, said = self.status.state, list(self.status.message.parts)
        words = storable(" ".join(part.text for part in said if part.text), 300)
        if state == TaskState.TASK_STATE_COMPLETED:
            return _output([part for artifact in self.artifacts.values() for part in artifact.parts] or said)
        if state == TaskState.TASK_STATE_REJECTED:
            raise Invalid(words or "The agent does not take the task")
        if state in (TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_AUTH_REQUIRED):
            raise Invalid(f"The agent asks for more than a task holds: {words}")
        raise AgentFault(words or f"The agent ended the task as {TaskState.Name(state)}")

    async def _cancel(self, client: Client) -> None:
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await client.cancel_task(CancelTaskRequest(id=self.remote_id), context=self._context())
        except Exception as error:  # noqa: BLE001 - nobody waits for it; an agent that hangs may well hang here too
            log.debug("agent_task_not_cancelled", task_id=self.message.message_id, error=type(error).__name__)

    def _context(self) -> ClientCallContext:
        return ClientCallContext(service_parameters=_headers(self.address))


class _Bounded(httpx.AsyncBaseTransport):
    """Reads at most `MAX_ANSWER_BYTES` of one answer, and nothing compressed, which could unfold to any size."""

    def __init__(self) -> None:
        # HTTP/1.1 without retries of its own: trying again is the dispatch's business.
        self._inner = httpx.AsyncHTTPTransport(verify=ssl.create_default_context(), trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx.RemoteProtocolError("The answer is compressed although nobody asked for that", request=request)
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - an asynchronous transport's always is
        response.stream = _BoundedStream(response.stream, request)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, request: httpx.Request) -> None:
        self._inner, self._request = inner, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise httpx.RemoteProtocolError("The answer is too large", request=self._request)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _card_of(address: Address) -> AgentCard:
    resolver = A2ACardResolver(_http(), address.endpoint)
    headers = {"headers": _headers(address)}
    try:
        return await resolver.get_agent_card(http_kwargs=headers)
    except AgentCardResolutionError as error:
        if error.status_code != httpx.codes.NOT_FOUND:
            raise
        return await resolver.get_agent_card(OLD_CARD, http_kwargs=headers)


def _headers(address: Address) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {address.bearer}"} if address.bearer else {}
    if traceparent := current_traceparent():
        headers["traceparent"] = traceparent
    return headers


def _client_of(card: AgentCard, address: Address) -> Client:
    """Raises Conflict when the agent speaks nothing that we do."""
    ours = urlsplit(address.endpoint)
    for interface in card.supported_interfaces:
        named = urlsplit(interface.url)
        interface.url = named._replace(scheme=ours.scheme, netloc=ours.netloc).geturl()
    config = ClientConfig(
        httpx_client=_http(), supported_protocol_bindings=[TransportProtocol.JSONRPC, TransportProtocol.HTTP_JSON]
    )
    try:
        return ClientFactory(config).create(card)
    except ValueError as error:
        raise Conflict(f"The agent's card offers nothing that we speak: {error}") from None


async def _all(
    client: Client, request: SendMessageRequest, context: ClientCallContext
) -> AsyncIterator[StreamResponse]:
    stream = client.send_message(request, context=context)
    async for event in stream:
        yield event


def _output(parts: list[Any]) -> Output:
    output = envelope.output_of(parts)
    if output is None:
        raise AgentFault("The agent answered with nothing")
    if len(output.findings) > MOST_FINDINGS:
        raise AgentFault(f"The agent answered with {len(output.findings)} findings; at most {MOST_FINDINGS} are taken")
    return output


def _ours(error: Exception, seconds: float) -> Exception:
    """The one place where foreign errors become ours."""
    if isinstance(error, AuroraError):
        return error
    if isinstance(error, (TimeoutError, A2AClientTimeoutError, httpx.TimeoutException)):
        return AgentFault(f"no answer within {seconds:g} s")
    status = _status_of(error)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Conflict("The agent's service does not take the bearer that is set for it")
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimited("The agent's service limits its callers")
    if isinstance(error, AgentCardResolutionError) and status is not None and 400 <= status < 500:
        return Conflict(f"There is no agent at the endpoint: HTTP {status}")
    if isinstance(error, _WRONG_TASK) or (status is not None and 400 <= status < 500 and status not in _COMES_AGAIN):
        return Invalid(storable(f"The agent's service refused the task: {error}", 300))
    return AgentFault(storable(f"{type(error).__name__}: {error}", 300))


def _status_of(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, httpx.HTTPStatusError):
            return error.response.status_code
        error = error.__cause__
    return None


_background: set[asyncio.Task[None]] = set()


def _http() -> httpx.AsyncClient:
    """The loop's one client: connections are kept, whoever the agent is."""
    return _http_of(asyncio.get_running_loop())


@functools.lru_cache(maxsize=1)
def _http_of(_loop: asyncio.AbstractEventLoop) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=_Bounded(),
        headers={"Accept-Encoding": "identity", "User-Agent": "AuroraSOC"},
        timeout=None,  # noqa: S113 - each conversation has its limit, over all of its requests
        follow_redirects=False,
        trust_env=False,
    )


def _in_background(work: Any) -> None:
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_background.discard)
