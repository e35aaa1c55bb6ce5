from __future__ import annotations

import pytest

from cases.normalizers.entities import Entities


def kept(entities: Entities) -> list[tuple[str, str]]:
    return [(observable.type, observable.value) for observable in entities.observables]


def test_everything_is_kept_once_and_in_order():
    entities = Entities()
    entities.address(["203.0.113.2", "203.0.113.1", "203.0.113.2", "10.0.0.1", "10.0.0.1"])
    assert kept(entities) == [("ip", "203.0.113.2"), ("ip", "203.0.113.1")]
    assert list(entities.assets) == ["10.0.0.1"]


@pytest.mark.parametrize("name", ["intranet.corp", "nas.local", "db.prod.internal", "NAS.LOCAL."])
def test_an_internal_name_is_an_asset(name):
    entities = Entities()
    entities.domain(name)
    assert kept(entities) == []
    assert list(entities.assets) == [name.rstrip(".")]


def test_a_name_that_is_an_address_counts_as_one():
    entities = Entities()
    entities.domain(["203.0.113.1", "10.0.0.1"])
    assert (kept(entities), list(entities.assets)) == ([("ip", "203.0.113.1")], ["10.0.0.1"])


@pytest.mark.parametrize("seen", ["http://a.test/x?y=1", "http://a.test/x#y", "http://a.test/x"])
def test_a_url_that_was_seen_loses_query_and_fragment(seen):
    entities = Entities()
    entities.url(seen)
    assert kept(entities) == [("url", "http://a.test/x"), ("domain", "a.test")]


def test_a_url_that_was_listed_stays_whole():
    entities = Entities()
    entities.indicator("http://a.test/x?y=1", "url")
    assert kept(entities) == [("url", "http://a.test/x?y=1")]


def test_an_internal_address_that_was_listed_is_an_asset_all_the_same():
    entities = Entities()
    entities.indicator("10.0.0.1", "ip")
    assert (kept(entities), list(entities.assets)) == ([], ["10.0.0.1"])


def test_a_type_that_does_not_fit_the_value_gives_way_to_what_the_value_is():
    entities = Entities()
    entities.indicator("203.0.113.1", "domain")
    assert kept(entities) == [("ip", "203.0.113.1")]


@pytest.mark.parametrize("written", ["fd00:0000:0000:0000:0000:0000:0000:0017", "FD00::17", "fd00:0::0:17"])
def test_an_address_has_one_spelling(written):
    entities = Entities()
    entities.address(written)
    assert list(entities.assets) == ["fd00::17"]


def test_an_ipv4_address_in_ipv6_s_clothes_is_one():
    entities = Entities()
    entities.address(["::ffff:10.0.0.1", "::ffff:203.0.113.1"])
    assert (list(entities.assets), kept(entities)) == (["10.0.0.1"], [("ip", "203.0.113.1")])


def test_import_hashes_name_no_file():
    entities = Entities()
    entities.hash("MD5=" + "a" * 32 + ",IMPHASH=" + "b" * 32)
    assert kept(entities) == [("hash_md5", "a" * 32)]


def test_machines_of_ours_in_text_are_assets():
    entities = Entities()
    entities.prose("10.1.1.1 called 203.0.113.9 (v1.2.3.4.5)")
    assert list(entities.assets) == ["10.1.1.1"]
    assert ("ip", "203.0.113.9") in kept(entities)


@pytest.mark.parametrize("method", ["address", "host", "user", "domain", "url", "hash", "email", "prose", "indicator"])
@pytest.mark.parametrize(
    "value", [None, 7, {}, [], [[]], [{}], True, "", "\x00", "\ud800", 1.5, "x" * 100_000], ids=repr
)
def test_values_of_another_kind_are_passed_over(method, value):
    entities = Entities()
    getattr(entities, method)(value)
    assert all(len(name) <= 255 for name in (*entities.assets, *entities.users))


def test_a_host_of_ours_is_no_observable_although_its_address_is_public():
    entities = Entities()
    entities.address(["198.51.100.7", "203.0.113.66"])
    entities.domain(["shop.example.com", "evil.example"])
    entities.host(["198.51.100.7", "Shop.example.com"])
    assert [found.value for found in entities.foreign()] == ["203.0.113.66", "evil.example"]


def test_an_address_of_ours_can_be_kept_off_the_observables_without_being_an_asset():
    entities = Entities()
    entities.address("198.51.100.7")
    entities.ours(["198.51.100.7", None, 7])
    assert (entities.foreign(), list(entities.assets)) == ([], [])


@pytest.mark.parametrize(
    "digest",
    [
        "0" * 40,
        "d41d8cd98f00b204e9800998ecf8427e",
        "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    ],
)
def test_the_hash_of_nothing_is_no_observable(digest):
    entities = Entities()
    entities.hash(digest)
    entities.indicator(digest)
    assert entities.foreign() == []


@pytest.mark.parametrize("address", ["::ffff:0", "169.254.169.254", "1000::1"])
def test_an_address_of_nobody_is_neither_asset_nor_observable(address):
    entities = Entities()
    entities.address(address)
    assert (entities.foreign(), list(entities.assets)) == ([], [])


def test_a_url_to_the_machine_itself_is_no_observable():
    entities = Entities()
    entities.url(["http://127.0.0.1:8080/x", "http://localhost/", "http://localhost.example.net/"])
    assert [found.value for found in entities.foreign()] == ["http://localhost.example.net/", "localhost.example.net"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://user:pw@a.test:8080/x", ("domain", "a.test")),
        ("https://203.0.113.66/x", ("ip", "203.0.113.66")),
        ("https://[2001:db8::7]:8443/x", ("ip", "2001:db8::7")),
    ],
)
def test_the_host_of_a_url_is_an_observable_too(url, host):
    entities = Entities()
    entities.url(url)
    assert kept(entities)[1:] == [host]


def test_the_host_of_a_url_on_one_of_our_machines_is_an_asset():
    entities = Entities()
    entities.url(["http://10.0.0.5/x", "http://nas.local/x"])
    assert list(entities.assets) == ["10.0.0.5", "nas.local"]


def test_placeholders_of_hosts_and_users_are_left_out():
    entities = Entities()
    entities.host(["localhost", "localhost.localdomain"])
    entities.user("(no user)")
    assert (list(entities.assets), list(entities.users)) == ([], [])
