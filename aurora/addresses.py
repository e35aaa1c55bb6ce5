"""Internet addresses from text that anybody may have written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address


def address_or_none(text: str) -> IPv4Address | IPv6Address | None:
    """The address that `text` is, without a zone (`%eth0`); one mapped into IPv6 is the IPv4 address. None for anything else."""
    try:
        address = ip_address(text.partition("%")[0] if ":" in text else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
