"""The live page and the console in a real browser, on the running product."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, StorageState, expect

from aurora.embedded import locations
from tests.browser.signing_in import sign_in
from tests.group import RunningGroup
from tests.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.group]

LIVE_MS = 1_000
BACK_MS = 60_000
NOTES = """
    window.opened = []; window.closes = []; window.states = [];
    window.WebSocket = class extends WebSocket {
        constructor(url) {
            super(url);
            window.opened.push(url);
            this.addEventListener("close", (event) => window.closes.push(event.code));
        }
    };
"""
NOTE_STATES = """() => {
    const pill = document.getElementById("state");
    new MutationObserver(() => window.states.push(pill.dataset.state)).observe(pill, { attributeFilter: ["data-state"] });
}"""
HOSTILE = """<img src=x onerror="document.title='owned'">"""


@pytest.fixture(scope="module")
def session(group: RunningGroup, browser: Browser) -> StorageState:
    """The cookies of somebody who has signed in through the form."""
    with browser.new_context(base_url=group.base) as context:
        page = context.new_page()
        sign_in(page)
        return context.storage_state()


@pytest.fixture
def page(group: RunningGroup, browser: Browser, session: StorageState) -> Iterator[Page]:
    """A page of somebody who has signed in."""
    with browser.new_context(base_url=group.base, storage_state=session) as context:
        context.set_default_timeout(10_000)
        yield context.new_page()


@pytest.fixture
def live(page: Page) -> Page:
    """The live page, both its feeds connected."""
    page.goto("/dashboard/")
    expect(page.locator("#state[data-state=connected]")).to_be_visible()
    return page


@pytest.fixture
def watched(page: Page) -> Page:
    """The live page, which notes its sockets, the codes with which they close, and how the page says that it stands."""
    page.add_init_script(NOTES)
    page.goto("/dashboard/")
    expect(page.locator("#state[data-state=connected]")).to_be_visible()
    page.evaluate(NOTE_STATES)
    return page


def test_an_alert_appears_within_a_second_of_being_posted(live: Page, api: httpx.Client):
    _post(api, "Seen at once")
    expect(_rows(live, "Seen at once")).to_be_visible(timeout=LIVE_MS)


def test_the_page_catches_up_after_the_web_process_was_killed(live: Page, group: RunningGroup, api: httpx.Client):
    live.evaluate("window.isTheSamePage = true")
    group.kill("manage.py serve")
    record = json.dumps({"title": "Stored while no web process was there", "severity": "low", "source": "test"})
    assert "1 created" in group.run("ingest", "generic", "-", stdin=record).stdout
    until(group.is_ready, 120, every=0.1)
    _post(api, "Posted when it was back")
    for title in ("Stored while no web process was there", "Posted when it was back"):
        expect(_rows(live, title)).to_have_count(1, timeout=BACK_MS)
    expect(live.locator("#state")).to_have_attribute("data-state", "connected", timeout=BACK_MS)
    assert live.evaluate("window.isTheSamePage") is True


def test_after_a_graceful_restart_the_page_comes_back_to_where_it_was(
    watched: Page, group: RunningGroup, api: httpx.Client
):
    _post(api, "Seen before the restart")
    expect(_rows(watched, "Seen before the restart")).to_be_visible(timeout=BACK_MS)
    sockets = watched.evaluate("opened.length")
    group.terminate("manage.py serve")
    expect(watched.locator("#state")).to_have_text("Reconnecting")
    record = json.dumps({"title": "Stored during the restart", "severity": "low", "source": "test"})
    assert "1 created" in group.run("ingest", "generic", "-", stdin=record).stdout
    until(group.is_ready, 120, every=0.1)
    expect(_rows(watched, "Stored during the restart")).to_have_count(1, timeout=BACK_MS)
    expect(watched.locator("#state")).to_have_attribute("data-state", "connected", timeout=BACK_MS)
    expect(_rows(watched, "Seen before the restart")).to_have_count(1)
    assert watched.evaluate("closes")[:sockets] == [1012] * sockets
    again = [url for url in watched.evaluate("opened")[sockets:] if "/ws/alerts" in url]
    assert again
    assert all("last_event_id=" in url for url in again)
    assert "behind" not in watched.evaluate("states")


def test_a_page_whose_place_is_gone_says_that_it_is_behind_and_catches_up(
    watched: Page, group: RunningGroup, api: httpx.Client
):
    _post(api, "Seen before Redis forgot")
    expect(_rows(watched, "Seen before Redis forgot")).to_be_visible(timeout=BACK_MS)
    with redis.Redis.from_url(locations.redis_url(group.data_dir)) as client:
        client.flushall()
    _post(api, "Posted to an empty Redis")
    expect(_rows(watched, "Posted to an empty Redis")).to_have_count(1, timeout=BACK_MS)
    until(lambda: "behind" in watched.evaluate("states"))
    expect(watched.locator("#state")).to_have_attribute("data-state", "connected", timeout=BACK_MS)
    expect(_rows(watched, "Seen before Redis forgot")).to_have_count(1)


def test_a_page_over_whose_sockets_nothing_can_come_says_so(watched: Page, group: RunningGroup, api: httpx.Client):
    state = watched.locator("#state")
    (server,) = group.members("redis-server")
    server.suspend()
    try:
        expect(state).to_have_text("Behind, the bus is away", timeout=BACK_MS)
        _post(api, "Posted while Redis was frozen")
    finally:
        server.resume()
    expect(_rows(watched, "Posted while Redis was frozen")).to_have_count(1, timeout=BACK_MS)
    expect(state).to_have_attribute("data-state", "connected", timeout=BACK_MS)
    assert watched.evaluate("closes") == []


def test_a_page_whose_server_hangs_says_so_and_comes_back_to_where_it_was(
    watched: Page, group: RunningGroup, api: httpx.Client
):
    state = watched.locator("#state")
    (server,) = group.members("manage.py serve")
    server.suspend()
    try:
        expect(state).to_have_attribute("data-state", "behind", timeout=BACK_MS)
        expect(state).to_have_attribute("data-state", "reconnecting", timeout=BACK_MS)
    finally:
        server.resume()
    _post(api, "Posted when it went on")
    expect(_rows(watched, "Posted when it went on")).to_have_count(1, timeout=BACK_MS)
    expect(state).to_have_attribute("data-state", "connected", timeout=BACK_MS)


def test_a_page_that_cannot_be_refilled_says_that_it_is_behind_until_it_is(watched: Page, group: RunningGroup):
    state = watched.locator("#state")
    watched.route("**/api/v1/alerts?*", lambda route: route.abort())
    with redis.Redis.from_url(locations.redis_url(group.data_dir)) as client:
        client.flushall()
    expect(state).to_have_attribute("data-state", "behind", timeout=BACK_MS)
    watched.wait_for_timeout(6_000)  # longer than a refill is waited for before it is tried again
    expect(state).to_have_attribute("data-state", "behind")
    watched.unroute("**/api/v1/alerts?*")
    expect(state).to_have_attribute("data-state", "connected", timeout=BACK_MS)


def test_a_title_that_is_markup_is_shown_as_text(live: Page, api: httpx.Client):
    alert = _post(api, HOSTILE)
    expect(_rows(live, HOSTILE)).to_be_visible(timeout=LIVE_MS)
    live.goto(f"/admin/cases/alert/{alert['id']}/change/")
    expect(live.locator(".au-record h2").first).to_contain_text(HOSTILE)
    expect(live.locator("img[src=x]")).to_have_count(0)
    expect(live).not_to_have_title("owned")


def test_no_page_makes_the_browser_complain(page: Page, api: httpx.Client):
    """A violation of the content security policy is such a complaint."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.extend(_complaint(message)))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    alert = _post(api, HOSTILE, raw_log=HOSTILE)
    case = api.post(f"/alerts/{alert['id']}/promote").raise_for_status().json()
    for path in (
        "/admin/",
        "/admin/cases/alert/",
        f"/admin/cases/alert/{alert['id']}/change/",
        f"/admin/cases/case/{case['id']}/change/",
        "/admin/agents/agent/",
        "/admin/auth/user/",
        "/admin/password_change/",
        "/dashboard/",
    ):
        answer = page.goto(path, wait_until="networkidle")
        assert answer is not None
        assert (answer.status, "content-security-policy" in answer.headers) == (200, True)
    assert complaints == []


