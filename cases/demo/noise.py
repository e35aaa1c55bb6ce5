"""A company's ordinary day: what the sensors of a SOC report when nobody attacks.

Each kind is a function `(sensors, pick) → Draft`: it picks who and what, and leaves the record to be written
when the time is known. A draft can be written again, later: that is how a real sensor repeats itself, and
what merging duplicates is for. Some kinds look like an act of the attack on purpose (administrators use
PowerShell and WinRM, a backup sends gigabytes).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from cases.demo import noise_hosts, noise_network
from cases.demo.events import Render
from cases.demo.sensors import Sensors

REPEATED_SHARE = 0.35
MEMORY = 40  # how many drafts back a repetition may reach

Kind = Callable[[Sensors, Random], Render]


class Draft(NamedTuple):
    """A record of noise that waits for its time."""

    source: str
    render: Render


# How many of a thousand new records of noise are of each kind.
_KINDS: tuple[tuple[int, str, Kind], ...] = (
    (70, "suricata", noise_network.internet_scan),
    (55, "suricata", noise_network.ssh_scan),
    (60, "suricata", noise_network.package_update),
    (50, "suricata", noise_network.dynamic_dns),
    (45, "suricata", noise_network.vulnerability_scan),
    (35, "suricata", noise_network.vulnerability_scan_web),
    (30, "suricata", noise_network.old_tls),
    (12, "suricata", noise_network.file_sharing),
    (40, "suricata", noise_network.scripted_client),
    (20, "suricata", noise_network.ping_sweep),
    (15, "suricata", noise_network.admin_winrm),
    (18, "suricata", noise_network.plc_write),
    (45, "suricata", noise_network.flow_record),
    (40, "suricata", noise_network.dns_record),
    (25, "suricata", noise_network.stats_record),
    (75, "wazuh", noise_hosts.mistyped_password),
    (50, "wazuh", noise_hosts.ssh_invalid_user),
    (40, "wazuh", noise_hosts.web_not_found),
    (35, "wazuh", noise_hosts.package_installed),
    (35, "wazuh", noise_hosts.config_changed),
    (30, "wazuh", noise_hosts.sudo_used),
    (30, "wazuh", noise_hosts.backup_logon),
    (20, "wazuh", noise_hosts.managed_powershell),
    (12, "wazuh", noise_hosts.usb_stick),
    (5, "wazuh", noise_hosts.test_virus),
    (38, "alertmanager", noise_hosts.metric_alert),
    (12, "alertmanager", noise_hosts.resolved_alert),
    (30, "generic", noise_hosts.spam_quarantined),
    (15, "generic", noise_hosts.new_device),
    (13, "generic", noise_hosts.process_value),
)


def noise(*, sensors: Sensors, pick: Random) -> Iterator[Draft]:
    """Drafts without end; about `REPEATED_SHARE` of them say again what one of the last `MEMORY` said."""
    weights = [weight for weight, _, _ in _KINDS]
    recent: deque[Draft] = deque(maxlen=MEMORY)
    while True:
        if recent and pick.random() < REPEATED_SHARE:
            yield pick.choice(recent)
            continue
        _, source, kind = pick.choices(_KINDS, weights)[0]
        draft = Draft(source, kind(sensors, pick))
        recent.append(draft)
        yield draft
