"""Routes of the live page, below `/`."""

from __future__ import annotations

from django.urls import path
from django.views.generic import RedirectView

from realtime import views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="dashboard", permanent=False)),
    path("dashboard/", views.dashboard, name="dashboard"),
    path("dashboard/figures", views.figures, name="dashboard-figures"),
]
