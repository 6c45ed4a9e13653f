"""Which addresses are public: global unicast, under whatever name they come."""

import ipaddress
import socket
from typing import Any

import pytest

from tasks.codecs.base import RequestError
from tasks.inputs.addresses import is_public, public_address


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "::1",
     "fe80::1", "fd00::1", "::ffff:10.0.0.1", "100.64.0.1", "2130706433", "0x7f.1",
     # IPv4 by other names: mapped, compatible, NAT64, 6to4, Teredo, ISATAP.
     "::ffff:8.8.8.8", "::8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1",
     "2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2600::5efe:7f00:1",
     # Site-local, multicast, discard, documentation, benchmarks, ORCHID, SRv6, reserved.
     "fec0::1", "ff02::1", "ff0e::1", "100::1", "2001:db8::1", "3fff::1", "2001:2::1", "2001:10::1", "5f00::1", "4000::1",
     "fd00:ec2::254", "fe80::1%lo", "2600::1%lo",
     "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1",
     "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16", "169.254.170.2", "100.100.100.200",
     "127.1", "017700000001", "", "a" * 300, "\x00", "host name"],
)  # fmt: skip
def test_addresses_that_are_not_public(host: str) -> None:
    with pytest.raises(RequestError):
        public_address(host, 80)


@pytest.mark.parametrize("host", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:801::200e"])
def test_a_public_address(host: str) -> None:
    assert public_address(host, 443) == host


@pytest.mark.parametrize("private", ["10.0.0.1", "192.168.0.1", "fd00::1", "0.0.0.0"])
@pytest.mark.parametrize("order", [1, -1])
def test_every_address_of_a_name_is_looked_at(monkeypatch: pytest.MonkeyPatch, private: str, order: int) -> None:
    """Wherever the private one stands, in the reply or by its digits."""

    def both(*_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, 80)) for address in ("8.8.8.8", private)[::order]]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(RequestError, match="not a public one"):
        public_address("example.com", 80)


#: As IANA's registries of special addresses have them, and what clouds answer on; not as the code does.
CLOSED = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 "
    "203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32 161.26.0.0/16 166.8.0.0/14 "
    "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3ffe::/16 3fff::/20"
)


@pytest.mark.parametrize("text", CLOSED.split())
def test_whole_networks_are_closed(text: str) -> None:
    network = ipaddress.ip_network(text)
    for address in (network[0], network[-1], network[network.num_addresses // 2]):
        assert not is_public(str(address))


@pytest.mark.parametrize(
    "address",
    ["9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
     "192.169.0.0", "198.17.255.255", "198.20.0.0", "168.63.129.15", "168.63.129.17", "161.25.255.255", "161.27.0.0",
     "166.7.255.255", "166.12.0.0", "223.255.255.255", "2001:200::", "2003::", "2620:4f:7fff::", "3ffd::", "3fff:1000::"],
)  # fmt: skip
def test_what_lies_beside_a_closed_network_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8%eth0", "2600::1%eth0", "example.com", "8.8.8", "8.8.8.8:80", "[2600::1]", ""]
)
def test_what_is_no_address(address: str) -> None:
    assert not is_public(address)


def test_the_first_of_several_public_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their texts: the same one at each call."""

    def several(*_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, 80)) for address in ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111")]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    assert public_address("example.com", 80) == "1.1.1.1"


def test_a_host_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(RequestError, match=r"^its host is not known\.$"):
        public_address("example.com", 80)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(RequestError, match=r"^its host is not a public one\.$"):
        public_address("example.com", 80)
