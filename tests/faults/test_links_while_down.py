"""An approver's link while PostgreSQL is away: a page that says so, for the very request that finds out too, and nothing decided."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from agents.playbooks import authoring, connectors, links
from agents.playbooks.models import Approval, ApprovalLink
from tests.agents.playbooks.stage import begin, person, work_off, write
from tests.cast import OPERATOR
from tests.faults.conftest import mend
from tests.proxy import Wire

PAGE = "/decide/"


@pytest.fixture
def token(wire, redis_client) -> str:
    authoring.ensure_library()
    connectors.ensure_own()
    settings = {"host": "127.0.0.1", "port": 1, "security": "none", "sender": "soc@corp.example"}
    settings |= {"recipients": ["soc@corp.example"]}
    mail = connectors.configure(name="mail", kind="email", changes={"settings": settings}, actor=OPERATOR)
    hook = {"url": "http://127.0.0.1:1/", "secret": "a-secret-of-twenty-one"}
    connectors.configure(name="edr", kind="webhook", changes={"settings": hook}, actor=OPERATOR)
    person("lea")
    isolate = {"name": "isolate", "action": "isolate_host", "parameters": {"hosts": ["ws-12"]}}
    begin(write(isolate), person("ana"))
    work_off()
    _, url = links.made_for(approval=Approval.objects.get(), username="lea", connector=mail)
    return parse_qs(urlsplit(url).query)["link"][0]


def test_a_link_decides_nothing_while_postgresql_is_away_and_is_good_when_it_is_back(wire, token):
    wire.set(Wire.REFUSED)
    presses = [
        Client().post(PAGE, {"link": token, "verdict": "approved"}),
        Client().get(PAGE, {"link": token}),
        Client().post(PAGE, {"link": token, "verdict": "approved"}),
    ]
    assert [answer.status_code for answer in presses] == [503] * 3
    assert all("The database is unavailable" in answer.content.decode() for answer in presses)
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in presses)
    mend(wire)
    assert (Approval.objects.get().status, ApprovalLink.objects.get().used_at) == ("pending", None)
    assert Client().post(PAGE, {"link": token, "verdict": "approved"}).status_code == 200
    assert Approval.objects.get().status == "approved"
