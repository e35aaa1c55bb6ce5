from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases.observables import IOC_TYPES, canonical, extract


def values(text: str) -> list[str]:
    return [found.value for found in extract(text)]


REPORT = """
Host 10.0.0.5 fetched hxxps[:]//cdn[.]evil[.]example/gate.php?id=1, then talked to 203[.]0[.]113[.]9:443.
Dropped C:\\Users\\Public Files\\svc.exe (md5 D41D8CD98F00B204E9800998ECF8427E) and /tmp/.x11; persistence
under HKEY_CURRENT_USER\\Software\\Microsoft\\Windows\\CurrentVersion\\Run. Lure from bob[at]mailer[.]example.
Exploited CVE-2021-44228; beacon to 2001:db8::53 and c2.badguys.com.
"""


def test_a_report_gives_its_observables_in_order():
    assert extract(REPORT) == [
        ("url", "https://cdn.evil.example/gate.php?id=1"),
        ("domain", "cdn.evil.example"),
        ("ip", "203.0.113.9"),
        ("file_path", "c:\\users\\public files\\svc.exe"),
        ("hash_md5", "d41d8cd98f00b204e9800998ecf8427e"),
        ("file_path", "/tmp/.x11"),
        ("registry_key", "HKCU\\software\\microsoft\\windows\\currentversion\\run"),
        ("email", "bob@mailer.example"),
        ("cve", "CVE-2021-44228"),
        ("ip", "2001:db8::53"),
        ("domain", "c2.badguys.com"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Possible C2 beacon over TLS",
        "ran setup.py, a.exe, index.html and main.rs",
        "sshd.service failed; see README.md",
        "System.IO threw in System.Net of ASP.NET",
        "com.example.app and org.apache.log4j.io",
        "fields host.name, user.id and data.in",
        "version 8.8.4.4 and v8.8.4.4, build: 8.8.4.4",
        "Chrome/120.0.0.0 Safari/9.9.9.9",
        "1.2.3.4.5 and 8.8.8.0/24 and 999.8.8.8",
        "at 12:34:56 from 00:1a:2b:3c:4d:5e",
        "It failed.In the end it stopped.So what",
        "and/or src/foo.com lib/x",
        "calls foo.io() and $a.com",
        "srv01.corp.local and nas.lan, 7.2.0.192.in-addr.arpa",
        "192.168.1.10, 127.0.0.1, fe80::1, ::1",
        "00000000000000000000000000000000",
        "opened /usr/bin/sudo and /etc/passwd",
        "std::string, DB::Exception, a::",
        "T1071.004 and 3.14",
        "getty@tty1.service started, root@db.local logged in",
        "\ud800.com http://\ud800/",
    ],
)
def test_lookalikes_are_not_observables(text):
    assert extract(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(see http://a.example/b_(c)).", ["http://a.example/b_(c)", "a.example"]),
        ("<a href='http://a.example/x'>", ["http://a.example/x", "a.example"]),
        ("http://203.0.113.7:8080/a", ["http://203.0.113.7:8080/a", "203.0.113.7"]),
        ("Load('http://a.example/p.ps1').Run('x')", ["http://a.example/p.ps1", "a.example"]),
        ("http://10.0.0.7/shell.php", ["http://10.0.0.7/shell.php"]),
        ("http://[2001:db8::7]/", ["http://[2001:db8::7]/", "2001:db8::7"]),
        ("evil.com/payload.bin now", ["http://evil.com/payload.bin", "evil.com"]),
        ("EVIL.COM, Evil.com.", ["evil.com"]),
        ("invoice[.]zip", ["invoice.zip"]),
        ("www.invoice.zip", ["www.invoice.zip"]),
        ("bücher.com", ["xn--bcher-kva.com"]),
        ("domain=evil.com;ip=203.0.113.7", ["evil.com", "203.0.113.7"]),
        ('{"ip":"203.0.113.7"}', ["203.0.113.7"]),
        ("ev\0il.com", ["evil.com"]),
        ("HKLM\\Software\\A and HKCU\\B", ["HKLM\\software\\a", "HKCU\\b"]),
        ("ran \\\\srv\\c$\\x.exe, %TEMP%\\y.ps1", ["\\\\srv\\c$\\x.exe", "%temp%\\y.ps1"]),
        ("/dev/shm/kdevtmpfsi /opt/run.sh.", ["/dev/shm/kdevtmpfsi", "/opt/run.sh"]),
    ],
)
def test_observables_are_told_from_what_surrounds_them(text, expected):
    assert values(text) == expected


def test_the_domain_of_a_mail_address_is_not_an_observable():
    assert values("from bob@evil.com") == ["bob@evil.com"]


def test_no_more_than_the_limit_is_returned():
    text = " ".join(f"203.0.113.{last}" for last in range(50))
    assert len(extract(text, limit=7)) == 7


def test_text_beyond_the_bound_is_not_searched():
    assert extract(" " * 65_536 + "evil.com") == []


@given(st.one_of(st.text(), st.text(alphabet="hxtp:/[](){}.@\\HKLM%~ ab1é\0\n", max_size=80)))
def test_any_text_gives_canonical_distinct_observables(text):
    found = extract(text)
    assert len(set(found)) == len(found)
    assert all(one.type in IOC_TYPES and canonical(*one) == one for one in found)
