"""A response in a real browser, on the running product: from an alert over a run and a second person's approval to the feed that firewalls fetch."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browser.signing_in import sign_in
from tests.group import PASSWORD, RunningGroup, free_port
from tests.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.group]

PATIENCE_MS = 30_000
SAME_PAGE = "window.isTheSamePage"


@pytest.fixture(scope="module")
def lea(group: RunningGroup) -> str:
    """The second person."""
    with group.api() as api:
        account = {"username": "lea", "password": PASSWORD, "role": "analyst"}
        api.post("/users", json=account).raise_for_status()
    return "lea"


@pytest.fixture(scope="module")
def careful(group: RunningGroup) -> dict[str, Any]:
    """A playbook that asks before it blocks."""
    step = {"name": "block source", "action": "block_ip", "parameters": {"targets": "{{ alert.network }}"}}
    body = {"name": "careful_block", "title": "Careful block", "steps": [step | {"requires_approval": "always"}]}
    with group.api() as api:
        made: dict[str, Any] = api.post("/playbooks", json=body).raise_for_status().json()
    return made


@contextmanager
def _page(browser: Browser, group: RunningGroup, username: str = "") -> Iterator[Page]:
    """A page of a person of that name, or of nobody. It must not complain: a violation of the content security policy is a complaint."""
    complaints: list[str] = []
    with browser.new_context(base_url=group.base) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", lambda message: complaints.extend(_complaint(message)))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if username:
            sign_in(page, username)
        yield page
    assert complaints == []


def _complaint(message: ConsoleMessage) -> list[str]:
    return [message.text] if message.type in ("error", "warning") else []


def _alert(api: httpx.Client, address: str) -> dict[str, Any]:
    body = {"title": f"Beacon to {address}", "severity": "low", "source": "journey", "iocs": [address]}
    stored: dict[str, Any] = api.post("/alerts", json=body | {"affected_assets": ["ws-12"]}).raise_for_status().json()
    return stored


def _is_blocked(api: httpx.Client, address: str) -> bool:
    return address in api.get("/feeds/blocklist", params={"type": "ip"}).raise_for_status().text.split()


def test_from_an_alert_over_a_second_persons_approval_to_the_feed(
    group: RunningGroup, browser: Browser, api: httpx.Client, lea: str, careful: dict[str, Any]
):
    address = "198.51.100.77"
    alert = _alert(api, address)
    with _page(browser, group, "admin") as asking, _page(browser, group, lea) as deciding:
        asking.goto(f"/admin/cases/alert/{alert['id']}/change/")
        asking.get_by_label("Run playbook").select_option(label="Careful block")
        asking.get_by_role("button", name="Run playbook").click()
        expect(asking.locator("[data-step='block source'][data-status=awaiting_approval]")).to_be_visible()
        asking.evaluate(f"{SAME_PAGE} = true")
        assert not _is_blocked(api, address)

        deciding.goto("/admin/agents/approval/")
        deciding.locator("#result_list").get_by_role(
            "link", name=re.compile(re.escape(address.replace(".", "[.]")))
        ).click()
        expect(deciding.locator(".au-record")).to_contain_text("asks before it")
        deciding.get_by_label("Reason").fill("seen in the proxy's log")
        deciding.get_by_role("button", name="Approve").click()
        expect(deciding.locator(".au-record")).to_contain_text("seen in the proxy's log")

        expect(asking.locator("[data-step='block source'][data-status=completed]")).to_be_visible()
        expect(asking.locator(".au-record")).to_contain_text("1 of 1 steps completed")
        assert asking.evaluate(SAME_PAGE) is True
    until(lambda: _is_blocked(api, address))


def test_the_inbox_fills_and_empties_without_a_reload(
    group: RunningGroup, browser: Browser, api: httpx.Client, lea: str, careful: dict[str, Any]
):
    with _page(browser, group, lea) as page:
        page.goto("/admin/agents/approval/?status__exact=pending")
        page.evaluate(f"{SAME_PAGE} = true")
        alert = _alert(api, "198.51.100.78")
        run = api.post(f"/playbooks/{careful['id']}/execute", json={"alert_id": alert["id"]}).raise_for_status().json()
        expect(page.locator("#changelist").get_by_text("198[.]51[.]100[.]78")).to_be_visible()
        api.post(f"/executions/{run['id']}/cancel").raise_for_status()
        expect(page.locator("#changelist").get_by_text("198[.]51[.]100[.]78")).to_have_count(0)
        assert page.evaluate(SAME_PAGE) is True


def test_who_walks_through_the_inbox_by_keyboard_stays_where_they_are(
    group: RunningGroup, browser: Browser, api: httpx.Client, lea: str, careful: dict[str, Any]
):
    def ask(address: str) -> None:
        about = {"alert_id": _alert(api, address)["id"]}
        api.post(f"/playbooks/{careful['id']}/execute", json=about).raise_for_status()

    ask("198.51.100.82")
    with _page(browser, group, lea) as page:
        page.goto("/admin/agents/approval/?status__exact=pending")
        page.get_by_role("link", name=re.compile(re.escape("198[.]51[.]100[.]82"))).focus()
        ask("198.51.100.83")
        expect(page.locator("#changelist").get_by_text("198[.]51[.]100[.]83")).to_be_visible()
        expect(page.get_by_role("link", name=re.compile(re.escape("198[.]51[.]100[.]82")))).to_be_focused()


def test_the_sidebars_count_of_approvals_moves_on_every_page(
    group: RunningGroup, browser: Browser, api: httpx.Client, lea: str, careful: dict[str, Any]
):
    waiting = len(api.get("/approvals", params={"status": "pending"}).raise_for_status().json()["items"])
    with _page(browser, group, lea) as page:
        page.goto("/admin/cases/ioc/")
        page.evaluate(f"{SAME_PAGE} = true")
        entry = page.locator("#nav-sidebar-apps").get_by_role("link", name="Approvals")
        expect(entry).to_have_text(_counted(waiting))
        alert = _alert(api, "198.51.100.81")
        run = api.post(f"/playbooks/{careful['id']}/execute", json={"alert_id": alert["id"]}).raise_for_status().json()
        expect(entry).to_have_text(_counted(waiting + 1))
        api.post(f"/executions/{run['id']}/cancel").raise_for_status()
        expect(entry).to_have_text(_counted(waiting))
        assert page.evaluate(SAME_PAGE) is True


def _counted(number: int) -> re.Pattern[str]:
    """The sidebar's line: icon, title, and a badge unless there is nothing to count."""
    return re.compile(rf"Approvals\s*{number or ''}\s*$")


