from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aurora.errors import Invalid
from cases import observables
from cases.observables import IOC_TYPES, canonical, classify, is_internal_ip
from cases.observables.values import MAX_VALUE_BYTES

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
SHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("ioc_type", "given_value", "stored"),
    [
        ("ip", " 203.0.113.7 ", "203.0.113.7"),
        ("ip", "203[.]0[.]113[.]7", "203.0.113.7"),
        ("ip", "203.0.113.7:443", "203.0.113.7"),
        ("ip", "2001:0DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("ip", "::ffff:203.0.113.7", "203.0.113.7"),
        ("ip", "fe80::1%eth0", "fe80::1"),
        ("domain", "Evil[.]Example.", "evil.example"),
        ("domain", "_dmarc.evil.example", "_dmarc.evil.example"),
        ("domain", "bücher.example", "xn--bcher-kva.example"),
        ("url", "HXXPS://Evil[.]Example:443/A?b=C", "https://evil.example/A?b=C"),
        ("url", "http://evil.example", "http://evil.example/"),
        ("url", "http://evil.example?x=1", "http://evil.example/?x=1"),
        ("url", "http://evil.example:8080/", "http://evil.example:8080/"),
        ("url", "http://[2001:DB8:0::1]:80/", "http://[2001:db8::1]/"),
        ("url", "evil.example/gate.php", "http://evil.example/gate.php"),
        ("url", "http://evil.example\\@good.example", "http://evil.example/@good.example"),
        ("url", "http://u:p@Evil.example/", "http://u:p@evil.example/"),
        ("hash_md5", MD5.upper(), MD5),
        ("hash_sha1", SHA1.upper(), SHA1),
        ("hash_sha256", SHA256.upper(), SHA256),
        ("email", "Bob(at)Evil[.]Example", "bob@evil.example"),
        ("cve", "cve-2024-3094", "CVE-2024-3094"),
        ("file_path", "C:/Windows\\System32\\CMD.exe", "c:\\windows\\system32\\cmd.exe"),
        ("file_path", "/tmp/X.sh", "/tmp/X.sh"),
        ("registry_key", "HKEY_LOCAL_MACHINE\\Software\\Run", "HKLM\\software\\run"),
        ("mutex", "Global\\MsWinZones", "Global\\MsWinZones"),
        ("user_agent", "Mozilla/5.0 (at) [.]", "Mozilla/5.0 (at) [.]"),
    ],
)
def test_a_value_takes_its_one_stored_form(ioc_type, given_value, stored):
    assert canonical(ioc_type, given_value) == (ioc_type, stored)


@pytest.mark.parametrize(
    ("ioc_type", "value"),
    [
        ("ip", "256.1.1.1"),
        ("ip", "01.2.3.4"),
        ("ip", "evil.example"),
        ("ip", "203.0.113.0/24"),
        ("domain", "localhost"),
        ("domain", "203.0.113.7"),
        ("domain", "*.evil.example"),
        ("domain", "-evil.example"),
        ("domain", "a..example"),
        ("domain", f"{'a' * 64}.example"),
        ("domain", ".".join(["abc"] * 64)),
        ("url", "evil.example"),
        ("url", "and/or"),
        ("url", "http://"),
        ("url", "http://a b.example/"),
        ("url", "http://evil.example:99999/"),
        ("url", "http://[::1"),
        ("url", "javascript:alert(1)"),
        ("hash_md5", SHA1),
        ("hash_sha1", "g" * 40),
        ("email", "@evil.example"),
        ("email", "bob@localhost"),
        ("email", "a b@evil.example"),
        ("cve", "CVE-24-1"),
        ("registry_key", "HKEY_NOWHERE\\Software"),
        ("registry_key", "HKLM"),
        ("mutex", ""),
        ("mutex", "a\0b"),
        ("user_agent", "x" * 2049),
        ("asn", "AS64496"),
    ],
)
def test_what_is_not_of_its_type_is_refused_with_a_sentence(ioc_type, value):
    with pytest.raises(Invalid) as refusal:
        canonical(ioc_type, value)
    assert refusal.value.detail.endswith(".")


