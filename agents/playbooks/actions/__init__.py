"""The kinds of connectors: by what means an action reaches the world. One module each, with the names of `contract.Kind`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from agents.playbooks.actions import blocklist, chat, email, ioc_store, ldap, wazuh, webhook
from agents.playbooks.actions.contract import Kind
from agents.playbooks.states import ConnectorKind

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        ConnectorKind.BLOCKLIST.value: cast(Kind, blocklist),
        ConnectorKind.IOC_STORE.value: cast(Kind, ioc_store),
        ConnectorKind.WEBHOOK.value: cast(Kind, webhook),
        ConnectorKind.EMAIL.value: cast(Kind, email),
        ConnectorKind.CHAT.value: cast(Kind, chat),
        ConnectorKind.WAZUH.value: cast(Kind, wazuh),
        ConnectorKind.LDAP.value: cast(Kind, ldap),
    }
)
