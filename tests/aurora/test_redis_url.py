"""Where `REDIS_URL` says that Redis is."""

from __future__ import annotations

import pytest

from aurora.redis_url import Kind, Location, parse


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://h:6379/3", 3),
        ("redis://h", 0),
        ("unix:///run/r.sock?db=2", 2),
        ("unix:///run/r.sock", 0),
        ("rediss://u:p@h/1", 1),
    ],
)
def test_one_server_is_left_to_redis_py(url, database):
    assert parse(url) == Location(Kind.SERVER, url, database)


def test_sentinels_name_a_master():
    found = parse("rediss+sentinel://ann:p%40ss@s1:26380,s2,[::1]:26381/mine/4?sentinel_password=ask")
    assert (found.kind, found.nodes) == (Kind.SENTINEL, (("s1", 26380), ("s2", 26379), ("::1", 26381)))
    assert (found.master, found.database, found.is_tls) == ("mine", 4, True)
    assert (found.username, found.password, found.sentinel_password) == ("ann", "p@ss", "ask")


def test_a_cluster_is_found_by_some_of_its_nodes():
    found = parse("redis+cluster://:secret@a:7000,b")
    assert (found.kind, found.nodes, found.password) == (Kind.CLUSTER, (("a", 7000), ("b", 6379)), "secret")
    assert found.node_url == "redis://a:7000"


def test_all_streams_of_a_cluster_share_a_slot_and_have_their_own_names_elsewhere():
    assert parse("redis+cluster://a").key("aurora:agent:tasks") == "{aurora}:agent:tasks"
    assert parse("redis://a").key("aurora:agent:tasks") == "aurora:agent:tasks"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://h",
        "redis+x://h",
        "unix+cluster:///x",
        "redis+sentinel://h",
        "redis+sentinel://h/m/x",
        "redis+cluster://",
        "redis+cluster://h/1",
    ],
    ids=["empty", "http", "unknown", "unix", "no master", "no number", "no host", "database"],
)
def test_what_says_no_place_is_refused_without_its_password(url):
    with pytest.raises(ValueError) as refused:
        parse(url.replace("://", "://:hunter2@", 1))
    assert "hunter2" not in str(refused.value)
