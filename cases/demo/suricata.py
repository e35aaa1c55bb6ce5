"""EVE records as Suricata 7 writes them, in the field order of its own output.

Format: Suricata user guide, "EVE JSON Output". Rules are local ones (signature ids of the range
1000000–1999999 that is kept for local use).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from cases.demo.estate import AD_DOMAIN, fingerprint
from cases.demo.events import Record
from cases.demo.techniques import TACTIC_IDS, TECHNIQUES

INTERFACE = "ens192"
SENSOR = "ids-dmz-01"
OPEN_FLOWS = 64  # the sensor forgets the oldest: not every flow gets a closing record

_CATEGORY_PRIORITY = {
    "Attempted Administrator Privilege Gain": 1,
    "Successful Administrator Privilege Gain": 1,
    "A Network Trojan was detected": 1,
    "Malware Command and Control Activity Detected": 1,
    "Potential Corporate Privacy Violation": 1,
    "Web Application Attack": 1,
    "Attempted Information Leak": 2,
    "Potentially Bad Traffic": 2,
    "Detection of a Network Scan": 3,
    "Misc activity": 3,
    "Not Suspicious Traffic": 3,
    "Generic Protocol Command Decode": 3,
}


_CIPHERS = (49196, 49195, 49200, 49199, 49188, 49187, 49192, 49191, 157, 156, 61, 60)


@dataclass(frozen=True, slots=True)
class Rule:
    """A local rule. `rating` is the metadata's `signature_severity`; the category decides the priority."""

    sid: int
    message: str
    category: str
    rating: str = "Informational"
    techniques: tuple[str, ...] = ()
    target: str = "Client_Endpoint"


@dataclass(frozen=True, slots=True)
class Conversation:
    """One flow. `up` and `down` are bytes to server and to client; port and id are drawn when None."""

    src: str
    dst: str
    port: int
    proto: str = "TCP"
    up: int = 620
    down: int = 0
    src_port: int | None = None
    flow_id: int | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """What the application's parser saw: `app_proto`, EVE's objects by name, and the bytes that matched."""

    proto: str
    fields: Record = field(default_factory=dict)
    payload: bytes = b""


