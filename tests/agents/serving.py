"""Servers of the test's own: an ASGI application on a real socket, and a foreign agent written with the SDK alone."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import uvicorn
from a2a.helpers.proto_helpers import new_data_part, new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.types import ASGIApp

from tests.waiting import until


@contextmanager
def serving(make: Callable[[str], ASGIApp], *, certificate: Path | None = None) -> Iterator[str]:
    """Serves the application that `make` builds for its address, until the block ends; over TLS with a certificate (and key in one file)."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"{'https' if certificate else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            make(url),
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started)
            yield url
        finally:
            server.should_exit = True
            thread.join()


def self_signed(folder: Path) -> Path:
    """A certificate for this machine that nobody vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "self-signed.pem"
    path.write_bytes(plain + certificate.public_bytes(pem))
    return path


class ForeignExecutor(AgentExecutor):
    """Thinks once and answers in words, as the SDK's own examples do; a prompt may ask it for something else."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.headers: list[dict[str, str]] = []
        self.data: list[Any] = []

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message
        self.headers.append(context.call_context.state["headers"])
        await event_queue.enqueue_event(context.current_task or new_task_from_user_message(context.message))
        updater = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        prompt = context.get_user_input()
        await updater.start_work(updater.new_agent_message([new_text_part("I look at it")]))
        if prompt == "hang":
            await asyncio.sleep(3600)
        if prompt == "chatter":
            for number in range(300):
                await updater.start_work(updater.new_agent_message([new_text_part(f"I go on: {number}")]))
        words = updater.new_agent_message([new_text_part(f"I do not like: {prompt}")])
        if prompt == "fail":
            await updater.failed(words)
        elif prompt == "reject":
            await updater.reject(words)
        elif prompt == "ask":
            await updater.requires_input(words)
        else:
            answer = [new_text_part(f"I saw: {prompt}"), *map(new_data_part, self.data)]
            await updater.add_artifact(answer, name="answer")
            await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.cancelled.set()
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


def foreign(
    executor: AgentExecutor, url: str, *, version: str = "1.0", binding: str = "JSONRPC", streams: bool = True
) -> ASGIApp:
    """A foreign agent that speaks one version by one binding; its card names the host by which it knows itself."""
    itself = url.replace("127.0.0.1", "agent.internal")
    card = AgentCard(
        name="Foreign",
        description="Knows nothing of us.",
        version="7",
        supported_interfaces=[AgentInterface(url=itself, protocol_binding=binding, protocol_version=version)],
        capabilities=AgentCapabilities(streaming=streams),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="look", name="Look", description="Looks.", tags=["x"])],
    )
    handler = DefaultRequestHandler(agent_executor=executor, task_store=InMemoryTaskStore(), agent_card=card)
    is_old = version == "0.3"
    routes = (
        create_jsonrpc_routes(handler, "/", enable_v0_3_compat=is_old)
        if binding == "JSONRPC"
        else create_rest_routes(handler, enable_v0_3_compat=is_old)
    )
    return Starlette(routes=[*create_agent_card_routes(card), *routes])
