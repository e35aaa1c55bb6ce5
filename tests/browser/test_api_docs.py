"""The API's documentation in a real browser: drawn by Swagger UI under the page's policy, with nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.signing_in import sign_in
from tests.group import RunningGroup

pytestmark = [pytest.mark.browser, pytest.mark.group]

WAIT_MS = 60_000


@pytest.fixture
def page(group: RunningGroup, browser: Browser) -> Iterator[Page]:
    with browser.new_context(base_url=group.base) as context:
        context.set_default_timeout(WAIT_MS)
        yield context.new_page()


def _open(page: Page) -> None:
    page.goto("/api/docs")
    expect(page.locator(".opblock-tag").first).to_be_visible(timeout=WAIT_MS)


def test_the_documentation_is_drawn_without_a_word_in_the_browsers_console(page):
    words: list[str] = []
    page.on("console", lambda message: words.append(message.text))
    page.on("pageerror", lambda error: words.append(str(error)))
    _open(page)
    tag = page.locator(".opblock-tag", has_text="alerts").first
    tag.click()
    page.locator(".opblock", has_text="/api/v1/alerts/bulk").first.click()
    expect(page.locator(".opblock.is-open .responses-table").first).to_be_visible(timeout=WAIT_MS)
    assert words == []


def test_the_documentation_asks_nobody_else(group, page):
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    _open(page)
    assert asked
    assert [url for url in asked if not url.startswith((group.base, "data:"))] == []


def test_who_is_signed_in_at_the_console_tries_calls_out(page):
    sign_in(page)
    _open(page)
    page.locator(".opblock-tag", has_text="cases").first.click()
    page.locator("#operations-cases-post_cases").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text(
        "201", timeout=WAIT_MS
    )