@given(
    st.sampled_from(IOC_TYPES),
    st.one_of(st.text(), st.text(alphabet="hxtp:/[](){}.@\\HKLM% ab1é\xa0İ", max_size=40)),
)
@example("registry_key", "HKLM\\a\xa0\\")
@example("registry_key", "\\\xa0HKLM\\a")
@example("email", "İ" * 40 + "@evil.example")
def test_a_stored_form_stays_when_it_comes_in_again(ioc_type, text):
    try:
        stored = canonical(ioc_type, text)
    except Invalid:
        return
    assert canonical(ioc_type, stored.value) == stored
    assert len(stored.value.encode()) <= MAX_VALUE_BYTES


@given(st.from_regex(r"(https?|ftp)://[a-z.\[\]:@0-9-]{1,20}[/?#\\][a-z./\[\]()@:]{0,20}", fullmatch=True))
def test_a_stored_url_stays_when_it_comes_in_again(text):
    stored = observables.url(text)
    assert stored is None or canonical("url", stored.value) == stored


@pytest.mark.parametrize(
    ("token", "ioc_type"),
    [
        ("203.0.113.7", "ip"),
        ("2001[:]db8::1", "ip"),
        ("203.0.113.7:8080", "ip"),
        ("[2001:db8::1]:443", "ip"),
        ("evil[.]example:443", "domain"),
        ("evil[.]example", "domain"),
        ("evil.zip.example", "domain"),
        ("invoice[.]zip", "domain"),
        ("hxxp://evil.example/a.exe", "url"),
        ("evil.example/gate", "url"),
        (MD5, "hash_md5"),
        (SHA1, "hash_sha1"),
        (f'"{SHA256}"', "hash_sha256"),
        ("bob@evil.example", "email"),
        ("CVE-2021-44228", "cve"),
        ("C:\\Temp\\a.exe", "file_path"),
        ("\\\\host\\share\\a.exe", "file_path"),
        ("%TEMP%\\a.exe", "file_path"),
        ("/tmp/.x", "file_path"),
        ("payload.exe", "file_path"),
        ("invoice.zip", "file_path"),
        ("hkcu\\Software\\Run", "registry_key"),
        ("Global\\MsWinZones", "mutex"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "user_agent"),
    ],
)
def test_a_bare_token_is_told_by_its_look(token, ioc_type):
    found = classify(token)
    assert found is not None
    assert found.type == ioc_type


@pytest.mark.parametrize("token", ["", "word", "two words", "1.2.3", "\0", "x" * 3000, "::", "host:22", "a@b"])
def test_a_token_of_no_type_is_none(token):
    found = classify(token)
    assert found is None or token == "::"


@given(st.text())
def test_any_token_is_classified_without_a_fault(text):
    found = classify(text)
    assert found is None or found.type in IOC_TYPES


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "224.0.0.251",
        "0.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "fd00::1",
        "fe80::1%eth0",
        "ff02::1",
        "::ffff:10.0.0.1",
    ],
)
def test_ones_own_addresses_are_internal(address):
    assert is_internal_ip(address)


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "8.8.8.8", "172.32.0.1", "junk", ""],
)
def test_outside_and_documentation_addresses_are_not_internal(address):
    assert not is_internal_ip(address)


def test_a_structured_field_becomes_its_observable():
    assert observables.ip("203.0.113.7") == ("ip", "203.0.113.7")
    assert observables.domain("Dc01.corp.local") == ("domain", "dc01.corp.local")
    assert observables.url("http://evil.example/x") == ("url", "http://evil.example/x")
    assert observables.file_hash(SHA1.upper()) == ("hash_sha1", SHA1)
    assert observables.email("Bob@Evil.example") == ("email", "bob@evil.example")


@pytest.mark.parametrize("verb", ["ip", "domain", "url", "file_hash", "email"])
@pytest.mark.parametrize("junk", [None, 7, b"x", [], {}, "", "-", "junk", "x" * 100_000, "\0", "\ud800.example"])
def test_a_field_that_is_none_of_it_is_none(verb, junk):
    assert getattr(observables, verb)(junk) is None


@pytest.mark.parametrize("not_a_domain", ["203.0.113.7", "localhost", "2001:db8::1", "a b.example"])
def test_addresses_and_single_labels_are_no_domains(not_a_domain):
    assert observables.domain(not_a_domain) is None
