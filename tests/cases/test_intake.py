"""Intake: what is stored, what is merged, what is refused, what is announced."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from django.db import connection

from aurora.errors import Denied, Invalid
from aurora.models import OutboxEvent
from aurora.resilience.spool import Claim, Waiting
from aurora.rest import idempotency
from cases import intake, spooling
from cases.models import Alert, AlertPivot, IngestReceipt, IngestReject, Ioc
from tests.cast import SENSOR, VIEWER, ApiClient

pytestmark = pytest.mark.django_db


def _record(**changes):
    return {
        "title": "Beacon to evil.example",
        "severity": "high",
        "source": "probe",
        "iocs": ["203.0.113.77", "evil.example"],
        "hosts": ["ws-1"],
    } | changes


def _ingest(*records, source="generic"):
    return intake.ingest(source=source, payload=b"\n".join(map(orjson.dumps, records)), actor=SENSOR)


def test_an_alert_is_stored_with_its_iocs_pivots_and_raw_record():
    _ingest(_record())
    alert = Alert.objects.get()
    assert (alert.title, alert.severity, alert.status, alert.count) == ("Beacon to evil.example", "high", "new", 1)
    assert set(alert.ioc_rows.values_list("type", "value")) == {("ip", "203.0.113.77"), ("domain", "evil.example")}
    assert list(alert.pivots.values_list("kind", "value")) == [("asset", "ws-1")]
    assert orjson.loads(alert.raw) == _record()


def test_the_same_detection_again_raises_the_count():
    first, second = _ingest(_record()), _ingest(_record())
    assert (first.created, first.merged, second.created, second.merged) == (1, 0, 0, 1)
    assert Alert.objects.get().count == 2


def test_repetitions_within_one_delivery_merge_as_well():
    done = _ingest(_record(), _record(), _record(title="Another"))
    assert (done.received, done.created, done.merged) == (3, 2, 1)


@pytest.mark.parametrize(("first", "second", "kept"), [("low", "critical", "critical"), ("high", "info", "high")])
def test_a_repetition_makes_an_alert_graver_never_milder(first, second, kept):
    _ingest(_record(severity=first))
    _ingest(_record(severity=second))
    assert Alert.objects.get().severity == kept


def test_of_repetitions_in_one_delivery_the_gravest_counts():
    _ingest(_record(severity="low"), _record(severity="critical"), _record(severity="medium"))
    assert Alert.objects.get().severity == "critical"


def test_only_the_repetition_that_makes_an_alert_graver_says_so():
    for severity in ("low", "low", "high", "high"):
        _ingest(_record(severity=severity))
    updates = OutboxEvent.objects.filter(type="alert.updated").order_by("id").values_list("data", flat=True)
    assert [orjson.loads(data).get("is_raised") for data in updates] == [None, True, None]


def test_a_repetition_is_kept_with_its_own_record():
    _ingest(_record(), _record(occurred_at="2026-11-20T08:00:00Z"))
    _ingest(_record(note="third"))
    raws = [orjson.loads(raw) for raw in Alert.objects.get().sightings.values_list("raw", flat=True)]
    assert len(raws) == 2
    assert any(raw.get("note") == "third" for raw in raws)


def test_a_repetition_on_another_host_is_found_by_that_host():
    _ingest(_record())
    _ingest(_record(hosts=["ws-2"]))
    assert Alert.objects.get().affected_assets == ["ws-1", "ws-2"]
    assert set(AlertPivot.objects.values_list("value", flat=True)) == {"ws-1", "ws-2"}


def test_the_dedup_hash_is_of_title_source_and_sorted_ioc_values():
    _ingest(_record())
    text = "Beacon to evil.example|probe|203.0.113.77|evil.example"
    assert Alert.objects.get().dedup_hash == hashlib.sha256(text.encode()).hexdigest()


def test_sightings_of_an_ioc_count_repetitions_once_each():
    for _ in range(3):
        _ingest(_record())
    _ingest(_record(title="Another"))
    assert set(Ioc.objects.values_list("sightings", flat=True)) == {4}


def test_defanged_iocs_are_stored_plain():
    _ingest(_record(iocs=["hxxp://evil[.]example/gate", "203[.]0[.]113[.]9"]))
    values = set(Ioc.objects.values_list("value", flat=True))
    assert {"http://evil.example/gate", "203.0.113.9"} <= values


def test_what_is_no_alert_is_refused_with_a_reason_and_kept():
    done = intake.ingest(source="suricata", payload=b'{"event_type":"alert"}\n{not json', actor=SENSOR)
    assert (done.received, [reject.index for reject in done.rejected]) == (2, [0, 1])
    assert all(reject.detail for reject in IngestReject.objects.all())
    assert IngestReject.objects.filter(raw="{not json").exists()


def test_other_event_types_are_ignored_not_refused():
    done = _ingest({"event_type": "flow"}, source="suricata")
    assert (done.received, done.ignored, len(done.rejected)) == (1, 1, 0)


def test_each_stored_alert_has_its_event_in_the_outbox():
    _ingest(_record(), _record(title="Another"))
    _ingest(_record())
    assert sorted(OutboxEvent.objects.values_list("type", flat=True)) == [
        "alert.created",
        "alert.created",
        "alert.updated",
    ]


def test_row_and_event_are_kept_together_or_not_at_all(monkeypatch):
    def broken(_events):
        raise RuntimeError("the outbox cannot be written")

    monkeypatch.setattr("aurora.bus.outbox.announce_all", broken)
    with pytest.raises(RuntimeError):
        _ingest(_record())
    assert not Alert.objects.exists()


def test_nul_in_a_record_is_no_error_of_the_database():
    done = intake.ingest(
        source="generic", payload=b'{"title": "a\\u0000b", "severity": "low", "source": "s"}', actor=SENSOR
    )
    assert done.created + len(done.rejected) == 1


def test_a_caller_who_may_not_deliver_is_refused():
    with pytest.raises(Denied):
        intake.ingest(source="generic", payload=b"{}", actor=VIEWER)


def test_the_api_counts_and_lists_what_it_refused():
    answer = ApiClient("api_service").call("POST", "/ingest/suricata", b'{"event_type":"alert"}')
    assert answer.status_code == 202
    body = answer.json()
    assert (body["received"], body["created"], len(body["rejected"])) == (1, 0, 1)
    listed = ApiClient("viewer").call("GET", "/ingest/rejects").json()["items"]
    assert [item["receipt"] for item in listed] == [body["receipt"]]


def test_a_receipt_can_be_asked_for_later():
    sensor = ApiClient("api_service")
    receipt = sensor.call("POST", "/ingest/generic", _record()).json()["receipt"]
    answer = sensor.call("GET", f"/ingest/receipts/{receipt}").json()
    assert (answer["status"], answer["created"]) == ("stored", 1)


def test_a_submitted_alert_is_new_once_and_known_after():
    sensor = ApiClient("api_service")
    body = {"title": "Impossible travel", "severity": "high", "source": "idp", "iocs": ["198[.]51[.]100[.]23"]}
    first, second = (sensor.call("POST", "/alerts", body) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert (second.json()["id"], second.json()["count"]) == (first.json()["id"], 2)
    assert first.json()["iocs"] == [{"type": "ip", "value": "198.51.100.23"}]


def test_an_ioc_that_is_none_is_named_by_its_place():
    body = {"title": "t", "severity": "low", "source": "s", "iocs": ["203.0.113.1", "not an ioc"]}
    answer = ApiClient("api_service").call("POST", "/alerts", body)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["body", "iocs", 1])


def test_an_idempotency_key_gives_the_first_answer_again():
    sensor = ApiClient("api_service")
    body = {"title": "t", "severity": "low", "source": "s"}
    answers = [sensor.call("POST", "/alerts", body, HTTP_IDEMPOTENCY_KEY="k1") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert Alert.objects.get().count == 1


def test_an_idempotency_key_of_another_request_conflicts():
    sensor = ApiClient("api_service")
    body = {"title": "t", "severity": "low", "source": "s"}
    sensor.call("POST", "/alerts", body, HTTP_IDEMPOTENCY_KEY="k1")
    answer = sensor.call("POST", "/alerts", body | {"title": "u"}, HTTP_IDEMPOTENCY_KEY="k1")
    assert answer.status_code == 409


def test_a_delivery_under_a_key_is_stored_once_and_answered_alike():
    sensor, body = ApiClient("api_service"), [_record(), _record(title="Another"), 7]
    first, second = (sensor.call("POST", "/ingest/generic", body, HTTP_IDEMPOTENCY_KEY="k1") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert ("Idempotent-Replayed" in first.headers, second.headers["Idempotent-Replayed"]) == (False, "true")
    assert set(Alert.objects.values_list("count", flat=True)) == {1}
    assert (IngestReceipt.objects.count(), IngestReject.objects.count()) == (1, 1)


def test_a_key_of_another_delivery_or_of_another_sensors_conflicts():
    sensor = ApiClient("api_service")
    sensor.call("POST", "/ingest/generic", _record(), HTTP_IDEMPOTENCY_KEY="k1")
    for path, body in (("generic", _record(title="Another")), ("splunk", _record())):
        assert sensor.call("POST", f"/ingest/{path}", body, HTTP_IDEMPOTENCY_KEY="k1").status_code == 409
    assert Alert.objects.get().count == 1


def test_what_could_not_be_read_leaves_its_key_free():
    sensor = ApiClient("api_service")
    refused = sensor.call("POST", "/ingest/generic", b"{", HTTP_IDEMPOTENCY_KEY="k1")
    taken = sensor.call("POST", "/ingest/generic", _record(), HTTP_IDEMPOTENCY_KEY="k1")
    assert (refused.status_code, taken.status_code) == (400, 202)


@pytest.mark.parametrize(
    ("request_hash", "ignored", "rejected"), [("same", 2, 0), ("other", 1, 1)], ids=["the same", "another"]
)
def test_a_spooled_delivery_whose_key_was_used_meanwhile_adds_nothing_and_adds_up(request_hash, ignored, rejected):
    payload = orjson.dumps([_record(), _record(title="Another")])
    idempotency.once(Claim("sensor", "k1", "same"), lambda: (202, {}))
    entry, _ = spooling.entry_of_records(
        source="generic",
        payload=payload,
        content_type="application/json",
        actor=SENSOR,
        claim=Claim("sensor", "k1", request_hash),
    )
    spooling.store([Waiting(1, 0, entry)])
    receipt = IngestReceipt.objects.get()
    assert (receipt.received, receipt.created, receipt.ignored, receipt.rejected) == (2, 0, ignored, rejected)
    assert not Alert.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_one_delivery_sent_many_times_at_once_under_a_key_one_is_stored():
    sensors = [ApiClient("api_service")]

    def send(_: int) -> bytes:
        client = ApiClient()
        client.defaults.update(sensors[0].defaults)
        answer = client.call("POST", "/ingest/generic", _record(), HTTP_IDEMPOTENCY_KEY="k1")
        connection.close()
        return bytes(answer.content)

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(send, range(12)))) == 1
    assert Alert.objects.get().count == 1


@pytest.mark.django_db(transaction=True)
def test_two_hundred_concurrent_posts_of_one_alert_give_one_row():
    def post(_number):
        try:
            return _ingest(_record()).created
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as threads:
        created = sum(threads.map(post, range(200)))
    assert (created, Alert.objects.get().count, Ioc.objects.earliest("id").sightings) == (1, 200, 200)


@pytest.mark.django_db(transaction=True)
def test_overlapping_deliveries_in_opposite_order_do_not_deadlock():
    records = [_record(title=f"Alert {number}") for number in range(40)]

    def post(number):
        try:
            return _ingest(*(records if number % 2 else reversed(records))).received
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(post, range(24))) == 960
    assert set(Alert.objects.values_list("count", flat=True)) == {24}


def test_a_person_is_found_by_account_whether_named_by_account_or_address():
    _ingest(_record(title="a", users=["CORP\\j.doe"]), _record(title="b", users=["j.doe@corp.example"]))
    assert AlertPivot.objects.filter(kind="user", value="j.doe").count() == 2


def test_an_internal_address_has_one_spelling():
    _ingest(_record(hosts=["::ffff:10.20.7.17"]))
    assert Alert.objects.get().affected_assets == ["10.20.7.17"]


@pytest.mark.django_db
def test_a_delivery_of_too_many_records_is_refused_whole(monkeypatch):
    monkeypatch.setattr(intake, "MOST_RECORDS", 2)
    with pytest.raises(Invalid):
        intake.ingest(source="generic", payload=b'[{"title": "a"}, 1, 2]', actor=SENSOR)
    assert not IngestReceipt.objects.exists()
