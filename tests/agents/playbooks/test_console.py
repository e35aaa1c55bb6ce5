"""The console's pages of playbooks, runs, approvals and connectors."""

from __future__ import annotations

import pytest

from agents.playbooks import approvals, authoring
from agents.playbooks.models import Approval, Connector, Execution, Playbook
from tests.agents.playbooks.stage import begin, person, statuses, work_off, write
from tests.cast import ANALYST
from tests.console_pages import signed_in, text_of
from tests.factories import make_case

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("library")]

HOSTILE = "<script>alert(1)</script>"
ISOLATE = {"name": "isolate", "action": "isolate_host", "parameters": {"hosts": [HOSTILE]}}


def test_a_playbook_is_a_picture_of_its_steps_with_what_its_last_version_changed():
    book = Playbook.objects.get(name="ransomware_emergency")
    authoring.edit_playbook(playbook_id=book.id, changes={"title": "Emergency!"}, actor=ANALYST)
    shown = text_of(signed_in("viewer").get(f"/admin/agents/playbook/{book.pk}/change/"))
    for part in ("<svg", "isolate all", "snapshot", "executive brief", "+title: Emergency!"):
        assert part in shown


def test_a_run_shows_its_steps_and_can_be_called_off(recorder):
    execution = begin(write(ISOLATE), ANALYST)
    work_off()
    client = signed_in("analyst")
    page = f"/admin/agents/execution/{execution.pk}/"
    shown = text_of(client.get(f"{page}change/"))
    assert "awaiting approval" in shown
    assert HOSTILE not in shown
    client.post(f"{page}do/cancel/")
    assert statuses(execution) == {"isolate": "cancelled"}


def test_the_inbox_counts_and_decides(recorder):
    execution = begin(write(ISOLATE), ANALYST)
    work_off()
    client, approval = signed_in("analyst"), Approval.objects.get()
    inbox = text_of(client.get("/admin/agents/approval/"))
    assert HOSTILE not in inbox
    assert "Isolate host" in inbox
    assert approvals.pending_count() == 1
    client.post(f"/admin/agents/approval/{approval.pk}/do/approve/")
    work_off()
    assert statuses(execution) == {"isolate": "completed"}


def test_a_viewer_reads_the_inbox_and_decides_nothing(recorder):
    begin(write(ISOLATE), person("ada"))
    work_off()
    client, approval = signed_in("viewer"), Approval.objects.get()
    assert "/do/approve/" not in text_of(client.get(f"/admin/agents/approval/{approval.pk}/change/"))
    assert client.post(f"/admin/agents/approval/{approval.pk}/do/approve/").status_code == 403


def test_a_playbook_is_run_from_a_case_by_a_press(recorder):
    case, book = make_case(), write(ISOLATE)
    answer = signed_in("analyst").post(
        f"/admin/cases/case/{case.pk}/do/run-playbook/", {"choice": f"dry:{book.pk}"}, follow=True
    )
    assert answer.status_code == 200
    assert Execution.objects.get().dry_run


def test_a_connector_is_tested_by_a_press():
    connector = Connector.objects.get(name="blocklist")
    signed_in("operator").post(f"/admin/agents/connector/{connector.pk}/do/test/")
    connector.refresh_from_db()
    assert connector.tested_at is not None


@pytest.mark.parametrize("model", ["playbook", "execution", "approval", "blocklistentry", "connector", "delivery"])
def test_every_list_answers(model):
    text_of(signed_in("admin").get(f"/admin/agents/{model}/"))
