"""Every error in the contract's shape, whoever raises it."""

from __future__ import annotations

import pytest

from tests.cast import ApiClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def analyst() -> ApiClient:
    return ApiClient("analyst")


def test_a_bad_severity_is_told_in_pydantics_words(analyst):
    answer = analyst.call("POST", "/alerts", {"title": "t", "source": "s", "severity": "severe"})
    assert answer.status_code == 400
    assert answer.json() == {
        "detail": [
            {
                "loc": ["body", "severity"],
                "msg": "String should match pattern '^(critical|high|medium|low|info)$'",
                "type": "string_pattern_mismatch",
            }
        ]
    }


def test_malformed_json_names_the_position(analyst):
    answer = analyst.call("POST", "/alerts", b'{"title": }')
    assert answer.status_code == 400
    assert answer.json()["detail"] == [{"loc": ["body", 10], "msg": "JSON decode error", "type": "json_invalid"}]


def test_an_empty_body_is_a_missing_one(analyst):
    answer = analyst.call("POST", "/alerts", b"")
    assert answer.json()["detail"][0]["type"] == "missing"


def test_an_unknown_field_is_refused(analyst):
    answer = analyst.call("POST", "/alerts", {"title": "t", "source": "s", "severity": "low", "severty": "high"})
    assert [(fault["loc"], fault["type"]) for fault in answer.json()["detail"]] == [
        (["body", "severty"], "extra_forbidden")
    ]


def test_an_unknown_query_parameter_is_refused(analyst):
    answer = analyst.call("GET", "/alerts?severty=high")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["query", "severty"])


def test_nul_never_reaches_the_database(analyst):
    answer = analyst.call("POST", "/alerts", {"title": "a\0b", "source": "s", "severity": "low"})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["body", "title"])


def test_a_caller_without_a_credential_is_told_how_to_bring_one():
    answer = ApiClient().call("GET", "/alerts")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert set(answer.json()) == {"detail"}


def test_a_forged_token_is_refused():
    answer = ApiClient().call("GET", "/alerts", HTTP_AUTHORIZATION="Bearer eyJhbGciOiJub25lIn0.e30.")
    assert answer.status_code == 401


def test_a_missing_permission_is_named():
    answer = ApiClient("viewer").call("POST", "/cases", {"title": "t", "severity": "low"})
    assert (answer.status_code, answer.json()["detail"]) == (403, "Permission required: cases:write")


@pytest.mark.parametrize("path", ["/alerts/not-a-uuid", "/alerts/00000000-0000-7000-8000-000000000000"])
def test_an_id_of_nothing_is_not_found(analyst, path):
    answer = analyst.call("GET", path)
    assert (answer.status_code, set(answer.json())) == (404, {"detail"})


def test_an_unknown_route_is_not_found_in_json():
    answer = ApiClient().get("/api/v1/nonsense")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_a_wrong_method_names_the_right_ones(analyst):
    answer = analyst.call("DELETE", "/alerts")
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert "GET" in answer.headers["Allow"]


def test_another_media_type_is_refused(analyst):
    answer = analyst.call("POST", "/alerts", b"<alert/>", content_type="application/xml")
    assert (answer.status_code, set(answer.json())) == (415, {"detail"})


def test_a_refused_host_gets_json():
    answer = ApiClient().get("/api/v1/alerts", HTTP_HOST="evil.example")
    assert (answer.status_code, set(answer.json())) == (400, {"detail"})


def test_every_answer_bears_a_request_id():
    assert ApiClient().get("/health/live").headers["X-Request-ID"]


def test_a_sane_request_id_is_taken_over_and_another_is_not():
    sent = ApiClient().get("/health/live", HTTP_X_REQUEST_ID="req-42").headers["X-Request-ID"]
    hostile = ApiClient().get("/health/live", HTTP_X_REQUEST_ID="x" * 200).headers["X-Request-ID"]
    assert sent == "req-42"
    assert len(hostile) == 36


def test_an_unforeseen_error_leaks_nothing(analyst, monkeypatch):
    monkeypatch.setattr("cases.queries.alerts", lambda _query: 1 / 0)
    answer = analyst.call("GET", "/alerts")
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})
