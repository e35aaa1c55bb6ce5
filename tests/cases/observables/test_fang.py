from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases.observables import canonical, defang, refang


@pytest.mark.parametrize(
    ("defanged", "plain"),
    [
        ("hxxp://a.example", "http://a.example"),
        ("hXXps://a.example", "https://a.example"),
        ("h**p://a.example", "http://a.example"),
        ("fxp://a.example", "ftp://a.example"),
        ("http[:]//a.example", "http://a.example"),
        ("hxxps[://]a.example", "https://a.example"),
        ("http:[//]a.example", "http://a.example"),
        ("a.example[/]x", "a.example/x"),
        ("a[.]b(.)c{.}d", "a.b.c.d"),
        ("a[dot]b(dot)c{dot}d", "a.b.c.d"),
        ("a[DOT]b [.] c", "a.b.c"),
        ("a[.b.]c", "a.b.c"),
        ("bob(at)a.example", "bob@a.example"),
        ("bob [at] a[.]example", "bob@a.example"),
        ("bob[@]a.example", "bob@a.example"),
        ("2001[:]db8[:][:]1", "2001:db8::1"),
    ],
)
def test_each_usual_spelling_is_read(defanged, plain):
    assert refang(defanged).lower() == plain.lower()


@pytest.mark.parametrize("text", ["", "plain words (and brackets) [here].", "a[0].b", "[::1]", "xp", "f(x).y"])
def test_text_that_is_not_defanged_stays_as_it_is(text):
    assert refang(text) == text


@pytest.mark.parametrize(
    ("ioc_type", "value", "shown"),
    [
        ("ip", "203.0.113.7", "203[.]0[.]113[.]7"),
        ("ip", "2001:db8::1", "2001[:]db8[:][:]1"),
        ("domain", "a.example", "a[.]example"),
        ("email", "bob.b@a.example", "bob.b[at]a[.]example"),
        ("url", "https://a.example/x.php?u=b.example", "hxxps://a[.]example/x.php?u=b.example"),
        ("url", "ftp://u@[2001:db8::1]:2121/", "fxp://u@[2001[:]db8[:][:]1]:2121/"),
        ("url", "http+unix://a.example/", "http+unix://a[.]example/"),
        ("hash_md5", "a" * 32, "a" * 32),
        ("file_path", "/tmp/a.sh", "/tmp/a.sh"),
    ],
)
def test_a_value_is_shown_defanged_by_its_type(ioc_type, value, shown):
    assert defang(value, ioc_type) == shown


@given(st.text(alphabet="hxtp*s:/[](){}.@ atdo\n", max_size=60))
def test_any_text_settles_in_a_few_rounds(text):
    for _ in range(len(text) + 1):
        text = refang(text)
    assert refang(text) == text


labels = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
domains = st.builds("{}.{}.example".format, labels, labels)
paths = st.text(alphabet="abc/.-?=&#@[]():", max_size=20)


@given(st.from_regex(r"(https?|ftps?|ssh)[a-z.+]{0,2}", fullmatch=True), domains, paths)
def test_a_url_shown_defanged_reads_back_as_itself(scheme, host, path):
    url = canonical("url", f"{scheme}://{host}/{path}".strip())
    assert canonical("url", defang(url.value, "url")) == url


@given(st.ip_addresses())
def test_an_address_shown_defanged_reads_back_as_itself(address):
    ip = canonical("ip", str(address))
    assert canonical("ip", defang(ip.value, "ip")) == ip


@given(domains, labels)
def test_names_and_mail_addresses_shown_defanged_read_back_as_themselves(host, local):
    assert canonical("domain", defang(host, "domain")).value == host
    assert canonical("email", defang(f"{local}@{host}", "email")).value == f"{local}@{host}"