def test_a_reason_that_is_being_written_is_not_taken_away(
    group: RunningGroup, browser: Browser, api: httpx.Client, lea: str, careful: dict[str, Any]
):
    alert = _alert(api, "198.51.100.79")
    run = api.post(f"/playbooks/{careful['id']}/execute", json={"alert_id": alert["id"]}).raise_for_status().json()
    until(lambda: _pending(api, run))
    with _page(browser, group, lea) as page:
        page.goto(f"/admin/agents/approval/{_pending(api, run)[0]['id']}/change/")
        page.get_by_label("Reason").fill("half a sentence")
        with page.expect_response(lambda answer: "/admin/agents/approval/" in answer.url):
            api.post(f"/executions/{run['id']}/cancel").raise_for_status()
        page.wait_for_load_state("networkidle")
        expect(page.get_by_label("Reason")).to_have_value("half a sentence")


def test_a_link_in_a_mail_leads_to_a_page_whose_button_decides(
    group: RunningGroup, browser: Browser, api: httpx.Client, lea: str, careful: dict[str, Any]
):
    address = "198.51.100.80"
    with _mailbox(api) as (mails, arrived), _page(browser, group) as page:
        alert = _alert(api, address)
        run = api.post(f"/playbooks/{careful['id']}/execute", json={"alert_id": alert["id"]}).raise_for_status().json()
        assert arrived.wait(60)
        link = re.search(r"http\S+", mails[0].replace("=\r\n", "").replace("=3D", "="))
        assert link
        for _ in range(2):
            page.goto(link[0])
            expect(page.get_by_role("heading")).to_have_text("Block IP?")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("heading")).to_have_text("Block IP: approved")
        until(lambda: _is_blocked(api, address))
        until(lambda: api.get(f"/executions/{run['id']}").json()["status"] == "completed")


def _pending(api: httpx.Client, run: dict[str, Any]) -> list[dict[str, Any]]:
    query = {"status": "pending", "execution_id": run["id"]}
    found: list[dict[str, Any]] = api.get("/approvals", params=query).raise_for_status().json()["items"]
    return found


@contextmanager
def _mailbox(api: httpx.Client) -> Iterator[tuple[list[str], threading.Event]]:
    """A mail server on loopback, and a connector that sends lea her links there."""
    mails, arrived = list[str](), threading.Event()

    class Keeper:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd calls it so
            mails.append(envelope.content.decode())
            arrived.set()
            return "250 kept"

    controller = Controller(Keeper(), hostname="127.0.0.1", port=free_port())
    controller.start()
    settings = {"host": "127.0.0.1", "port": controller.port, "security": "none", "sender": "soc@corp.example"}
    settings |= {"recipients": ["soc@corp.example"], "approvers": {"lea": "lea@corp.example"}}
    made = api.post("/connectors", json={"name": "mail", "kind": "email", "settings": settings}).raise_for_status()
    yield mails, arrived
    api.delete(f"/connectors/{made.json()['id']}").raise_for_status()
    controller.stop()
