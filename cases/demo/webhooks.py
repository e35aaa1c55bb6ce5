"""Senders of JSON of their own: Alertmanager, and as `generic` mail gateway, identity provider, OT monitor.

Format of Alertmanager: its documentation, "Webhook receiver", version 4. The generic senders use the fields
of `POST /api/v1/alerts` and keep what else they know in an object of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cases.demo.estate import COMPANY_DOMAIN, fingerprint
from cases.demo.events import Record

_NEVER_ENDED = "0001-01-01T00:00:00Z"
_ALERTMANAGER_URL = f"http://alertmanager.{COMPANY_DOMAIN}:9093"
_PROMETHEUS_URL = f"http://prometheus.{COMPANY_DOMAIN}:9090"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sign-in came from, as the identity provider's GeoIP saw it."""

    ip: str
    city: str
    country: str


def alertmanager(
    at: datetime,
    *,
    name: str,
    severity: str,
    instance: str,
    summary: str,
    description: str,
    is_resolved: bool = False,
    **labels: str,
) -> Record:
    """One notification of one alert that has been pending for five minutes."""
    common = {"alertname": name, "instance": instance, "severity": severity} | labels
    started = at - timedelta(minutes=90 if is_resolved else 5)
    status = "resolved" if is_resolved else "firing"
    annotations = {"description": description, "summary": summary}
    alert = {
        "status": status,
        "labels": dict(sorted(common.items())),
        "annotations": annotations,
        "startsAt": _stamp(started),
        "endsAt": _stamp(at) if is_resolved else _NEVER_ENDED,
        "generatorURL": f"{_PROMETHEUS_URL}/graph?g0.expr={name}&g0.tab=1",
        "fingerprint": fingerprint("alertmanager", *sorted(common.items()))[:16],
    }
    return {
        "receiver": "aurorasoc",
        "status": status,
        "alerts": [alert],
        "groupLabels": {"alertname": name},
        "commonLabels": alert["labels"],
        "commonAnnotations": annotations,
        "externalURL": _ALERTMANAGER_URL,
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{name}"}}',
        "truncatedAlerts": 0,
    }


def mail_gateway(
    at: datetime,
    *,
    title: str,
    severity: str,
    description: str,
    sender: str,
    recipient: str,
    subject: str,
    verdict: str,
    iocs: tuple[str, ...] = (),
    techniques: tuple[str, ...] = (),
) -> Record:
    """A verdict on one message."""
    return {
        "title": title,
        "severity": severity,
        "source": "mail-gateway",
        "category": "email",
        "description": description,
        "occurred_at": _stamp(at),
        "iocs": list(iocs),
        "mitre_techniques": list(techniques),
        "affected_assets": [recipient],
        "user": recipient.split("@")[0],
        "mail": {
            "message_id": f"<{fingerprint(at.isoformat(), recipient)[:20]}@{sender.split('@')[1]}>",
            "sender": sender,
            "recipient": recipient,
            "subject": subject,
            "verdict": verdict,
        },
    }


def identity_provider(
    at: datetime,
    *,
    title: str,
    severity: str,
    description: str,
    user: str,
    outcome: str,
    places: tuple[Place, ...],
    techniques: tuple[str, ...] = (),
    iocs: tuple[str, ...] = (),
) -> Record:
    """A risk detection of single sign-on; the last of `places` is the sign-in that it is about."""
    return {
        "title": title,
        "severity": severity,
        "source": "identity-provider",
        "category": "identity",
        "asset_type": "identity",
        "description": description,
        "occurred_at": _stamp(at),
        "iocs": list(iocs),
        "mitre_techniques": list(techniques),
        "affected_assets": [user],
        "user": user,
        "sign_in": {
            "user": f"{user}@{COMPANY_DOMAIN}",
            "application": "Corporate mail",
            "outcome": outcome,
            "locations": [{"ip": place.ip, "city": place.city, "country": place.country} for place in places],
        },
    }


def ot_monitor(
    at: datetime,
    *,
    title: str,
    severity: str,
    description: str,
    device: str,
    kind: str,
    reading: float,
    unit: str,
) -> Record:
    """An anomaly of a process value or a field device; `kind` is `iot_sensor` or `cps_controller`."""
    return {
        "title": title,
        "severity": severity,
        "source": "ot-monitor",
        "category": "cps",
        "asset_type": kind,
        "description": description,
        "occurred_at": _stamp(at),
        "affected_assets": [device],
        "measurement": {"device": device, "value": reading, "unit": unit},
    }


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
