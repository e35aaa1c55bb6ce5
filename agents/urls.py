"""Routes of investigations and agents, below `/api/v1/`."""

from __future__ import annotations

from django.urls import path

from agents import api

urlpatterns = [
    path("investigations", api.Investigations.as_view()),
    path("investigations/<str:investigation_id>", api.InvestigationDetail.as_view()),
    path("investigations/<str:investigation_id>/events", api.InvestigationEvents.as_view()),
    path("cases/<str:case_id>/report", api.CaseReport.as_view()),
    path("agents", api.Agents.as_view()),
    path("agents/<str:agent_type>", api.AgentDetail.as_view()),
    path("agents/<str:agent_type>/breaker", api.AgentBreaker.as_view()),
    path("orchestrator/dispatch", api.Dispatch.as_view()),
    path("stats", api.Stats.as_view()),
]
