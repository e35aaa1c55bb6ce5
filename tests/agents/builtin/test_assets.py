"""How much an asset matters, by name and kind."""

from __future__ import annotations

import pytest

from agents.builtin.assets import criticality


@pytest.mark.parametrize(
    ("name", "role", "is_critical"),
    [
        ("dc-01.corp.example", "domain controller", True),
        ("DC01", "domain controller", True),
        ("plc-mix-3", "industrial control", True),
        ("fs-01", "file server", True),
        ("sql02", "database", True),
        ("web-04", "server", False),
        ("ws-finance-07", "workstation", False),
        ("10.20.6.12", "unknown role", False),
        ("fe80::dc", "unknown role", False),
        ("decade", "unknown role", False),
        ("", "unknown role", False),
    ],
)
def test_names_tell_roles(name, role, is_critical):
    known = criticality(name)
    assert (known.role, known.is_critical) == (role, is_critical)


def test_the_domain_tells_nothing_about_the_host():
    assert criticality("ws-01.dc.example").role == "workstation"


@pytest.mark.parametrize(
    ("kind", "is_critical"), [("cps_controller", True), ("identity", True), ("workstation", False), ("odd", False)]
)
def test_without_a_telling_name_the_sensors_type_counts(kind, is_critical):
    assert criticality("10.0.0.7", kind).is_critical is is_critical
