"""The noise: every kind comes, is written without its neighbours, and is told apart from the attack."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random

from cases.demo.noise import _KINDS, MEMORY, REPEATED_SHARE, noise
from cases.demo.sensors import Sensors

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def test_the_weights_are_of_a_thousand():
    assert sum(weight for weight, _, _ in _KINDS) == 1_000


def test_every_kind_writes_a_record():
    sensors, pick = Sensors.seeded(1), Random(1)
    for _, _, kind in _KINDS:
        assert kind(sensors, pick)(NOW)


def test_about_a_third_repeats_something_recent():
    drafts = list(islice(noise(sensors=Sensors.seeded(1), pick=Random(1)), 4_000))
    seen: dict[int, int] = {}
    repeated = 0
    for place, draft in enumerate(drafts):
        if id(draft) in seen:
            repeated += 1
        seen.setdefault(id(draft), place)
    assert abs(repeated / len(drafts) - REPEATED_SHARE) < 0.05
    assert len(drafts) > MEMORY


def test_a_repetition_has_a_time_and_a_flow_of_its_own():
    sensors = Sensors.seeded(1)
    drafts = noise(sensors=sensors, pick=Random(1))
    draft = next(d for d in drafts if d.source == "suricata" and "alert" in d.render(NOW))
    first, second = draft.render(NOW), draft.render(NOW + timedelta(minutes=3))
    assert first["alert"] == second["alert"]
    assert first["dest_ip"] == second["dest_ip"]
    assert (first["timestamp"], first["flow_id"]) != (second["timestamp"], second["flow_id"])
    assert first["flow_id"] != second["flow_id"]


def test_administrators_do_what_attackers_do():
    """Detection by technique alone must not be enough: PowerShell and WinRM are in the noise as well."""
    sensors = Sensors.seeded(1)
    written = [str(d.render(NOW)) for d in islice(noise(sensors=sensors, pick=Random(1)), 2_000)]
    for technique in ("T1059.001", "T1021.006", "T1078.002"):
        assert any(technique in text for text in written)
