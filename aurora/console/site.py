"""The console: Django's admin in the product's clothes, reading the product's table of roles."""

from __future__ import annotations

from unfold.sites import UnfoldAdminSite


class Console(UnfoldAdminSite):
    """The one AdminSite."""

    site_header = site_title = "AuroraSOC"
    index_title = "Overview"
