"""Connectors against real servers on loopback: what they send, how they are refused, and where they never go."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import orjson
import pytest
import structlog
from aiosmtpd.controller import Controller
from django.utils import timezone

from agents.playbooks import connectors, deliveries
from agents.playbooks.actions import chat, http, webhook
from agents.playbooks.actions.contract import Order
from agents.playbooks.definition import Retry
from agents.playbooks.models import Connector, Delivery
from aurora.errors import Invalid, Unavailable
from aurora.models import AuditEntry
from aurora.resilience.metrics import REFUSALS
from tests.cast import OPERATOR, ApiClient
from tests.console_pages import signed_in, text_of
from tests.group import free_port
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("library")]

SECRET = "a-secret-of-twenty-one"
FAILED = ("playbook_action_failed", "connector_test_failed")


class Server:
    """Answers what `answers` holds for a path, else 200 `{}`; keeps what it was sent."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: dict[str, tuple[int, object]] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.seen.append((self.command, self.path, dict(self.headers), body))
                status, answer = server.answers.get(self.path.partition("?")[0], (200, {}))
                self.send_response(status)
                if status in (301, 302):
                    self.send_header("Location", str(answer))
                content = orjson.dumps(answer)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = _any  # noqa: N815 - so the base class calls them

            def log_message(self, *_: object) -> None:
                """Quietly."""

        class Listener(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        self.httpd = Listener((host, port), Handler)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.httpd.server_port}"


@pytest.fixture
def server(settings) -> Iterator[Server]:
    settings.CONNECTOR_NETWORKS = ["127.0.0.0/8"]
    found = Server()
    thread = threading.Thread(target=found.httpd.serve_forever)
    thread.start()
    yield found
    found.httpd.shutdown()
    thread.join()
    found.httpd.server_close()


def _order(action="isolate_host", **more) -> Order:
    return Order(
        **{"action": action, "key": "key-1", "parameters": {"hosts": ["ws-1"]}, "timeout": 5.0, "why": "a drill"} | more
    )


def _act(connector: Connector, order: Order, attempts=1):
    return connectors.carry_out(connector=connector, order=order, retry=Retry(attempts=attempts, base_seconds=0))


def _webhook(server: Server, path="/hook") -> Connector:
    changes = {"settings": {"url": server.url + path, "secret": SECRET}}
    return connectors.configure(name="edr", kind="webhook", changes=changes, actor=OPERATOR)


def test_a_webhook_is_sent_signed_with_its_time_and_its_key(server):
    server.answers["/hook"] = (200, {"ticket": 7})
    outcome = _act(_webhook(server), _order())
    assert (outcome.status, outcome.result) == ("completed", {"connector": "edr", "answer": {"ticket": 7}})
    _, _, headers, body = server.seen[0]
    signed = f"{headers['X-Aurora-Timestamp']}.key-1.{body.decode()}".encode()
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["X-Aurora-Signature"] == f"sha256={expected}"
    assert headers["Idempotency-Key"] == headers["X-Aurora-Event-Id"] == "key-1"
    assert orjson.loads(body)["parameters"] == {"hosts": ["ws-1"]}


@pytest.mark.parametrize(
    ("status", "attempts", "says"),
    [
        (503, 3, "It answered 503"),
        (400, 1, "It refused with 400"),
        (302, 1, "redirects are not followed"),
        (429, 3, "429"),
    ],
)
def test_what_may_pass_is_tried_again_and_what_stays_wrong_is_not(server, status, attempts, says):
    server.answers["/hook"] = (status, server.url + "/elsewhere")
    outcome = _act(_webhook(server), _order(), attempts=3)
    assert outcome.status == "failed"
    assert says in outcome.error
    assert [path for _, path, _, _ in server.seen] == ["/hook"] * attempts
    assert Delivery.objects.filter(status=status, event_id="key-1").count() == attempts


@pytest.mark.parametrize("answer", [{"n": 1e30}, {"text": "a\0b"}, ["no", "object"]])
def test_what_a_receiver_answers_that_could_not_be_shown_is_not_kept(server, answer):
    server.answers["/hook"] = (200, answer)
    assert _act(_webhook(server), _order()).result == {"connector": "edr"}


