"""Where agents may be, who says so, and what becomes of their bearers."""

from __future__ import annotations

import pytest

from agents import registry
from agents.endpoints import require_endpoint
from agents.models import Agent
from aurora.errors import Invalid
from aurora.models import AuditEntry
from tests.cast import ApiClient

PATH = "/agents/threat_hunter"


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://agent.example",
        "https://agent.example:8443/hunter",
        "https://203.0.113.9",
        "http://127.0.0.1:9000",
        "http://localhost:9000",
        "http://[::1]:9000",
        "http://10.1.2.3:9000",
        "http://192.168.0.7",
        "http://hunter:9000",
        "https://agent_7.k8s.example",
        "https://xn--bcher-kva.example",
        "https://3scale.example",
        "https://agent7",
    ],
)
def test_these_are_endpoints(endpoint, settings):
    settings.AGENT_PLAIN_HTTP_HOSTS = frozenset({"hunter"})
    assert require_endpoint(endpoint + "/") == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://agent.example",
        "http://203.0.114.9",
        "http://hunter:9000",
        "http://169.254.169.254/latest",
        "https://169.254.169.254",
        "https://[fe80::1]",
        "http://0.0.0.0:9000",
        "https://[::]",
        "https://224.0.0.1",
        "http://[::ffff:169.254.169.254]",
        "https://user:word@agent.example",
        "https://agent.example?key=1",
        "https://agent.example#x",
        "ftp://agent.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "agent.example",
        "https://",
        "https://agent.example:99999",
        "https://[::1",
        "https://2852039166",
        "https://0xa9fea9fe",
        "https://0251.0376.0251.0376",
        "https://169.254.43518",
        "https://①⑥⑨.254.169.254",
        "https://bücher.example",
        "https://agent example",
        "https://agent..example",
        "https://-agent.example",
        "https://agent.example/\r\nx",
        "https://agent.example/a b",
    ],
)
def test_these_are_none(endpoint):
    with pytest.raises(Invalid):
        require_endpoint(endpoint)


@pytest.fixture
def _agents(db, redis_client):
    registry.ensure_agents()


pytestmark = pytest.mark.usefixtures("_agents")
A2A = {"transport": "a2a", "endpoint": "https://agent.example", "bearer": "s3cret"}


def test_an_operator_sets_where_an_agent_is_and_nobody_is_shown_its_bearer():
    answer = ApiClient("operator").call("PATCH", PATH, A2A)
    shown = answer.json()
    assert (shown["transport"], shown["endpoint"], shown["has_bearer"]) == ("a2a", "https://agent.example", True)
    agent = Agent.objects.get(pk="threat_hunter")
    assert registry.bearer_of(agent) == "s3cret"
    kept = [str(row) for row in AuditEntry.objects.values()] + [agent.sealed_bearer, answer.content.decode()]
    assert not any("s3cret" in text for text in kept)
    assert AuditEntry.objects.get(action="agent.configured").after["has_bearer"] is True


@pytest.mark.parametrize("role", ["analyst", "viewer", "api_service"])
def test_nobody_else_does(role):
    assert ApiClient(role).call("PATCH", PATH, A2A).status_code == 403
    assert Agent.objects.get(pk="threat_hunter").endpoint == ""


def test_a_bearer_does_not_follow_its_agent_to_another_address():
    operator = ApiClient("operator")
    operator.call("PATCH", PATH, A2A)
    moved = operator.call("PATCH", PATH, {"endpoint": "https://elsewhere.example"}).json()
    assert moved["has_bearer"] is False
    assert operator.call("PATCH", PATH, A2A).json()["has_bearer"] is True


@pytest.mark.parametrize("bearer", ["a\r\nX-Evil: 1", "a b", "ü", "a\tb", "", "a\n"])
def test_what_cannot_stand_in_a_header_is_no_bearer(bearer):
    answer = ApiClient("operator").call("PATCH", "/agents/threat_hunter", {"bearer": bearer})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["body", "bearer"])


def test_a_bearer_can_be_taken_away():
    operator = ApiClient("operator")
    operator.call("PATCH", PATH, A2A)
    assert operator.call("PATCH", PATH, {"bearer": None}).json()["has_bearer"] is False


@pytest.mark.parametrize(
    "body",
    [
        {"endpoint": "http://agent.example"},
        {"endpoint": "\0"},
    ],
    ids=["plain http", "NUL"],
)
def test_what_cannot_be_called_is_refused_and_changes_nothing(body):
    answer = ApiClient("operator").call("PATCH", PATH, body)
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"] == ["body", "endpoint"]
    assert Agent.objects.get(pk="threat_hunter").transport == "builtin"


def test_the_endpoint_of_an_agent_that_is_asked_there_cannot_be_removed():
    operator = ApiClient("operator")
    operator.call("PATCH", PATH, A2A)
    assert operator.call("PATCH", PATH, {"endpoint": None}).status_code == 409


@pytest.mark.parametrize("endpoint", [{}, {"endpoint": None}], ids=["absent", "null"])
def test_an_agent_without_an_endpoint_cannot_be_asked_by_a2a(endpoint):
    answer = ApiClient("operator").call("PATCH", PATH, {"transport": "a2a"} | endpoint)
    assert (answer.status_code, answer.json()) == (409, {"detail": "The transport a2a needs an endpoint"})
    assert Agent.objects.get(pk="threat_hunter").transport == "builtin"
