"""Deliveries of EVE alerts as an office network's Suricata writes them: several protocols, addresses and names that recur."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import orjson

from cases.demo import suricata
from cases.demo.suricata import Application, Conversation, Rule

ADDRESSES = 300
HOSTS = 100
_RULES = 40
_START = datetime(2026, 11, 20, 8, tzinfo=UTC)
_CATEGORIES = (
    "Malware Command and Control Activity Detected",
    "A Network Trojan was detected",
    "Attempted Information Leak",
    "Potentially Bad Traffic",
    "Web Application Attack",
)


def delivery(number: int, size: int) -> bytes:
    """NDJSON of `size` alerts, each distinct within the delivery and from those of other deliveries.

    300 outside addresses and 100 names a delivery, drawn from a larger world that deliveries share. `size` is at most 600.
    """
    rng = Random(number)
    sensor = suricata.Suricata(rng)
    addresses = [f"203.{rng.randrange(20)}.{rng.randrange(1, 255)}.{place % 254 + 1}" for place in range(ADDRESSES)]
    hosts = [f"cdn-{rng.randrange(900)}.node-{place}.example" for place in range(HOSTS)]
    records = []
    for place in range(size):
        app = _application(rng, place, hosts[place % HOSTS], number)
        talk = Conversation(
            src=f"10.20.{rng.randrange(8)}.{rng.randrange(2, 250)}",
            dst=addresses[place % ADDRESSES],
            port={"http": 80, "tls": 443}.get(app.proto if app else "", 8443),
            up=rng.randrange(300, 9_000),
            down=rng.randrange(0, 90_000),
            flow_id=rng.randrange(10**14, 2 * 10**15),
        )
        at = _START + timedelta(seconds=number * 30, milliseconds=place * 50)
        records.append(sensor.alert(at, rule=_rule(place % _RULES, number), talk=talk, app=app))
    return b"\n".join(map(orjson.dumps, records))


def _rule(place: int, number: int) -> Rule:
    return Rule(
        sid=1_000_000 + place,
        message=f"LOCAL MALWARE Family {place} check-in, campaign {number}",
        category=_CATEGORIES[place % len(_CATEGORIES)],
        rating=("Major", "Critical", "Minor")[place % 3],
        techniques=("T1071.001",) if place % 2 else ("T1071.001", "T1105"),
    )


def _application(rng: Random, place: int, host: str, number: int) -> Application | None:
    """Six of ten over HTTP, three over TLS, one that no parser knows."""
    kind = place // 3 % 10
    if kind < 6:
        url = f"/gate/{place % 17}/in.php?id={rng.randrange(10**6)}"
        return suricata.http(host=host, url=url, agent="Mozilla/5.0 (Windows NT 10.0; Win64; x64)", method="POST")
    if kind < 9:
        return suricata.tls(sni=host, subject=f"CN={host}", issuer="CN=R11, O=Let's Encrypt", client=f"agent-{number}")
    return None
