"""`/api/v1`: rules that run playbooks when alerts arrive."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from agents.playbooks import answers, automation
from agents.playbooks.models import AutomationRule
from agents.playbooks.schemas import RuleIn, RulePatch
from aurora.rest.calls import Call
from aurora.rest.pagination import page_by_name
from aurora.rest.schemas import Page, PageQuery
from aurora.rest.views import ApiView, uuid_of


class AutomationRules(ApiView):
    """Rules by name; writing one. It is off until `enabled` is set."""

    permissions = {"GET": "playbooks:read", "POST": "playbooks:execute"}
    calls = {
        "GET": Call(query=PageQuery, answers={200: Page[answers.RuleAnswer]}),
        "POST": Call(body=RuleIn, answers={201: answers.RuleAnswer}, errors=(409,)),
    }

    def get(self, request: Request) -> Response:
        rows = AutomationRule.objects.select_related("playbook")
        return Response(page_by_name(rows, self.query(PageQuery), automation.describe, name="name"))

    def post(self, request: Request) -> Response:
        body = self.body(RuleIn)
        rule = automation.write_rule(
            name=body.name,
            playbook_id=body.playbook_id,
            condition=body.condition,
            changes=body.model_dump(include={"enabled", "dry_run", "max_per_minute"}),
            actor=self.actor,
        )
        return Response(automation.describe(rule), status=201)


class AutomationRuleDetail(ApiView):
    """One rule. What arrived before a change is not looked at again."""

    permissions = {"GET": "playbooks:read", "PATCH": "playbooks:execute", "DELETE": "playbooks:execute"}
    calls = {
        "GET": Call(answers={200: answers.RuleAnswer}),
        "PATCH": Call(body=RulePatch, answers={200: answers.RuleAnswer}),
        "DELETE": Call(answers={204: None}),
    }

    def get(self, request: Request, rule_id: str) -> Response:
        return Response(automation.describe(automation.find(uuid_of(rule_id))))

    def patch(self, request: Request, rule_id: str) -> Response:
        changes = self.body(RulePatch).model_dump(exclude_unset=True)
        rule = automation.edit_rule(rule_id=uuid_of(rule_id), changes=changes, actor=self.actor)
        return Response(automation.describe(rule))

    def delete(self, request: Request, rule_id: str) -> Response:
        automation.remove_rule(rule_id=uuid_of(rule_id), actor=self.actor)
        return Response(status=204)


class AutomationRulePreview(ApiView):
    """Of the newest alerts, how many the rule would have been for. Begins nothing."""

    permissions = {"GET": "playbooks:read"}
    calls = {"GET": Call(answers={200: answers.RulePreviewAnswer})}

    def get(self, request: Request, rule_id: str) -> Response:
        return Response(automation.preview(automation.find(uuid_of(rule_id))))