def test_a_connector_that_fails_again_and_again_is_left_alone(server):
    server.answers["/hook"] = (503, {})
    connector = _webhook(server)
    _act(connector, _order(), attempts=3)
    assert "unavailable" in _act(connector, _order()).error.lower()
    assert len(server.seen) == 3


def test_what_an_open_breaker_refuses_is_counted(server):
    connector = _webhook(server)
    breaker = connectors.breaker_of(connector)
    breaker.force_open()
    before = REFUSALS.labels(breaker.name)._value.get()
    outcome = _act(connector, _order(), attempts=3)
    breaker.reset()
    assert outcome.status == "failed"
    assert REFUSALS.labels(breaker.name)._value.get() == before + 1


def test_a_fault_of_ours_leaves_where_it_was_and_a_targets_answer_does_not(server, monkeypatch):
    connector, nothing = _webhook(server), dict[str, str]()
    server.answers["/hook"] = (500, {})
    with structlog.testing.capture_logs() as lines:
        _act(connector, _order())
        connectors.test(connector_id=connector.id, actor=OPERATOR)
    assert [line["exc_info"] for line in lines if line["event"] in FAILED] == [None, None]
    monkeypatch.setattr(webhook, "act", lambda _order, _wired: nothing["missing"])
    monkeypatch.setattr(webhook, "check", lambda _wired: nothing["missing"])
    with structlog.testing.capture_logs() as lines:
        assert _act(connector, _order()).error == "KeyError: 'missing'"
        assert connectors.test(connector_id=connector.id, actor=OPERATOR)["detail"] == "KeyError: 'missing'"
    assert [type(line["exc_info"]) for line in lines if line["event"] in FAILED] == [KeyError, KeyError]


def test_what_was_sent_is_forgotten_after_ninety_days(server):
    connector, now = _webhook(server), timezone.now()
    for days in (89, 91):
        sent = now - timedelta(days=days)
        Delivery.objects.create(connector=connector, event_id=f"{days} days", body="{}", sent_at=sent)
    assert deliveries.forget(now=now) == 1
    assert [row.event_id for row in connector.deliveries.all()] == ["89 days"]


def test_a_delivery_is_replayed_under_its_own_id_and_freshly_signed(server):
    _act(_webhook(server), _order())
    operator = ApiClient("operator")
    [logged] = operator.call("GET", "/deliveries").json()["items"]
    answer = operator.call("POST", f"/deliveries/{logged['id']}/replay")
    assert (answer.status_code, answer.json()["is_replay"], answer.json()["event_id"]) == (200, True, "key-1")
    assert server.seen[0][3] == server.seen[1][3]


def test_a_secret_goes_in_and_never_comes_out(server):
    connector = _webhook(server)
    operator = ApiClient("operator")
    shown = operator.call("GET", f"/connectors/{connector.id}")
    assert SECRET.encode() not in shown.content
    assert shown.json()["secrets"] == ["secret"]
    assert SECRET not in Connector.objects.get(pk=connector.pk).secret
    operator.call("PATCH", f"/connectors/{connector.id}", {"priority": 5})
    assert _act(Connector.objects.get(pk=connector.pk), _order()).status == "completed"


def test_the_trail_tells_where_a_connector_led_and_leads_and_nothing_of_its_secret(server):
    connector, operator = _webhook(server), ApiClient("operator")
    url = connector.settings["url"]
    changes = {"priority": 5, "settings": {"url": "https://elsewhere.example/hook", "secret": SECRET[::-1]}}
    assert operator.call("PATCH", f"/connectors/{connector.id}", changes).status_code == 200
    operator.call("DELETE", f"/connectors/{connector.id}")
    made, changed, removed = AuditEntry.objects.filter(target_id=str(connector.id)).order_by("id")
    assert made.after["settings.url"] == url
    assert changed.before == {"priority": 100, "settings.url": url}
    assert changed.after == {
        "priority": 5,
        "settings.url": "https://elsewhere.example/hook",
        "secrets": ["secret"],
    }
    assert removed.before["settings.url"] == "https://elsewhere.example/hook"
    told = str([(entry.before, entry.after) for entry in (made, changed, removed)])
    assert SECRET not in told
    assert SECRET[::-1] not in told


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:9/", "https://mine.example/"])
def test_a_secret_does_not_follow_its_connector_to_another_address(server, elsewhere):
    connector, operator = _wazuh(server), ApiClient("operator")
    answer = operator.call("PATCH", f"/connectors/{connector.id}", {"settings": {"url": elsewhere}})
    assert answer.status_code == 400
    assert [(fault["loc"], fault["type"]) for fault in answer.json()["detail"]] == [
        (["body", "settings", "password"], "value_error")
    ]
    kept = {"url": connector.settings["url"], "username": "other"}
    assert operator.call("PATCH", f"/connectors/{connector.id}", {"settings": kept}).status_code == 200
    anew = {"url": elsewhere, "password": "another"}
    assert operator.call("PATCH", f"/connectors/{connector.id}", {"settings": anew}).status_code == 200
    connector.refresh_from_db()
    assert connectors.wired(connector).settings.password == "another"


