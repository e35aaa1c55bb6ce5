"""A built-in agent as a service: asked by our client, by the SDK's, and by strangers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import trace

from agents import client, served
from agents.builtin import ANALYSES
from agents.builtin.contract import Output, Task
from agents.client import Address, AgentFault
from aurora.errors import Conflict, Invalid
from aurora.ids import new_id
from aurora.observability.tracing import span
from tests.agents.serving import serving
from tests.factories import make_alert
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

TYPE = "threat_hunter"
BEARER = "correct-horse"


@pytest.fixture
def url() -> Iterator[str]:
    with serving(lambda url: served.application(TYPE, url=url, max_body=100_000)) as address:
        yield address


@pytest.fixture
def guarded() -> Iterator[str]:
    with serving(lambda url: served.application(TYPE, url=url, bearer=BEARER, max_body=100_000)) as address:
        yield address


@pytest.fixture
def analysis(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda function: monkeypatch.setitem(ANALYSES, TYPE, function)


def a_task(**fields: Any) -> Task:
    return Task(
        **{
            "task_id": str(new_id()),
            "agent_type": TYPE,
            "prompt": "hunt",
            "alert_id": None,
            "case_id": None,
            "earlier": {},
        }
        | fields
    )


def ask(url: str, task: Task | None = None, *, bearer: str = "", timeout: float = 30.0):
    thoughts: list[tuple[str, dict[str, Any]]] = []
    output = client.ask(
        address=Address(url, bearer),
        task=task or a_task(),
        think=lambda *thought: thoughts.append(thought),
        timeout=timeout,
    )
    return output, thoughts


def an_output(summary: str = "found") -> Output:
    return Output(summary, 0.5, "counted")


def test_a_served_agent_answers_as_the_same_agent_in_process(url):
    alert = make_alert(iocs=["203.0.113.77"], affected_assets=["web-03"])
    make_alert(iocs=["203.0.113.77"])
    task, here = a_task(alert_id=str(alert.id), case_id=None), []
    output, thoughts = ask(url, task)
    assert output.as_json() == ANALYSES[TYPE](task, lambda text, data: here.append(text)).as_json()
    assert [text for text, _ in thoughts] == here


def test_thoughts_come_while_the_agent_still_thinks(url, analysis):
    go_on, heard = threading.Event(), threading.Event()

    def slow(_task, think):
        think("first", {"n": 1})
        assert go_on.wait(30)
        return an_output()

    analysis(slow)

    def think(text, data):
        assert (text, data) == ("first", {"n": 1})
        heard.set()
        go_on.set()

    client.ask(address=Address(url), task=a_task(), think=think, timeout=30)
    assert heard.is_set()


def test_a_task_asked_for_twice_is_analysed_once(url, analysis):
    runs: list[str] = []

    def counted(task, _think):
        runs.append(task.task_id)
        return an_output(f"run {len(runs)}")

    analysis(counted)
    task = a_task()
    assert [ask(url, task)[0].summary for _ in range(2)] == ["run 1", "run 1"]
    assert len(runs) == 1


def test_what_was_asked_long_ago_is_forgotten(analysis, monkeypatch):
    monkeypatch.setattr(served, "MAX_TASKS", 3)
    store = served.LatestTasks()
    monkeypatch.setattr(served, "LatestTasks", lambda: store)
    analysis(lambda _task, _think: an_output())
    with serving(lambda url: served.application(TYPE, url=url, max_body=100_000)) as url:
        for _ in range(8):
            ask(url)
    assert [len(kept) for kept in store._impl.tasks.values()] == [3]
    assert len(store._latest) == 3


def test_a_repetition_joins_the_run_that_is_under_way(url, analysis):
    runs, go_on, answers = [], threading.Event(), []

    def slow(task, think):
        runs.append(task.task_id)
        think("at it", {})
        assert go_on.wait(30)
        return an_output()

    analysis(slow)
    task = a_task()
    heard: list[str] = []

    def follow():
        answers.append(
            client.ask(address=Address(url), task=task, think=lambda text, _: heard.append(text), timeout=60)
        )

    threads = [threading.Thread(target=follow) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(heard) == 2)
    go_on.set()
    for thread in threads:
        thread.join()
    assert (len(runs), len(answers), heard) == (1, 2, ["at it", "at it"])


def test_another_task_under_the_same_id_is_refused(url, analysis):
    analysis(lambda _task, _think: an_output())
    task_id = str(new_id())
    ask(url, a_task(task_id=task_id))
    with pytest.raises(Invalid, match="another content"):
        ask(url, a_task(task_id=task_id, prompt="something else"))


def test_a_cancelled_task_ends_its_analysis_at_the_next_thought(url, analysis):
    told, ended = threading.Event(), threading.Event()

    def endless(_task, think):
        try:
            while True:
                think("still at it", {})
                told.wait(0.01)
        finally:
            ended.set()

    analysis(endless)
    with pytest.raises(AgentFault, match="no answer within"):
        ask(url, timeout=0.5)
    assert ended.wait(30)


def test_what_is_wrong_with_a_task_is_not_the_agents_failure(url):
    with pytest.raises(Invalid):
        ask(url, a_task(alert_id=str(new_id())))


def test_a_failing_analysis_is_a_fault_and_its_words_stay_at_home(url, analysis):
    def broken(_task, _think):
        raise RuntimeError("SELECT secret FROM vault")

    analysis(broken)
    with pytest.raises(AgentFault, match="RuntimeError") as caught:
        ask(url)
    assert "vault" not in str(caught.value)


def test_more_than_it_can_do_is_refused(url, analysis, monkeypatch):
    monkeypatch.setattr(served, "MAX_RUNS", 0)
    with pytest.raises(AgentFault, match="limit"):
        ask(url)


def test_the_trace_goes_on_in_the_agent(url, analysis):
    seen: list[int] = []

    def traced(_task, _think):
        seen.append(trace.get_current_span().get_span_context().trace_id)
        return an_output()

    analysis(traced)
    with span("asking") as current:
        ask(url)
    assert seen == [current.get_span_context().trace_id]


def test_the_bearer_is_asked_for_everywhere_but_at_card_and_health(guarded, analysis):
    analysis(lambda _task, _think: an_output())
    assert httpx.get(f"{guarded}/.well-known/agent-card.json").json()["securitySchemes"]
    assert httpx.get(f"{guarded}/health/live").status_code == 200
    refused = httpx.post(f"{guarded}/", json={})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert httpx.get(f"{guarded}/tasks").status_code == 401
    assert ask(guarded, bearer=BEARER)[0].summary == "found"


@pytest.mark.parametrize("bearer", ["", "wrong", "correct-horse-battery"])
def test_a_wrong_bearer_is_a_conflict_to_the_one_who_set_it(guarded, bearer):
    with pytest.raises(Conflict):
        ask(guarded, bearer=bearer)


def test_health_tells_of_the_database(url):
    assert httpx.get(f"{url}/health/ready").json() == {"status": "up"}


def test_a_body_without_end_is_refused(url):
    assert httpx.post(f"{url}/", content=b"x" * 200_000).status_code == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"jsonrpc":"2.0","id":1,"method":"SendMessage"}', b"\xff" * 10],
    ids=["nothing", "half", "list", "no message", "no text"],
)
def test_what_is_no_message_is_refused_in_the_protocols_words(url, body):
    answer = httpx.post(f"{url}/", content=body, headers={"A2A-Version": "1.0"})
    assert answer.json()["error"]["code"] < 0


def test_a_stranger_may_ask_in_words_alone(url, analysis):
    analysis(lambda task, _think: an_output(f"asked: {task.prompt}"))
    message = {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "anything new?"}]}
    answer = httpx.post(f"{url}/message:send", json={"message": message}, headers={"A2A-Version": "1.0"}).json()
    assert answer["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert answer["task"]["artifacts"][0]["parts"][0]["text"] == "asked: anything new?"
