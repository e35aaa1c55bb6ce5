"""What columns are called: as a sentence begins, whether the console or a model names them."""

from __future__ import annotations

import re

import pytest

from aurora.ids import new_id
from cases.admin import IocAdmin
from cases.models import IngestReceipt
from tests.agents.playbooks.stage import begin, block, write
from tests.cast import ANALYST
from tests.console_pages import signed_in, text_of
from tests.factories import make_ioc

pytestmark = pytest.mark.django_db


def _labels(path: str) -> set[str]:
    return set(re.findall(r'<td[^>]* data-label="([^"]+)"', text_of(signed_in("admin").get(path))))


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/admin/agents/execution/", "Requested by"),
        ("/admin/cases/ioc/", "Source"),
        ("/admin/cases/ingestreceipt/", "Rejected"),
        ("/admin/aurora/auditentry/", "Actor"),
    ],
)
def test_each_column_is_named_as_a_sentence_begins(path, label):
    begin(write(block()), ANALYST)
    make_ioc("198.51.100.9")
    IngestReceipt.objects.create(
        receipt=new_id(), source="wazuh", received=1, created=1, merged=0, ignored=0, rejected=0
    )
    labels = _labels(path)
    assert label in labels
    assert [name for name in labels if name != name[:1].upper() + name[1:]] == []


def test_a_list_is_still_sorted_by_such_a_column():
    make_ioc("198.51.100.9", source="zeek"), make_ioc("198.51.100.8", source="analyst")
    place = IocAdmin.list_display.index("source")
    upwards, downwards = (text_of(signed_in("admin").get(f"/admin/cases/ioc/?o={sign}{place}")) for sign in ("", "-"))
    assert upwards.index(">analyst<") < upwards.index(">zeek<")
    assert downwards.index(">zeek<") < downwards.index(">analyst<")


def test_yes_and_no_are_signs():
    shown = text_of(signed_in("admin").get("/admin/auth/user/"))
    [cell] = re.findall(r'<td[^>]* data-label="Active">(.*?)</td>', shown, re.DOTALL)
    assert "check_small" in cell