def test_a_webhook_is_tested_by_a_message_that_asks_for_nothing(server):
    connector = _webhook(server)
    assert connectors.test(connector_id=connector.id, actor=OPERATOR)["is_working"] is True
    assert orjson.loads(server.seen[0][3])["action"] == "check"
    server.answers["/hook"] = (500, {})
    found = connectors.test(connector_id=connector.id, actor=OPERATOR)
    assert found == {"is_working": False, "detail": "It answered 500: {}"}


def test_nothing_inside_is_reached_unless_it_is_allowed(server, settings):
    connector = _webhook(server)
    settings.CONNECTOR_NETWORKS = []
    outcome = _act(connector, _order())
    assert "127.0.0.1 is no public address" in outcome.error
    assert server.seen == []


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"),
        *("::127.0.0.1", "fec0::1", "::ffff:169.254.169.254", "::", "fe80::1%lo", "2001:db8::1"),
    ],
)
def test_no_address_inside_is_public_however_it_is_written(settings, address):
    settings.CONNECTOR_NETWORKS = []
    assert not http.is_allowed(ip_address(address))


def test_public_addresses_are(settings):
    settings.CONNECTOR_NETWORKS = []
    assert http.is_allowed(ip_address("93.184.215.14"))
    assert http.is_allowed(ip_address("2606:2800:21f:cb07:6820:80da:af6b:8b2c"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://user:pw@example.org/", "gopher://example.org"])
def test_what_is_no_plain_http_address_is_refused(url):
    with pytest.raises(Invalid):
        http.send("GET", url, timeout=1)


@pytest.mark.parametrize(
    "host",
    ["127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"],
)
def test_nothing_inside_is_reached_however_its_address_is_written(server, settings, host):
    settings.CONNECTOR_NETWORKS = []
    with pytest.raises(Invalid, match=r"is no (public|HTTP) address"):
        http.send("POST", f"http://{host}:{server.httpd.server_port}/", timeout=1)
    assert server.seen == []


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example"])
def test_what_is_no_name_of_a_host_is_refused_and_no_fault_of_a_receiver(host):
    with pytest.raises(Invalid, match="no name of a host"):
        http.send("POST", f"https://{host}/", timeout=1)


def test_an_allowed_ipv6_address_is_reached(settings):
    settings.CONNECTOR_NETWORKS = ["::1/128"]
    six = Server("::1")
    thread = threading.Thread(target=six.httpd.serve_forever)
    thread.start()
    try:
        assert http.send("POST", six.url, timeout=5)[0] == 200
    finally:
        six.httpd.shutdown()
        thread.join()
        six.httpd.server_close()


@pytest.fixture
def rebinding(monkeypatch) -> list[str]:
    """A resolver that leads `rebind.test` to an allowed address the first time, and inside from then on; what it was asked."""
    asked, honest = list[str](), socket.getaddrinfo

    def resolve(host, *rest, **more):
        if host != "rebind.test":
            return honest(host, *rest, **more)
        asked.append(host)
        return honest("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize("kind", ["webhook", "chat"])
def test_a_name_that_leads_inside_the_second_time_is_not_asked_twice(server, settings, rebinding, kind):
    settings.CONNECTOR_NETWORKS = ["127.0.0.1/32"]
    inside = Server("127.0.0.2", server.httpd.server_port)
    thread = threading.Thread(target=inside.httpd.serve_forever)
    thread.start()
    try:
        place = f"rebind.test:{server.httpd.server_port}/room"
        webhook: dict[str, Any] = {"url": f"http://{place}", "secret": SECRET}
        given = webhook if kind == "webhook" else {"urls": [f"json://{place}"]}
        connector = connectors.configure(name="x", kind=kind, changes={"settings": given}, actor=OPERATOR)
        outcome = _act(connector, _order("notify", parameters={"text": "T"}))
    finally:
        inside.httpd.shutdown()
        thread.join()
        inside.httpd.server_close()
    assert (outcome.status, len(server.seen), inside.seen, len(rebinding)) == ("completed", 1, [], 1)


def test_a_room_that_redirects_is_not_followed(server):
    server.answers["/room"] = (302, server.url + "/elsewhere")
    url = server.url.replace("http://", "json://") + "/room?redirect=yes"
    connector = connectors.configure(name="chat", kind="chat", changes={"settings": {"urls": [url]}}, actor=OPERATOR)
    assert _act(connector, _order("notify", parameters={"text": "T"})).status == "failed"
    assert [path for _, path, _, _ in server.seen] == ["/room"]


def test_no_room_is_told_without_its_certificate(server):
    [room] = chat._rooms([f"jsons://127.0.0.1:{server.httpd.server_port}/room?verify=no"])
    assert room.verify_certificate is True


class Mailbox:
    """Takes every mail."""

    def __init__(self) -> None:
        self.mails: list[str] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802 - so its server calls it
        self.mails.append(envelope.content.decode())  # type: ignore[attr-defined]
        return "250 OK"


def test_a_mail_is_sent_with_a_message_id_of_the_key():
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        port = controller.port
        mail = {
            "host": "127.0.0.1",
            "port": port,
            "security": "none",
            "sender": "soc@corp.example",
            "recipients": ["lead@corp.example"],
        }
        connector = connectors.configure(name="mail", kind="email", changes={"settings": mail}, actor=OPERATOR)
        subject = "Phishing\r\nBcc: everybody@corp.example"
        outcome = _act(connector, _order("notify", parameters={"subject": subject, "text": "Do not click"}))
        assert outcome.status == "completed", outcome.error
        assert connectors.test(connector_id=connector.id, actor=OPERATOR)["is_working"] is True
    finally:
        controller.stop()
    [text] = mailbox.mails
    assert "Message-ID: <key-1@corp.example>" in text
    assert "Subject: Phishing Bcc: everybody@corp.example" in text
    assert "\nBcc:" not in text
    assert "Do not click" in text


def test_a_room_is_told_and_rooms_inside_only_when_allowed(server, settings):
    url = server.url.replace("http://", "json://") + "/room"
    connector = connectors.configure(name="chat", kind="chat", changes={"settings": {"urls": [url]}}, actor=OPERATOR)
    assert connector.settings == {}
    assert _act(connector, _order("notify", parameters={"subject": "S", "text": "T"})).status == "completed"
    assert orjson.loads(server.seen[0][3])["title"] == "S"
    settings.CONNECTOR_NETWORKS = []
    assert "no public address" in _act(connector, _order("notify", parameters={"text": "T"})).error


@pytest.mark.parametrize("url", ["file:///tmp/x", "syslog://", "exec://true", "dbus://"])
def test_rooms_that_are_none_are_refused(url):
    connector = connectors.configure(name="chat", kind="chat", changes={"settings": {"urls": [url]}}, actor=OPERATOR)
    assert "are not allowed" in _act(connector, _order("notify", parameters={"text": "T"})).error


def _wazuh(server: Server) -> Connector:
    server.answers |= {
        "/security/user/authenticate": (200, {"data": {"token": "t0k3n"}}),
        "/agents": (200, {"data": {"affected_items": [{"id": "007", "name": "ws-1"}]}, "error": 0}),
        "/active-response": (200, {"data": {"affected_items": ["007"]}, "error": 0}),
    }
    wazuh = {"url": server.url, "username": "soc", "password": "pw", "commands": {"block_ip": "!firewall-drop"}}
    return connectors.configure(name="wazuh", kind="wazuh", changes={"settings": wazuh}, actor=OPERATOR)


def test_wazuh_is_told_to_block_on_the_agent_of_the_host(server):
    order = _order("block_ip", parameters={"hosts": ["ws-1"], "targets": ["198.51.100.7"]})
    outcome = _act(_wazuh(server), order)
    assert outcome.status == "completed", outcome.error
    authenticate, agents, response = server.seen
    assert authenticate[2]["Authorization"].startswith("Basic ")
    assert agents[1] == "/agents?name=ws-1&select=id,name"
    assert (response[0], response[1], response[2]["Authorization"]) == (
        "PUT",
        "/active-response?agents_list=007",
        "Bearer t0k3n",
    )
    assert orjson.loads(response[3]) == {
        "command": "!firewall-drop",
        "arguments": ["key-1"],
        "alert": {"data": {"srcip": "198.51.100.7"}},
    }


def test_what_wazuh_did_for_no_agent_was_not_done(server):
    connector = _wazuh(server)
    server.answers["/active-response"] = (200, {"error": 1, "message": "AR command was not sent to any agent"})
    order = _order("block_ip", parameters={"hosts": ["ws-1"], "targets": ["198.51.100.7"]})
    assert "was not sent to any agent" in _act(connector, order).error


def test_an_action_without_a_command_is_refused(server):
    assert "No command is configured for isolate_host" in _act(_wazuh(server), _order()).error


@pytest.mark.parametrize(
    "given",
    [
        {"url": "https://[", "secret": "x" * 16},
        {"url": "https://:0", "secret": "x" * 16},
        {"url": "https://a.example:99999", "secret": "x" * 16},
        {"url": "https://a.example", "secret": "x" * 16, "ca_pem": "no certificate"},
        {"url": "https://a.example", "secret": "x" * 16, "ca_pem": "k\x80\xd9"},
        {"url": "https://a.example", "secret": 10**16},
    ],
)
def test_settings_that_could_never_work_are_refused_when_they_are_set(given):
    answer = ApiClient("operator").call("POST", "/connectors", {"name": "hook", "kind": "webhook", "settings": given})
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"][:2] == ["body", "settings"]


def test_a_whole_number_may_be_written_with_a_point():
    settings = {"host": "mail.example", "port": 25.0, "sender": "soc@a.example", "recipients": ["soc@a.example"]}
    answer = ApiClient("operator").call("POST", "/connectors", {"name": "mail", "kind": "email", "settings": settings})
    assert (answer.status_code, answer.json()["settings"]["port"]) == (201, 25)


def _open(connector: Connector) -> None:
    """Its target fails until nobody is let through any more."""
    for _ in range(3):
        with pytest.raises(OSError, match="down"):
            connectors.breaker_of(connector).call(lambda: (_ for _ in ()).throw(OSError("down")))
    assert connectors.breaker_of(connector).snapshot().state == "open"


def test_a_worker_that_dies_as_it_probes_does_not_keep_its_steps_next_from_probing(recorder, settings):
    # The latter is a lease that no busy machine outwaits.
    settings.BREAKER_RESET_SECONDS, settings.BUS_CLAIM_SECONDS = 0.01, 6.0
    connector = Connector.objects.get(name="recorder")
    _open(connector)
    until(lambda: _is_admitted(connector))  # and never heard of again
    assert "unavailable" in _act(connector, _order()).error
    until(lambda: _act(connector, _order()).status == "completed", seconds=30)


def _is_admitted(connector: Connector) -> bool:
    try:
        connectors.breaker_of(connector).admit()
    except Unavailable:
        return False
    return True


def test_an_operator_lets_a_mended_target_be_called_at_once(recorder):
    connector = Connector.objects.get(name="recorder")
    _open(connector)
    operator, call = ApiClient("operator"), f"/connectors/{connector.id}/breaker"
    assert ApiClient("analyst").call("POST", call, {"action": "reset"}).status_code == 403
    assert operator.call("POST", call, {"action": "hold"}).status_code == 400
    assert operator.call("POST", call, {"action": "reset"}).json()["breaker"]["state"] == "closed"
    assert AuditEntry.objects.get(action="breaker.reset").before == {"state": "open"}
    assert _act(connector, _order()).status == "completed"


def test_the_console_resets_a_breaker_that_is_open(recorder):
    connector = Connector.objects.get(name="recorder")
    client, page = signed_in("operator"), f"/admin/agents/connector/{connector.pk}"
    assert "do/reset/" not in text_of(client.get(f"{page}/change/"))
    _open(connector)
    assert "do/reset/" in text_of(client.get(f"{page}/change/"))
    client.post(f"{page}/do/reset/")
    assert connectors.breaker_of(connector).snapshot().state == "closed"
