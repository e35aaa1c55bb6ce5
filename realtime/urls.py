"""Routes of `realtime` below `/api/v1/`. The sockets themselves are in `realtime.routing`."""

from __future__ import annotations

from django.urls import path

from realtime.api import TicketView

urlpatterns = [path("ws/ticket", TicketView.as_view(), name="ws-ticket")]
