"""How much an asset matters, told from its name and kind, and which addresses belong to which host name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from agents.builtin.scope import Scope
from aurora.addresses import address_or_none
from cases.models import Alert
from cases.states import AssetType

# Whole words of a host name, digits cut off: `dc-01.corp.example` → dc, corp, example.
_ROLES: tuple[tuple[str, int, frozenset[str]], ...] = (
    ("domain controller", 4, frozenset({"dc", "addc", "pdc", "krb", "kdc"})),
    ("industrial control", 4, frozenset({"plc", "scada", "hmi", "rtu", "ics", "historian", "dcs"})),
    ("certificate authority", 4, frozenset({"ca", "pki", "adcs"})),
    ("identity provider", 4, frozenset({"idp", "sso", "adfs", "ldap", "iam", "okta"})),
    ("hypervisor", 4, frozenset({"esx", "esxi", "vcenter", "hyperv", "hv"})),
    ("backup", 4, frozenset({"bkp", "backup", "veeam"})),
    ("database", 3, frozenset({"db", "sql", "mssql", "mysql", "postgres", "pg", "oracle"})),
    ("file server", 3, frozenset({"fs", "file", "files", "nas", "fileserver"})),
    ("mail server", 3, frozenset({"mail", "mx", "exchange", "smtp", "exch"})),
    ("administration host", 3, frozenset({"jump", "bastion", "admin", "paw", "sccm", "wsus"})),
    ("payment or ERP", 3, frozenset({"erp", "sap", "pos", "swift", "payment", "pay"})),
    ("network device", 3, frozenset({"fw", "firewall", "vpn", "router", "rtr", "sw", "switch", "gw"})),
    ("server", 2, frozenset({"srv", "server", "web", "www", "app", "api", "dns", "proxy", "nginx"})),
    ("workstation", 1, frozenset({"ws", "pc", "desktop", "laptop", "lt", "nb", "client", "wks", "win"})),
)
_ACCOUNT = re.compile(r"@|:(?:user|role|root|assumed-role|federated-user)(?:/|$)")
_TYPES = {
    AssetType.CPS_CONTROLLER: ("industrial control", 4),
    AssetType.IDENTITY: ("identity", 3),
    AssetType.NETWORK_DEVICE: ("network device", 3),
    AssetType.SERVER: ("server", 2),
    AssetType.CLOUD_RESOURCE: ("cloud resource", 2),
    AssetType.IOT_SENSOR: ("sensor", 2),
    AssetType.WORKSTATION: ("workstation", 1),
    AssetType.MOBILE: ("mobile", 1),
}
_WORD = re.compile(r"[a-z]+")
CRITICAL_LEVEL = 3
LEVELS = ("unknown", "ordinary", "raised", "high", "critical")


@dataclass(frozen=True, slots=True)
class Criticality:
    """`level` from 0 (unknown) to 4 (critical, an index of `LEVELS`); `role` and `reason` say what was recognised."""

    asset: str
    level: int
    role: str
    reason: str

    @property
    def is_critical(self) -> bool:
        return self.level >= CRITICAL_LEVEL


def criticality(asset: str, asset_type: str = "") -> Criticality:
    """Told from words in the asset's name first, then from the type its sensor gave."""
    # Of a cloud's resource name only the last part is a name; before it stand the service and the account.
    name = asset.rpartition(":")[2] if asset.startswith("arn:") else asset.partition(".")[0]
    words = [] if is_address(asset) else _WORD.findall(name.lower())
    for role, level, names in _ROLES:
        found = names.intersection(words)
        if found:
            return Criticality(asset, level, role, f"“{min(found)}” in its name")
    if asset_type in _TYPES:
        role, level = _TYPES[AssetType(asset_type)]
        return Criticality(asset, level, role, f"its sensor calls it {asset_type}")
    return Criticality(asset, 0, "unknown role", "neither its name nor its sensor tells")


def most_critical(scope: Scope, alerts: Iterable[Alert]) -> Criticality | None:
    """The most critical asset that the alerts name. The sensor's type counts for an alert's own host only if it is alone."""
    found = []
    for alert in alerts:
        assets = scope.of(alert).assets
        found += [criticality(name, alert.asset_type if len(assets) == 1 else "") for name in assets]
    return max(found, key=lambda one: one.level, default=None)


def aliases(scope: Scope) -> dict[str, str]:
    """Host name by address, from alerts of host agents: one name and one address that was no end of a connection."""
    found = {}
    for alert in scope.alerts:
        if "agent_id" not in alert.metadata:
            continue
        ends = {alert.metadata.get("src_ip"), alert.metadata.get("dest_ip")}
        assets = scope.of(alert).assets
        addresses = [name for name in assets if is_address(name) and name not in ends]
        names = [name for name in assets if not is_address(name)]
        if len(addresses) == 1 and len(names) == 1:
            found[addresses[0]] = names[0]
    return found


def is_address(text: str) -> bool:
    return address_or_none(text) is not None


def is_account(name: str, asset_type: str, users: Iterable[str]) -> bool:
    """Whether what a sensor calls an asset is somebody's account, of those that it names or by its own form."""
    if is_address(name):
        return False
    return bool(_ACCOUNT.search(name)) or asset_type == AssetType.IDENTITY or name in users
