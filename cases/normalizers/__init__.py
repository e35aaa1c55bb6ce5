"""From a sensor's raw payload to alerts in AuroraSOC's words: pure functions, one module a format.

`split` takes a payload apart into records, `normalize` turns one record into an alert. Which values of a
record count as its observables, and why some do not, stands in `cases.normalizers.entities`.
"""

from __future__ import annotations

from collections.abc import Callable

from aurora.errors import Invalid
from cases.normalizers import (
    alertmanager,
    cef,
    crowdstrike,
    elastic,
    generic,
    ocsf,
    sentinel,
    splunk,
    suricata,
    wazuh,
    zeek,
)
from cases.normalizers.alert import Ignored, NormalizedAlert, RawRecord
from cases.normalizers.records import split

__all__ = ["SOURCES", "Ignored", "NormalizedAlert", "RawRecord", "normalize", "split"]

_NORMALIZERS: dict[str, Callable[[RawRecord], NormalizedAlert | Ignored]] = {
    "suricata": suricata.normalize,
    "wazuh": wazuh.normalize,
    "zeek": zeek.normalize,
    "elastic": elastic.normalize,
    "alertmanager": alertmanager.normalize,
    "sentinel": sentinel.normalize,
    "crowdstrike": crowdstrike.normalize,
    "splunk": splunk.normalize,
    "ocsf": ocsf.normalize,
    "cef": cef.normalize,
    "generic": generic.normalize,
}
SOURCES: tuple[str, ...] = tuple(_NORMALIZERS)


def normalize(source: str, record: RawRecord) -> NormalizedAlert | Ignored:
    """The alert in `record`, or why it is none that anyone should see.

    Raises `Invalid` for a source that is not in `SOURCES`, a record that could not be read, and one that is
    no alert, with a reason that the sensor's owner can act on. It raises nothing else, whatever the record
    holds.
    """
    normalizer = _NORMALIZERS.get(source)
    if normalizer is None:
        raise Invalid(f"unknown source; known are {', '.join(SOURCES)}")
    if record.error is not None:
        raise Invalid(record.error)
    if record.data is None and source != "cef":
        raise Invalid("a JSON object was expected")
    return normalizer(record)
