"""Internet addresses from text that anybody may have written."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def address_or_none(text: str) -> IPv4Address | IPv6Address | None:
    """The address that `text` is, without a zone (`%eth0`); one mapped into IPv6 is the IPv4 address. None for anything else."""
    try:
        address = ip_address(text.partition("%")[0] if ":" in text else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=1024)
def network_or_none(text: str) -> Network | None:
    """The network that `text` is (`10.0.0.0/8`; an address is a network of one). None for anything else, a network with bits of a host among it."""
    try:
        return ip_network(text)
    except ValueError:
        return None


def is_within(address: str, networks: Iterable[str]) -> bool:
    """Whether the address lies in any of the networks. One that is none lies nowhere."""
    found = address_or_none(address)
    return found is not None and any(
        network is not None and found in network for network in map(network_or_none, networks)
    )
