"""Evidence over HTTP and on the case's page: taken in as a form, told with its hashes, handed out as what no browser runs."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from aurora.ids import new_id
from aurora.models import AuditEntry
from cases import evidence_store
from cases.models import CustodyEntry, Evidence
from tests.cast import PASSWORD, ApiClient, make_user
from tests.console_pages import signed_in, text_of
from tests.factories import make_case

pytestmark = pytest.mark.django_db

PAGE = b"<script>alert(document.domain)</script>"
HASHES = {
    "sha256": hashlib.sha256(PAGE).hexdigest(),
    "sha1": hashlib.sha1(PAGE, usedforsecurity=False).hexdigest(),
    "md5": hashlib.md5(PAGE, usedforsecurity=False).hexdigest(),
}


@pytest.fixture(autouse=True)
def _store(settings, tmp_path):
    settings.DATA_DIR = tmp_path


@pytest.fixture
def analyst() -> ApiClient:
    return ApiClient("analyst")


def _file(content: bytes = PAGE, name: str = "page.html", media_type: str = "text/html") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, media_type)


def _send(client: ApiClient, case_id: Any, **fields: Any) -> Any:
    body = encode_multipart(BOUNDARY, {"file": _file()} | fields)
    return client.call("POST", f"/cases/{case_id}/evidence", body, content_type=MULTIPART_CONTENT)


def test_a_file_is_taken_in_with_its_hashes_and_the_first_link_of_its_chain(analyst):
    case = make_case()
    answer = _send(analyst, case.id, description="From the mail gateway")
    assert answer.status_code == 201
    kept = answer.json()
    assert kept | HASHES == kept
    assert (kept["name"], kept["size"], kept["description"]) == ("page.html", len(PAGE), "From the mail gateway")
    assert [link["action"] for link in kept["custody"]] == ["collected"]


def test_files_are_listed_newest_first_and_told_one_by_one(analyst):
    case = make_case()
    first = _send(analyst, case.id).json()
    _send(analyst, case.id, file=_file(b"other", "other.bin"))
    page = analyst.call("GET", f"/cases/{case.id}/evidence").json()
    assert ([item["name"] for item in page["items"]], page["total"]) == (["other.bin", "page.html"], 2)
    assert analyst.call("GET", f"/cases/{case.id}/evidence/{first['id']}").json() == first


def test_a_download_is_the_file_and_nothing_that_a_browser_runs(analyst):
    case = make_case()
    kept = _send(analyst, case.id, file=_file(name='inv"oice ü.html')).json()
    answer = analyst.call("GET", f"/cases/{case.id}/evidence/{kept['id']}/content")
    assert (answer.status_code, answer.getvalue()) == (200, PAGE)
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert (answer["X-Content-Type-Options"], answer["Content-Length"]) == ("nosniff", str(len(PAGE)))


def test_each_download_is_a_link_of_the_chain_and_in_the_trail():
    case = make_case()
    kept = _send(ApiClient("analyst"), case.id).json()
    viewer = ApiClient("viewer")
    viewer.call("GET", f"/cases/{case.id}/evidence/{kept['id']}/content").getvalue()
    links = viewer.call("GET", f"/cases/{case.id}/evidence/{kept['id']}").json()["custody"]
    assert [link["action"] for link in links] == ["collected", "read"]
    assert links[1]["actor"].startswith("key:viewer")
    assert AuditEntry.objects.filter(action="evidence.read", target_id=kept["id"]).count() == 1


def test_who_only_asks_what_a_download_would_be_has_not_had_the_file(analyst):
    case = make_case()
    kept = _send(analyst, case.id).json()
    answer = analyst.call("HEAD", f"/cases/{case.id}/evidence/{kept['id']}/content")
    assert (answer.status_code, answer["Content-Length"]) == (200, str(len(PAGE)))
    assert CustodyEntry.objects.count() == 1


def test_a_changed_file_is_not_handed_out_and_the_chain_says_that_somebody_asked(analyst):
    case = make_case()
    kept = _send(analyst, case.id).json()
    evidence_store._place(HASHES["sha256"]).write_bytes(b"other")
    answer = analyst.call("GET", f"/cases/{case.id}/evidence/{kept['id']}/content")
    assert (answer.status_code, set(answer.json())) == (409, {"detail"})
    assert list(CustodyEntry.objects.order_by("id").values_list("action", flat=True)) == ["collected", "missed"]
    assert AuditEntry.objects.filter(action="evidence.missed").count() == 1


def test_the_same_content_again_is_a_conflict_that_names_what_there_is(analyst):
    case = make_case()
    kept = _send(analyst, case.id).json()
    again = _send(analyst, case.id, file=_file(name="another-name.html"))
    assert again.status_code == 409
    assert kept["id"] in again.json()["detail"]
    assert _send(analyst, make_case().id).status_code == 201


def test_a_closed_case_takes_no_evidence(analyst):
    answer = _send(analyst, make_case(status="closed").id)
    assert (answer.status_code, answer.json()["detail"]) == (409, "The case is closed; reopen it first")


def _fault(answer: Any) -> tuple[int, list[Any], str]:
    first = answer.json()["detail"][0]
    return answer.status_code, first["loc"], first["type"]


def test_what_is_no_form_with_one_file_is_refused_in_the_contracts_words(analyst):
    case = make_case()
    assert _fault(_send(analyst, case.id, file="text, no file")) == (400, ["body", "file"], "missing")
    assert _fault(_send(analyst, case.id, files=_file())) == (400, ["body", "files"], "extra_forbidden")
    assert _fault(_send(analyst, case.id, note="x")) == (400, ["body", "note"], "extra_forbidden")
    assert _fault(_send(analyst, case.id, file=[_file(), _file()])) == (400, ["body", "file"], "too_long")
    assert _fault(_send(analyst, case.id, description="x" * 10_001)) == (
        400,
        ["body", "description"],
        "string_too_long",
    )
    assert _fault(_send(analyst, case.id, description="a\0b")) == (
        400,
        ["body", "description"],
        "string_pattern_mismatch",
    )
    assert not Evidence.objects.exists()


def test_an_empty_file_is_none(analyst):
    answer = _send(analyst, make_case().id, file=_file(b""))
    assert _fault(answer) == (400, ["body"], "value_error")


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{}", "application/json", 415),
        (PAGE, "application/octet-stream", 415),
        (b"no form at all", "multipart/form-data", 400),
        (b"no form at all", "multipart/form-data; boundary=x", 400),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 400),
    ],
    ids=["json", "the file alone", "no boundary", "nothing between boundaries", "empty"],
)
def test_other_bodies_are_refused(analyst, body, media_type, status):
    answer = analyst.call("POST", f"/cases/{make_case().id}/evidence", body, content_type=media_type)
    assert answer.status_code == status


def test_a_body_over_the_limit_is_refused(settings):
    """Where bodies are bounded is the bridge's; a browser's session reads the body here, and meets Django's own bound."""
    settings.MAX_BODY_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    client = Client(raise_request_exception=False)
    client.force_login(make_user("analyst"))
    answer = client.post(f"/api/v1/cases/{make_case().id}/evidence", {"file": _file(b"x" * 2000)})
    assert (answer.status_code, answer.json()) == (413, {"detail": "Request body too large"})


