"""Typed readers of the environment."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from aurora import env


def test_a_rate_is_requests_and_seconds(monkeypatch):
    monkeypatch.setenv("AURORA_RATE_X", " 100/60 ")
    assert env.rate("AURORA_RATE_X", "1/1") == (100, 60)


@pytest.mark.parametrize("text", ["100", "100/", "/60", "0/60", "100/0", "-1/60", "1.5/60", "100/m", "9999999/60"])
def test_a_rate_that_cannot_be_meant_is_refused_with_its_name(monkeypatch, text):
    monkeypatch.setenv("AURORA_RATE_X", text)
    with pytest.raises(ImproperlyConfigured, match="AURORA_RATE_X"):
        env.rate("AURORA_RATE_X", "1/1")


def test_an_unset_rate_takes_its_default():
    assert env.rate("AURORA_RATE_UNSET", "5/60") == (5, 60)


@pytest.mark.parametrize("text", ["eight", "-1", "0", "1.5"])
def test_a_number_that_is_none_is_refused_with_its_name(monkeypatch, text):
    monkeypatch.setenv("AURORA_X", text)
    with pytest.raises(ImproperlyConfigured, match="AURORA_X"):
        env.integer("AURORA_X", 1)


@pytest.mark.parametrize("text", ["0", "-1", "1e9", "nan", "31536000.1", "9" * 400])
def test_seconds_that_no_clock_could_bear_are_refused_with_their_name(monkeypatch, text):
    monkeypatch.setenv("AURORA_X", text)
    with pytest.raises(ImproperlyConfigured, match="AURORA_X"):
        env.seconds("AURORA_X", 1)


def test_a_word_outside_of_the_choice_is_refused(monkeypatch):
    monkeypatch.setenv("AURORA_X", "prod")
    with pytest.raises(ImproperlyConfigured, match="local, production"):
        env.choice("AURORA_X", "local", ["local", "production"])


@pytest.mark.parametrize("text", ["https://soc.example.org", "http://127.0.0.1:8000", "https://example.org/soc"])
def test_an_address_loses_the_slash_at_its_end(monkeypatch, text):
    monkeypatch.setenv("AURORA_X", f"{text}/")
    assert env.base_url("AURORA_X", "") == text


@pytest.mark.parametrize(
    "text", ["soc.example.org", "ftp://soc.example.org", "https://u:p@soc.example.org", "https://a?b=c"]
)
def test_an_address_that_is_none_is_refused_with_its_name(monkeypatch, text):
    monkeypatch.setenv("AURORA_X", text)
    with pytest.raises(ImproperlyConfigured, match="AURORA_X"):
        env.base_url("AURORA_X", "")


def test_networks_are_addresses_or_networks(monkeypatch):
    monkeypatch.setenv("AURORA_X", "10.0.0.0/8, 192.0.2.7,2001:db8::/32")
    assert env.networks("AURORA_X") == ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]


@pytest.mark.parametrize("text", ["proxy.example.org", "10.0.0.0/33", "10.0.0.1:80", "*"])
def test_a_network_that_is_none_is_refused_with_its_name(monkeypatch, text):
    monkeypatch.setenv("AURORA_X", f"10.0.0.0/8,{text}")
    with pytest.raises(ImproperlyConfigured, match="AURORA_X"):
        env.networks("AURORA_X")


@pytest.mark.parametrize(
    "text",
    [
        "https://models.example/v1",
        "http://127.0.0.1:11434/v1/",
        "http://localhost/v1",
        "http://10.1.2.3:8080/v1",
        "http://ollama:11434/v1",
        "http://[::1]/v1",
    ],
)
def test_an_address_is_https_or_nearby(monkeypatch, text):
    monkeypatch.setenv("AURORA_X", text)
    assert env.url("AURORA_X", plain_http_hosts={"ollama"}) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "http://models.example/v1", "http://ollama2/v1", "ftp://models.example", "models.example/v1", "https://", "https://u:p@models.example",
        "https://models.example/v1?key=1", "https://models.example/#x", "http://169.254.169.254/v1", "http://0.0.0.0/v1", "https://models.example:0/v1", "https://[::1",
    ],
)  # fmt: skip
def test_an_address_that_others_could_read_along_at_is_refused_with_its_name(monkeypatch, text):
    monkeypatch.setenv("AURORA_X", text)
    with pytest.raises(ImproperlyConfigured, match="AURORA_X"):
        env.url("AURORA_X", plain_http_hosts={"ollama"})


def test_an_unset_address_is_empty():
    assert env.url("AURORA_UNSET") == ""