class Suricata:
    """The sensor. The time comes first, by position, so that a script can hold the rest as a partial call."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._flow_started: dict[int, datetime] = {}
        self._uptime = 86_400

    def alert(
        self,
        at: datetime,
        *,
        rule: Rule,
        talk: Conversation,
        app: Application | None = None,
        is_inbound_reply: bool = False,
    ) -> Record:
        """An alert record. `is_inbound_reply`: the matching packet came from the server."""
        record = self._envelope(at, "alert", talk)
        if is_inbound_reply:
            record["src_ip"], record["dest_ip"] = record["dest_ip"], record["src_ip"]
            record["src_port"], record["dest_port"] = record["dest_port"], record["src_port"]
        if app is not None:
            record["tx_id"] = 0
        record["alert"] = _alert_object(rule)
        if app is not None:
            record |= app.fields
            record["app_proto"] = app.proto
        record["direction"] = "to_client" if is_inbound_reply else "to_server"
        record["flow"] = self._flow_so_far(at, record["flow_id"], talk)
        if app is not None and app.payload:
            record["payload"] = base64.b64encode(app.payload).decode()
            record["payload_printable"] = _printable(app.payload)
        record["stream"] = int(talk.proto == "TCP" and app is not None)
        record["host"] = SENSOR
        return record

    def flow(self, at: datetime, *, talk: Conversation, app_proto: str, has_alerted: bool = False) -> Record:
        """The record that closes a flow."""
        record = self._envelope(at, "flow", talk)
        started = self._flow_started.pop(record["flow_id"], at - timedelta(seconds=self._rng.randint(2, 90)))
        record["app_proto"] = app_proto
        record["flow"] = _volumes(talk) | {
            "start": _stamp(started),
            "end": _stamp(at),
            "age": round((at - started).total_seconds()),
            "state": "closed",
            "reason": "timeout",
            "alerted": has_alerted,
        }
        if talk.proto == "TCP":
            flags = {"tcp_flags": "1b", "tcp_flags_ts": "1b", "tcp_flags_tc": "1b", "syn": True, "fin": True}
            record["tcp"] = flags | {"psh": True, "ack": True, "state": "closed"}
        record["host"] = SENSOR
        return record

    def dns(self, at: datetime, *, talk: Conversation, name: str) -> Record:
        """A look-up that matched nothing."""
        record = self._envelope(at, "dns", talk)
        record["tx_id"] = 0
        record["dns"] = {
            "type": "query",
            "id": self._rng.randrange(65536),
            "rrname": name,
            "rrtype": "A",
            "tx_id": 0,
            "opcode": 0,
        }
        record["host"] = SENSOR
        return record

    def stats(self, at: datetime) -> Record:
        """The sensor's own counters, written every few seconds into the same file; they grow."""
        self._uptime += self._rng.randint(8, 600)
        packets = self._uptime * 8_143
        return {
            "timestamp": _stamp(at),
            "event_type": "stats",
            "stats": {
                "uptime": self._uptime,
                "capture": {"kernel_packets": packets, "kernel_drops": packets // 200_000, "errors": 0},
                "decoder": {"pkts": packets, "bytes": packets * 611, "invalid": 12, "ipv4": packets - 4_031},
                "tcp": {"sessions": packets // 310, "reassembly_gap": packets // 90_000},
                "detect": {"engines": [{"id": 0, "rules_loaded": 41_207, "rules_failed": 0}], "alert": 1_804},
                "flow": {"memuse": 9_340_320, "emerg_mode_entered": 0},
            },
            "host": SENSOR,
        }

    def _envelope(self, at: datetime, event_type: str, talk: Conversation) -> Record:
        flow_id = self._rng.randrange(10**14, 2 * 10**15) if talk.flow_id is None else talk.flow_id
        src_port = self._rng.randint(49_152, 65_535) if talk.src_port is None else talk.src_port
        record: Record = {
            "timestamp": _stamp(at),
            "flow_id": flow_id,
            "in_iface": INTERFACE,
            "event_type": event_type,
            "src_ip": talk.src,
            "src_port": src_port,
            "dest_ip": talk.dst,
            "dest_port": talk.port,
            "proto": talk.proto,
        }
        if talk.proto == "ICMP":
            del record["src_port"], record["dest_port"]
            record |= {"icmp_type": 8, "icmp_code": 0}
        return record | {"pkt_src": "wire/pcap"}

    def _flow_so_far(self, at: datetime, flow_id: int, talk: Conversation) -> Record:
        started = at - timedelta(microseconds=self._rng.randint(9_000, 480_000))
        if talk.flow_id is not None:  # only a flow with a fixed id can be closed by a later record
            self._flow_started[flow_id] = started
            if len(self._flow_started) > OPEN_FLOWS:
                self._flow_started.pop(next(iter(self._flow_started)))
        ends: Record = {"src_ip": talk.src, "dest_ip": talk.dst}
        return _volumes(talk) | {"start": _stamp(started)} | ends


def http(
    *,
    host: str,
    url: str,
    agent: str,
    method: str = "GET",
    status: int = 200,
    length: int = 0,
    kind: str = "text/html",
) -> Application:
    """A request and its answer; the payload is the request as it went over the wire."""
    request = f"{method} {url} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\r\n"
    fields = {
        "hostname": host,
        "url": url,
        "http_user_agent": agent,
        "http_content_type": kind,
        "http_method": method,
        "protocol": "HTTP/1.1",
        "status": status,
        "length": length,
    }
    return Application("http", {"http": fields}, request.encode())


def tls(*, sni: str, subject: str, issuer: str, client: str, version: str = "TLS 1.2") -> Application:
    """A handshake. `client` names the software: the same software has the same JA3."""
    sha1 = fingerprint("certificate", subject, sni, algorithm="sha1")
    fields = {
        "subject": subject,
        "issuerdn": issuer,
        "serial": ":".join(sha1[i : i + 2].upper() for i in range(0, 16, 2)),
        "fingerprint": ":".join(sha1[i : i + 2] for i in range(0, 40, 2)),
        "sni": sni,
        "version": version,
        "notbefore": "2026-01-12T00:00:00",
        "notafter": "2027-01-12T23:59:59",
        "ja3": _ja3(f"771,{_cipher_list(client)},0-10-11-13-35-23-65281,29-23-24,0"),
        "ja3s": _ja3(f"771,{_cipher_list(issuer).split('-')[0]},65281-11-35"),
    }
    hello = b"\x16\x03\x01\x00\xc4\x01\x00\x00\xc0\x03\x03" + bytes.fromhex(fingerprint("hello", sni))
    return Application("tls", {"tls": fields}, hello + b"\x00\x00" + sni.encode())


def dns_query(*, name: str, kind: str = "A", query_id: int = 4660) -> Application:
    """A question to a resolver, as an alert record carries it."""
    question = {"type": "query", "id": query_id, "rrname": name, "rrtype": kind, "tx_id": 0, "opcode": 0}
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    header = query_id.to_bytes(2, "big") + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    type_number = {"A": 1, "TXT": 16}[kind]
    payload = header + labels + b"\x00" + type_number.to_bytes(2, "big") + b"\x00\x01"
    return Application("dns", {"dns": {"query": [question]}}, payload)


def smb(*, command: str, share: str, filename: str = "", user: str = "") -> Application:
    """One SMB 3.11 command on a share."""
    fields: dict[str, Any] = {
        "id": 7,
        "dialect": "3.11",
        "command": command,
        "status": "STATUS_SUCCESS",
        "status_code": "0x0",
        "session_id": 105_553_116_266_561,
        "tree_id": 5,
        "share": share,
    }
    if filename:
        fields["filename"] = filename
    if user:
        fields["ntlmssp"] = {"domain": AD_DOMAIN, "user": user}
    return Application("smb", {"smb": fields}, b"\xfeSMB@\x00" + share.encode() + filename.encode())


def _alert_object(rule: Rule) -> Record:
    metadata: dict[str, list[str]] = {
        "attack_target": [rule.target],
        "created_at": ["2025_03_11"],
        "deployment": ["Perimeter"],
        "signature_severity": [rule.rating],
        "updated_at": ["2026_02_18"],
    }
    if rule.techniques:
        names = [TECHNIQUES[technique] for technique in rule.techniques]
        tactics = list(dict.fromkeys(tactic for _, tactic in names))
        metadata |= {
            "mitre_tactic_id": [TACTIC_IDS[tactic] for tactic in tactics],
            "mitre_tactic_name": [tactic.replace(" ", "_") for tactic in tactics],
            "mitre_technique_id": list(rule.techniques),
            "mitre_technique_name": [name.replace(" ", "_") for name, _ in names],
        }
    return {
        "action": "allowed",
        "gid": 1,
        "signature_id": rule.sid,
        "rev": 1 + rule.sid % 4,
        "signature": rule.message,
        "category": rule.category,
        "severity": _CATEGORY_PRIORITY[rule.category],
        "metadata": dict(sorted(metadata.items())),
    }


def _ja3(text: str) -> Record:
    return {"hash": fingerprint(text, algorithm="md5"), "string": text}


def _cipher_list(software: str) -> str:
    """The cipher suites of a piece of software, in its own order."""
    start = int(fingerprint("ciphers", software)[:4], 16) % len(_CIPHERS)
    return "-".join(map(str, _CIPHERS[start:] + _CIPHERS[:start]))


def _volumes(talk: Conversation) -> Record:
    return {
        "pkts_toserver": 1 + talk.up // 900,
        "pkts_toclient": -(-talk.down // 1_200),
        "bytes_toserver": talk.up,
        "bytes_toclient": talk.down,
    }


def _printable(payload: bytes) -> str:
    """Suricata keeps line ends and shows every other byte outside ASCII's printable range as a dot."""
    return "".join(chr(byte) if 32 <= byte < 127 or byte in b"\r\n" else "." for byte in payload)


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f+0000")
