"""Routes of pages outside of the console, below `/`."""

from __future__ import annotations

from django.urls import path

from agents.playbooks import link_page

urlpatterns = [path("decide/", link_page.approval_link, name="approval-link")]
