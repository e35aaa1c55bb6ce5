"""Routes of investigations, agents, playbooks, approvals and connectors, below `/api/v1/`."""

from __future__ import annotations

from django.urls import path

from agents import api
from agents.playbooks import api as playbooks
from agents.playbooks import api_response as response
from agents.playbooks import api_rules as rules

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
    path("playbooks", playbooks.Playbooks.as_view()),
    path("playbooks/<str:playbook_id>", playbooks.PlaybookDetail.as_view()),
    path("playbooks/<str:playbook_id>/versions", playbooks.PlaybookVersions.as_view()),
    path("playbooks/<str:playbook_id>/execute", playbooks.PlaybookExecute.as_view()),
    path("automation-rules", rules.AutomationRules.as_view()),
    path("automation-rules/<str:rule_id>", rules.AutomationRuleDetail.as_view()),
    path("automation-rules/<str:rule_id>/preview", rules.AutomationRulePreview.as_view()),
    path("executions", playbooks.Executions.as_view()),
    path("executions/<str:execution_id>", playbooks.ExecutionDetail.as_view()),
    path("executions/<str:execution_id>/cancel", playbooks.ExecutionCancel.as_view()),
    path("executions/<str:execution_id>/pause", playbooks.ExecutionPause.as_view()),
    path("executions/<str:execution_id>/resume", playbooks.ExecutionResume.as_view()),
    path("approvals", response.Approvals.as_view()),
    path("approvals/<str:approval_id>", response.ApprovalDetail.as_view()),
    path("approvals/<str:approval_id>/approve", response.ApprovalApprove.as_view()),
    path("approvals/<str:approval_id>/reject", response.ApprovalReject.as_view()),
    path("connectors", response.Connectors.as_view()),
    path("connectors/<str:connector_id>", response.ConnectorDetail.as_view()),
    path("connectors/<str:connector_id>/test", response.ConnectorTest.as_view()),
    path("connectors/<str:connector_id>/breaker", response.ConnectorBreaker.as_view()),
    path("deliveries", response.Deliveries.as_view()),
    path("deliveries/<str:delivery_id>/replay", response.DeliveryReplay.as_view()),
    path("blocklist", response.BlocklistEntries.as_view()),
    path("blocklist/<str:entry_id>/lift", response.BlocklistLift.as_view()),
    path("feeds/blocklist", response.Blocklist.as_view()),
]
