"""Routes of alerts, intake, cases and IOCs, below `/api/v1/`."""

from __future__ import annotations

from django.urls import path

from cases import api, api_case_parts, api_cases

urlpatterns = [
    path("alerts", api.Alerts.as_view()),
    path("alerts/bulk", api.AlertBulk.as_view()),
    path("alerts/<str:alert_id>", api.AlertDetail.as_view()),
    path("alerts/<str:alert_id>/acknowledge", api.AlertAcknowledge.as_view()),
    path("alerts/<str:alert_id>/promote", api.AlertPromote.as_view()),
    path("alerts/<str:alert_id>/case-link", api.AlertCaseLink.as_view()),
    path("ingest/rejects", api.IngestRejects.as_view()),
    path("ingest/receipts/<str:receipt>", api.IngestReceiptDetail.as_view()),
    path("ingest/<str:source>", api.Ingest.as_view()),
    path("cases", api_cases.Cases.as_view()),
    path("cases/<str:case_id>", api_cases.CaseDetail.as_view()),
    path("cases/<str:case_id>/timeline", api_cases.CaseTimeline.as_view()),
    path("cases/<str:case_id>/comments", api_cases.CaseComments.as_view()),
    path("cases/<str:case_id>/merge", api_cases.CaseMerge.as_view()),
    path("cases/<str:case_id>/tasks", api_case_parts.CaseTasks.as_view()),
    path("cases/<str:case_id>/tasks/<str:task_id>", api_case_parts.CaseTaskDetail.as_view()),
    path("cases/<str:case_id>/evidence", api_case_parts.CaseEvidence.as_view()),
    path("cases/<str:case_id>/evidence/<str:evidence_id>", api_case_parts.EvidenceDetail.as_view()),
    path("cases/<str:case_id>/evidence/<str:evidence_id>/content", api_case_parts.EvidenceContent.as_view()),
    path("iocs", api_cases.Iocs.as_view()),
    path("iocs/lookup", api_cases.IocLookups.as_view()),
    path("iocs/import", api_cases.IocImport.as_view()),
    path("iocs/<str:ioc_id>", api_cases.IocDetail.as_view()),
]
