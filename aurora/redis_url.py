"""Where Redis is, read from `REDIS_URL`: one server, a master that Sentinels name, or a Cluster. Knows no settings and opens nothing.

    redis://[user:password@]host:port/db          rediss:// with TLS          unix:///path?db=0
    redis+sentinel://[user:password@]host:port,host:port/master/db            rediss+sentinel://
    redis+cluster://[user:password@]host:port,host:port                       rediss+cluster://

User and password are those of the servers that hold the data, as are TLS and the database; Sentinels are asked with the password `sentinel_password`
of the query, if it is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

_DEFAULT_PORT = {"sentinel": 26379, "cluster": 6379}


class Kind(Enum):
    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Location:
    """`nodes` are the Sentinels, or the members of the Cluster from which the others are learnt; of one server, none: its `url` says all."""

    kind: Kind
    url: str
    database: int = 0
    nodes: tuple[tuple[str, int], ...] = ()
    master: str = ""
    username: str | None = None
    password: str | None = None
    sentinel_password: str | None = None
    is_tls: bool = False

    def key(self, stream: str) -> str:
        """Where a stream stands. In a Cluster all share one hash tag: the relay adds to several in one step, sockets read several at once."""
        return f"{{aurora}}{stream.removeprefix('aurora')}" if self.kind is Kind.CLUSTER else stream

    @property
    def node_url(self) -> str:
        """Of a Cluster's first node, as one server: pub/sub reaches all nodes from any."""
        host, port = self.nodes[0]
        return f"{'rediss' if self.is_tls else 'redis'}://{f'[{host}]' if ':' in host else host}:{port}"


def parse(url: str) -> Location:
    """Raises ValueError, naming what is wrong but no password."""
    head, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    # Several hosts, one of them in brackets, are none to `urlsplit` of newer Pythons.
    parts = urlsplit(f"{head}://{rest.removeprefix(authority)}")
    scheme, _, variety = parts.scheme.partition("+")
    if (
        variety not in ("", "sentinel", "cluster")
        or scheme not in ("redis", "rediss", "unix")
        or (variety and scheme == "unix")
    ):
        raise ValueError(f"unknown scheme {parts.scheme!r}")
    if not variety:
        return Location(Kind.SERVER, url, _database(parts))
    names = [unquote(name) for name in parts.path.strip("/").split("/") if name]
    userinfo, _, hosts = authority.rpartition("@")
    username, _, password = userinfo.partition(":")
    shared = Location(
        Kind(variety),
        url,
        nodes=_nodes(hosts, _DEFAULT_PORT[variety]),
        username=unquote(username) or None,
        password=unquote(password) or None,
        is_tls=scheme == "rediss",
    )
    if shared.kind is Kind.CLUSTER:
        if names not in ([], ["0"]):
            raise ValueError("a Cluster has the database 0 only")
        return shared
    if not names or len(names) > 2:
        raise ValueError("the Sentinels' name of the master is missing: redis+sentinel://host:port/MASTER/0")
    asked_with = parse_qs(parts.query).get("sentinel_password", [None])[-1]
    database = _number(names[1]) if len(names) == 2 else 0
    return replace(shared, database=database, master=names[0], sentinel_password=asked_with)


def _database(parts: SplitResult) -> int:
    given = parse_qs(parts.query).get("db", [""])[-1] or ("" if parts.scheme == "unix" else parts.path.strip("/"))
    return _number(given) if given else 0


def _number(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"{text!r} is no number of a database")
    return int(text)


def _nodes(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for place in hosts.split(","):
        parts = urlsplit(f"//{place}")
        if not parts.hostname:
            raise ValueError("a host is missing")
        found.append((parts.hostname, parts.port or port))
    return tuple(found)
