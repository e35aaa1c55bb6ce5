"""Our client against servers written with the official SDK alone, and against servers that are none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import orjson
import pytest
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agents import client, envelope
from agents.builtin.contract import Task
from agents.client import Address, AgentFault
from aurora.errors import AuroraError, Conflict, Invalid, RateLimited
from aurora.ids import new_id
from aurora.observability.tracing import span
from tests.agents.serving import ForeignExecutor, foreign, self_signed, serving
from tests.factories import make_alert
from tests.names import unresolved

CARD = "/.well-known/agent-card.json"
Start = Callable[..., str]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda make: stack.enter_context(serving(make))


def a_task(prompt: str = "the beacon") -> Task:
    return Task(str(new_id()), "threat_hunter", prompt, None, None, {})


def ask(url: str, prompt: str = "the beacon", *, timeout: float = 30.0, bearer: str = ""):
    thoughts: list[str] = []
    output = client.ask(
        address=Address(url, bearer), task=a_task(prompt), think=lambda text, _: thoughts.append(text), timeout=timeout
    )
    return output, thoughts


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_it_speaks_to_any_server_at_each_version_and_binding(start, version, binding):
    url = start(lambda url: foreign(ForeignExecutor(), url, version=version, binding=binding))
    output, thoughts = ask(url)
    assert output.summary == "I saw: the beacon"
    assert thoughts == ["I look at it"]


@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_a_server_that_does_not_stream_is_asked_until_it_is_done(start, version):
    url = start(lambda url: foreign(ForeignExecutor(), url, version=version, streams=False))
    assert ask(url)[0].summary == "I saw: the beacon"


@pytest.mark.parametrize(("prompt", "kind"), [("fail", AgentFault), ("reject", Invalid), ("ask", Invalid)])
def test_what_the_agent_says_of_the_task_becomes_ours(start, prompt, kind):
    url = start(lambda url: foreign(ForeignExecutor(), url))
    with pytest.raises(kind, match=f"I do not like: {prompt}"):
        ask(url, prompt)


def test_a_task_that_takes_too_long_is_cancelled_at_the_agent(start):
    executor = ForeignExecutor()
    url = start(lambda url: foreign(executor, url))
    with pytest.raises(AgentFault, match="no answer within 1 s"):
        ask(url, "hang", timeout=1.0)
    assert executor.cancelled.wait(30)


def test_who_breaks_off_leaves_nothing_running(start):
    executor = ForeignExecutor()
    url = start(lambda url: foreign(executor, url))

    def interrupted(_text, _data):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.ask(address=Address(url), task=a_task("hang"), think=interrupted, timeout=30)
    assert executor.cancelled.wait(30)


def test_bearer_and_trace_travel_along(start):
    executor = ForeignExecutor()
    url = start(lambda url: foreign(executor, url))
    with span("asking") as current:
        ask(url, bearer="s3cret")
    trace_id = trace.format_trace_id(current.get_span_context().trace_id)
    assert executor.headers[0]["authorization"] == "Bearer s3cret"
    assert trace_id in executor.headers[0]["traceparent"]


def test_nothing_of_a_bearer_is_told(start):
    assert "s3cret" not in repr(Address("https://agent.example", "s3cret"))


def answering(status: int, body: object = None, headers: dict[str, str] | None = None) -> Callable[[str], Starlette]:
    async def answer(_request):
        return JSONResponse(body, status, headers=headers)

    return lambda _url: Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, AgentFault), (503, AgentFault), (401, Conflict), (403, Conflict), (404, Conflict), (429, RateLimited)],
)
def test_each_status_becomes_the_error_that_it_means(start, status, kind):
    with pytest.raises(kind):
        ask(start(answering(status)))


def test_a_redirect_is_not_followed(start):
    target = start(answering(200, {}))
    with pytest.raises(AuroraError):
        ask(start(answering(307, None, {"location": target})))


@pytest.mark.parametrize(
    "body", ["no card", [], {"name": "x"}, {"supportedInterfaces": 3}], ids=["text", "list", "bare", "wrong"]
)
def test_a_card_that_is_none_is_a_fault_or_a_conflict_never_a_crash(start, body):
    with pytest.raises((AgentFault, Conflict)):
        ask(start(answering(200, body)))


def test_an_answer_without_end_is_cut(start, monkeypatch):
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1000)
    with pytest.raises(AgentFault, match="too large"):
        ask(start(answering(200, {"name": "x" * 2000})))


def test_of_an_agent_that_thinks_without_end_the_first_thoughts_are_kept(start, monkeypatch):
    monkeypatch.setattr(client, "MOST_THOUGHTS", 20)
    output, thoughts = ask(start(lambda url: foreign(ForeignExecutor(), url)), "chatter")
    assert output.summary == "I saw: chatter"
    assert thoughts[:3] == ["I look at it", "I go on: 0", "I go on: 1"]
    assert len(thoughts) == 20


def test_an_answer_with_more_findings_than_anybody_reads_is_the_agents_fault(start):
    executor = ForeignExecutor()
    finding = {"title": "t", "detail": "d", "confidence": 0.5}
    executor.data = [{"summary": "s", "confidence": 0.5, "confidence_reason": "r", "findings": [finding] * 300}]
    with pytest.raises(AgentFault, match="300 findings"):
        ask(start(lambda url: foreign(executor, url)))


def test_a_compressed_answer_is_refused(start):
    async def answer(_request):
        return Response(b"x", headers={"content-encoding": "gzip"})

    with pytest.raises(AgentFault, match="compressed"):
        ask(start(lambda _url: Starlette(routes=[Route(CARD, answer)])))


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    executor = ForeignExecutor()
    with (
        serving(lambda url: foreign(executor, url), certificate=self_signed(tmp_path)) as url,
        pytest.raises(AgentFault, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        ask(url, bearer="s3cret")
    assert executor.headers == []


def test_nobody_there_is_a_fault():
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        with pytest.raises(AgentFault):
            ask(f"http://127.0.0.1:{unheard.getsockname()[1]}")


def test_a_server_that_accepts_and_says_nothing_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(AgentFault, match="no answer within"):
            ask(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)


def test_agents_whose_names_nobody_resolves_do_not_hold_up_the_others(start):
    url = start(lambda url: foreign(ForeignExecutor(), url)).replace("127.0.0.1", "localhost")
    lost = [threading.Thread(target=_ask_in_vain, args=("http://lost.example",)) for _ in range(16)]
    try:
        with unresolved("lost.example"):
            for thread in lost:
                thread.start()
            assert ask(url, timeout=5.0)[0].summary == "I saw: the beacon"
    finally:
        for thread in lost:
            thread.join()


def _ask_in_vain(url: str) -> None:
    with pytest.raises(AgentFault):
        ask(url, timeout=6.0)


def test_many_threads_ask_at_once(start):
    url = start(lambda url: foreign(ForeignExecutor(), url))
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(url)[0].summary)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["I saw: the beacon"] * 8


def test_an_envelope_survives_the_way_there():
    task = Task("t-1", "threat_hunter", "look", None, None, {"threat_intel": {"confidence": 0.5, "n": 3, "x": ["\0a"]}})
    found = envelope.task_of(envelope.message_of(task), agent_type="threat_hunter")
    assert found.earlier == {"threat_intel": {"confidence": 0.5, "n": 3, "x": ["\ufffda"]}}
    assert isinstance(found.earlier["threat_intel"]["n"], int)


@pytest.mark.parametrize("number", [1e30, -1e30, 2.0**63, 1e300, 1e18, 0.1, float("inf"), float("nan")])
def test_a_number_of_an_agents_can_be_kept_and_shown_again(db, number):
    kept = make_alert(metadata=envelope.cleaned({"n": number}))
    kept.refresh_from_db()
    orjson.dumps(kept.metadata)


def test_a_task_for_another_agent_is_refused():
    with pytest.raises(Invalid, match="not threat_hunter"):
        envelope.task_of(envelope.message_of(a_task()), agent_type="threat_intel")