def test_a_name_is_never_a_path_nor_a_header(analyst):
    case = make_case()
    kept = _send(analyst, case.id, file=_file(name="..\\..\\a\r\nSet-Cookie: x.html")).json()
    answer = analyst.call("HEAD", f"/cases/{case.id}/evidence/{kept['id']}/content")
    assert "/" not in kept["name"]
    assert "\\" not in kept["name"]
    assert "Set-Cookie" not in answer.headers


def test_a_report_tells_the_files_and_their_hashes(analyst):
    case = make_case()
    _send(analyst, case.id, file=_file(name="a|b.html"), description="[click](http://evil.example)")
    report = analyst.call("GET", f"/cases/{case.id}/report?format=md").content.decode()
    assert f"| a\\|b.html | {len(PAGE)} | {HASHES['sha256']} |" in report
    assert "](http" not in report
    told = analyst.call("GET", f"/cases/{case.id}/report?format=json").json()["evidence"]
    assert [row["md5"] for row in told] == [HASHES["md5"]]


def test_who_may_not_write_adds_nothing_and_reads_all():
    case = make_case()
    assert _send(ApiClient("viewer"), case.id).status_code == 403
    assert _send(ApiClient(), case.id).status_code == 401
    assert ApiClient("viewer").call("GET", f"/cases/{case.id}/evidence").status_code == 200


