"""What is on record about an indicator, and what follows from it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.agents.builtin.world import ask
from tests.factories import NOW, make_alert, make_case, make_ioc

pytestmark = pytest.mark.django_db

BAD = "203.0.113.77"


def _known(ioc=None, **fields):
    """The entry of the one indicator of a fresh alert."""
    alert = make_alert(iocs=[ioc or BAD], first_seen=NOW, **fields)
    [entry] = ask("threat_intel", alert=alert).data["iocs"]
    return entry


def _reasons(entry):
    return " | ".join(reason["reason"] for reason in entry["reasons"])


def test_first_sight_is_unknown():
    entry = _known()
    assert (entry["reputation"], entry["score"], entry["reasons"]) == ("unknown", 0, [])


@pytest.mark.parametrize(("confidence", "reputation"), [(0.95, "malicious"), (0.6, "suspicious"), (0.2, "unknown")])
def test_what_a_feed_asserts_counts_by_its_confidence(confidence, reputation):
    entry = _known(make_ioc(BAD, source="abuse.ch", confidence=confidence))
    assert entry["reputation"] == reputation
    assert "abuse.ch" in _reasons(entry)


def test_what_only_a_sensor_of_ours_carried_asserts_nothing():
    entry = _known(make_ioc(BAD, source="my-edr"), source="my-edr")
    assert entry["score"] == 0


def test_a_rating_by_an_analyst_counts_even_though_a_sensor_brought_it_in():
    assert _known(make_ioc(BAD, source="suricata", confidence=0.9))["reputation"] == "malicious"


@pytest.mark.parametrize("ended", [{"status": "expired"}, {"expires_at": NOW - timedelta(days=1)}])
def test_an_expired_assertion_counts_for_less(ended):
    entry = _known(make_ioc(BAD, source="abuse.ch", confidence=0.95, **ended))
    assert entry["reputation"] == "suspicious"
    assert "expired" in _reasons(entry)


def test_a_cleared_indicator_is_known_to_be_benign():
    assert _known(make_ioc(BAD, status="false_positive"))["reputation"] == "benign-known"


def test_grave_alerts_that_carried_it_speak_against_it():
    earlier = [make_alert(iocs=[BAD], severity="critical", first_seen=NOW - timedelta(days=3)) for _ in range(2)]
    entry = _known()
    assert entry["reputation"] == "suspicious"
    assert {one["id"] for one in entry["alerts"]["others"]} == {str(alert.id) for alert in earlier}


def test_alerts_that_turned_out_false_positives_speak_for_it():
    for _ in range(3):
        make_alert(iocs=[BAD], status="false_positive", severity="critical")
    assert _known()["reputation"] == "benign-known"


def test_a_closed_case_is_remembered_with_its_resolution():
    case = make_case(
        alerts=[make_alert(iocs=[BAD], severity="high")], status="closed", resolution="Host rebuilt, C2 confirmed."
    )
    entry = _known()
    assert entry["reputation"] == "suspicious"
    assert entry["cases"] == [
        {
            "id": str(case.id),
            "reference": case.reference,
            "status": "closed",
            "resolution": "Host rebuilt, C2 confirmed.",
        }
    ]


def test_a_case_closed_without_a_threat_speaks_for_it():
    make_case(alerts=[make_alert(iocs=[BAD])], status="closed", resolution="False positive: our own scanner.")
    assert _known()["reputation"] == "benign-known"


def test_the_alert_and_its_own_case_prove_nothing_about_themselves():
    alerts = [make_alert(iocs=[BAD], severity="critical") for _ in range(3)]
    case = make_case(alerts=alerts)
    [entry] = ask("threat_intel", alert=alerts[0], case=case).data["iocs"]
    assert entry["score"] == 0


def test_indicators_seen_together_are_named():
    make_alert(iocs=[BAD, "cdn-sync.example"])
    make_alert(iocs=[BAD, "cdn-sync.example", "198.51.100.9"])
    entry = _known()
    assert [(one["value"], one["alerts"]) for one in entry["related"]] == [("cdn-sync.example", 2), ("198.51.100.9", 1)]


def test_the_store_entry_is_told_in_full():
    ioc = make_ioc(BAD, source="abuse.ch", confidence=0.8, tlp="red", sightings=12)
    entry = _known(ioc)
    told = {name: entry[name] for name in ("source", "confidence", "status", "tlp", "sightings", "first_seen")}
    assert told == {"source": "abuse.ch", "confidence": 0.8, "status": "active", "tlp": "red", "sightings": 12,
                    "first_seen": NOW.isoformat()}  # fmt: skip


def test_outside_services_are_not_configured_and_nothing_fails():
    outside = ask("threat_intel", alert=make_alert(iocs=[BAD])).data["outside"]
    assert outside
    assert set(outside.values()) == {"not configured"}


def test_an_alert_without_indicators_is_said_to_have_none():
    answer = ask("threat_intel", alert=make_alert(title="Quiet one"))
    assert answer.data["iocs"] == []
    assert "Quiet one" in answer.summary
    assert "no IOC" in answer.summary


def test_the_worst_comes_first_and_gets_a_finding():
    bad = make_ioc(BAD, source="abuse.ch", confidence=0.95)
    answer = ask("threat_intel", alert=make_alert(iocs=["198.51.100.9", bad]))
    assert [entry["value"] for entry in answer.data["iocs"]] == [BAD, "198.51.100.9"]
    [finding] = answer.output["findings"]
    assert finding["title"] == f"{BAD} is malicious"
    assert finding["evidence"][0] == {"kind": "ioc", "id": str(bad.id), "note": "malicious, 76 points"}