def test_a_second_click_does_nothing_twice(page: Page, api: httpx.Client):
    case = api.post(f"/alerts/{_post(api, 'Commented on once')['id']}/promote").raise_for_status().json()
    page.goto(f"/admin/cases/case/{case['id']}/change/")
    page.get_by_label("Comment").fill("Seen before")
    page.get_by_role("button", name="Add comment").dblclick()
    expect(page.get_by_role("status")).to_have_text("Case commented on.")
    expect(page.locator(".au-timeline").get_by_text("Seen before")).to_have_count(1)


def test_the_keyboard_reaches_the_menu_and_the_filters(page: Page):
    page.goto("/admin/cases/alert/")
    page.get_by_role("button", name="Filters").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#changelist-filter")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#changelist-filter")).to_be_hidden()


def test_an_investigation_of_a_case_goes_by_the_cases_title(live: Page, api: httpx.Client):
    case = api.post("/cases", json={"title": "Everything about web-04", "severity": "low"}).raise_for_status().json()
    api.post("/investigations", json={"case_id": case["id"]}).raise_for_status()
    expect(live.locator("#thoughts").get_by_role("link", name="Everything about web-04")).to_be_visible()


def _post(api: httpx.Client, title: str, **fields: Any) -> dict[str, Any]:
    """A stored alert of low severity, which the agents leave alone."""
    answer = api.post("/alerts", json={"title": title, "severity": "low", "source": "browser-test", **fields})
    stored: dict[str, Any] = answer.raise_for_status().json()
    return stored


def _rows(page: Page, title: str) -> Locator:
    """The live page's rows of that title, compared as text."""
    exactly = page.locator(".text > b", has_text=re.compile(f"^{re.escape(title)}$"))
    return page.locator("#alerts > li").filter(has=exactly)


def _complaint(message: ConsoleMessage) -> list[str]:
    return [f"{message.location.get('url')}: {message.text}"] if message.type in ("error", "warning") else []
