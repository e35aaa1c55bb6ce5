"""How people come into the console: through its form."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.group import PASSWORD

PATIENCE_MS = 60_000


def sign_in(page: Page, username: str = "admin") -> None:
    """Ends on the console's first page."""
    page.goto("/admin/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Today's figures")).to_be_visible(timeout=PATIENCE_MS)