def test_evidence_of_one_case_is_not_found_through_another(analyst):
    kept = _send(analyst, make_case().id).json()
    for path in (
        f"{make_case().id}/evidence/{kept['id']}",
        f"{new_id()}/evidence/{kept['id']}",
        f"{new_id()}/evidence",
    ):
        assert analyst.call("GET", f"/cases/{path}").status_code == 404
    assert analyst.call("GET", f"/cases/{make_case().id}/evidence/{kept['id']}/content").status_code == 404
    assert _send(analyst, new_id()).status_code == 404


def test_while_the_store_takes_nothing_the_caller_is_told_to_come_again(analyst, tmp_path, caplog):
    (tmp_path / "evidence").write_text("a file where the folder should be")
    answer = _send(analyst, make_case().id)
    assert (answer.status_code, answer.json()["detail"]) == (503, "The evidence store takes nothing in")
    assert answer.headers["Retry-After"]
    assert "evidence_not_stored" in caplog.text


def test_the_folder_of_evidence_may_be_another(settings, tmp_path, analyst):
    settings.EVIDENCE_DIR = str(tmp_path / "shared")
    _send(analyst, make_case().id)
    assert (tmp_path / "shared" / HASHES["sha256"][:2] / HASHES["sha256"]).read_bytes() == PAGE


def test_a_browser_sends_a_file_only_with_its_csrf_token():
    case = make_case()
    client = Client(enforce_csrf_checks=True)
    user = make_user("analyst")
    client.login(username=user.username, password=PASSWORD)
    refused = client.post(f"/api/v1/cases/{case.id}/evidence", {"file": _file()})
    client.get("/admin/")
    token = client.cookies["aurora_csrf"].value
    taken = client.post(f"/api/v1/cases/{case.id}/evidence", {"file": _file()}, headers={"X-CSRFToken": token})
    assert (refused.status_code, taken.status_code) == (403, 201)


def test_the_page_of_a_case_takes_a_file_and_shows_its_chain_of_custody():
    case, browser = make_case(), signed_in("analyst")
    form = {"file": _file(name="<img src=x onerror=alert(1)>.html"), "description": "<b>From</b> the gateway"}
    shown = text_of(browser.post(f"/admin/cases/case/{case.pk}/do/evidence_add/", form, follow=True))
    kept = Evidence.objects.get()
    assert f"/api/v1/cases/{case.pk}/evidence/{kept.pk}/content" in shown
    assert HASHES["sha256"] in shown
    assert "Collected</b> by" in shown
    assert "<img src=x" not in shown
    assert "&lt;b&gt;From&lt;/b&gt;" in shown


def test_the_page_says_that_a_file_is_needed():
    case = make_case()
    shown = text_of(
        signed_in("analyst").post(f"/admin/cases/case/{case.pk}/do/evidence_add/", {"file": "x"}, follow=True)
    )
    assert "Choose a file" in shown


@pytest.mark.parametrize("part", ["1", SimpleUploadedFile("part.txt", b"1")])
def test_a_form_of_too_many_parts_is_refused_without_a_word_of_our_settings(analyst, part):
    answer = _send(analyst, make_case().id, **{f"part-{number}": part for number in range(1_200)})
    assert answer.status_code == 400
    assert answer.json() == {"detail": [{"loc": ["body"], "msg": "The form has too many parts", "type": "too_long"}]}


def test_a_viewers_page_has_downloads_and_no_form():
    case = make_case()
    _send(ApiClient("analyst"), case.id)
    shown = text_of(signed_in("viewer").get(f"/admin/cases/case/{case.pk}/change/"))
    assert "/content" in shown
    assert "evidence_add" not in shown
