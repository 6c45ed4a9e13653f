"""Which addresses of the internet are public: global unicast, and nothing that leads back inside by another name."""

import ipaddress
import socket

from tasks.codecs.base import RequestError

#: Not for the public though they look like it. Sources: what clouds answer on, and IANA's registries:
#: https://www.iana.org/assignments/iana-ipv4-special-registry (and iana-ipv6-special-registry).
_CLOSED_4 = [ipaddress.IPv4Network(text) for text in (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    # Azure's wire server, and IBM Cloud's services, reached from inside only.
    "168.63.129.16/32", "161.26.0.0/16", "166.8.0.0/14",
)]  # fmt: skip
#: All of IPv6 that is assigned as global unicast. Outside of it are IPv4-mapped and -compatible addresses, NAT64
#: (64:ff9b::/96, 64:ff9b:1::/48), local ones (fc00::/7, fe80::/10, fec0::/10), multicast and SRv6.
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
#: Within it: Teredo, ORCHID, benchmarks and the like; documentation; 6to4; the old 6bone.
_CLOSED_6 = [ipaddress.IPv6Network(text) for text in (
    "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20",
)]  # fmt: skip
#: Interface identifiers of ISATAP: an IPv4 address follows.
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def is_public(address: str) -> bool:
    """Whether an address, as text, is a global unicast one; a zone (`%eth0`) belongs to no such address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _CLOSED_4)
    return (
        parsed in _GLOBAL_6
        and parsed.scope_id is None
        and not any(parsed in network for network in _CLOSED_6)
        and int(parsed) >> 32 & 0xFFFFFFFF not in _ISATAP
    )


def public_address(host: str, port: int) -> str:
    """An address of the host. Raises RequestError where any of its addresses is not a public one."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, ValueError):
        # A name too long to be one, or with a zero in it, is a ValueError.
        raise RequestError("its host is not known.") from None
    if not found or not all(map(is_public, found)):
        raise RequestError("its host is not a public one.")
    return sorted(found)[0]
