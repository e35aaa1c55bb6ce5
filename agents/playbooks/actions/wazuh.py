"""Wazuh's active response, over its API: the manager tells agents to block, to disable an account, to run what the operator installed there.

`PUT /active-response` starts a command on agents; which one does what is the operator's configuration, except for the two that Wazuh brings.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import orjson
from pydantic import Field, StringConstraints

from agents.playbooks.actions import http
from agents.playbooks.actions.contract import ConnectorSettings, HttpUrl, Order, Pem, Wired
from aurora.errors import Invalid

SERVES = frozenset({"block_ip", "disable_user", "isolate_host", "run_scan", "collect_forensics"})
SECRETS = frozenset({"password"})

Command = Annotated[str, StringConstraints(pattern=r"^!?[\w.-]{1,64}$")]


class Settings(ConnectorSettings):
    """`commands` and `undo_commands` by action; `agents`: ids of those that block and disable, where the step names no host."""

    url: HttpUrl
    username: str = Field(min_length=1, max_length=255)
    password: str = Field(min_length=1, max_length=1000)
    ca_pem: Pem = Field("")
    commands: dict[str, Command] = {"block_ip": "!firewall-drop", "disable_user": "!disable-account"}
    undo_commands: dict[str, Command] = {}
    agents: list[Annotated[str, StringConstraints(pattern=r"^\d{3,10}$")]] = Field([], max_length=1000)


def act(order: Order, wired: Wired) -> dict[str, Any]:
    """Starts the action's command on the agents of the step's hosts. Each start is one message; Wazuh knows no keys."""
    settings: Settings = wired.settings
    commands = settings.undo_commands if order.undo else settings.commands
    command = commands.get(order.action)
    if command is None:
        raise Invalid(f"No command is configured for {'undoing ' if order.undo else ''}{order.action}")
    session = _Session(settings, order.timeout)
    agents = _agents(order, session)
    alerts = _alerts(order)
    for alert in alerts:
        body = {"command": command, "arguments": [order.key], "alert": {"data": alert}}
        session.call("PUT", f"/active-response?agents_list={','.join(agents)}", body)
    return {"command": command, "agents": agents, "data": alerts}


def check(wired: Wired) -> str:
    session = _Session(wired.settings, 10)
    found = session.call("GET", "/agents/summary/status")
    return f"Signed in; agents: {str(found.get('data', {}).get('connection', {}))[:200]}"


def _agents(order: Order, session: _Session) -> list[str]:
    hosts = order.parameters.get("hosts") or (order.facts.get("alert", {}).get("hosts") if not session.agents else None)
    if not hosts:
        if not session.agents:
            raise Invalid("Neither the step nor the connector names an agent")
        return session.agents
    names = [str(host) for host in (hosts if isinstance(hosts, list) else [hosts])]
    return [session.agent_of(name) for name in names]


def _alerts(order: Order) -> list[dict[str, Any]]:
    """What the command reads: Wazuh's own scripts look for `srcip` and `dstuser`."""
    if order.action == "block_ip":
        return [{"srcip": address} for address in order.texts("targets", "network", "ips", "ip")]
    if order.action == "disable_user":
        return [{"dstuser": user} for user in order.texts("users", "user")]
    return [{"what": str(order.parameters.get("what", ""))}]


class _Session:
    """A signed-in caller of the manager's API."""

    def __init__(self, settings: Settings, timeout: float) -> None:
        self._settings, self._timeout = settings, timeout
        self.agents = settings.agents
        self._headers: dict[str, str] = {}
        found = self.call("POST", "/security/user/authenticate", auth=(settings.username, settings.password))
        token = found.get("data", {}).get("token")
        if not isinstance(token, str):
            raise Invalid("The manager gave no token")
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, body: Any = None, *, auth: tuple[str, str] | None = None) -> dict[str, Any]:
        """What the manager answers. Raises Invalid when it refuses, or answers that it did not do all of it; OSError."""
        status, answer = http.send(
            method,
            self._settings.url.rstrip("/") + path,
            headers={"Content-Type": "application/json", **self._headers},
            content=orjson.dumps(body) if body is not None else b"",
            timeout=self._timeout,
            auth=auth,
            ca_pem=self._settings.ca_pem,
        )
        http.require_success(status, answer)
        found = _json(answer)
        # Wazuh says 200 also for what it did for none, or for some, of the agents.
        if found.get("error"):
            raise Invalid(f"The manager did not do it: {str(found.get('message', ''))[:300]}")
        return found

    def agent_of(self, name: str) -> str:
        found = self.call("GET", f"/agents?name={quote(name, safe='')}&select=id,name")
        items = found.get("data", {}).get("affected_items", [])
        if not items:
            raise Invalid(f"No agent is named {name}")
        return str(items[0]["id"])


def _json(answer: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        raise Invalid("The manager did not answer in JSON") from None
    return found if isinstance(found, dict) else {}
