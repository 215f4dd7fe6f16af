"""The caller's address, as far as it can be decided without a network."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from api_service.origin import Proxies, user_agent

TRUSTED = Proxies(map(ip_network, ("10.0.0.0/8", "fd00::/8")))
ENVOY = "ipv4:10.1.2.3:40000"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:203.0.113.7:50051", "203.0.113.7"),
        ("ipv6:%5B2001:db8::7%5D:50051", "2001:db8::7"),
        ("ipv6:[2001:db8::7]:50051", "2001:db8::7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50051", "fe80::1"),
        ("ipv6:%5B::ffff:203.0.113.7%5D:50051", "203.0.113.7"),
        ("unix:", "unix"),
        ("unix:/run/api.sock", "unix"),
    ],
)
def test_nobody_who_is_not_trusted_can_say_where_a_call_comes_from(peer: str, address: str) -> None:
    assert TRUSTED.address(peer, "198.51.100.1") == address
    assert Proxies().address(peer, None) == address


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (None, "10.1.2.3"),
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8::7", "2001:db8::7"),
        ("198.51.100.1:4711", "198.51.100.1"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        # What a client wrote stands at the left of what the first trusted proxy saw.
        ("6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1, 10.9.9.9 ,fd00::9", "198.51.100.1"),
        ("nonsense, 198.51.100.1", "198.51.100.1"),
        (("6.6.6.6", "198.51.100.1"), "198.51.100.1"),
        # A caller from within the trusted networks.
        ("10.7.7.7", "10.7.7.7"),
        ("10.7.7.7, 10.9.9.9", "10.7.7.7"),
    ],
)
def test_a_trusted_proxy_is_believed(forwarded: object, address: str) -> None:
    assert TRUSTED.address(ENVOY, forwarded) == address
    assert TRUSTED.address("ipv4:203.0.113.7:1", forwarded) == "203.0.113.7"


@pytest.mark.parametrize(
    "forwarded",
    ["", ",", "unknown", "198.51.100.1,", "[::1", "198.51.100.256", "1.2.3.4, 10.0.0.1.", "\x00", b"1.2.3.4"],
)
def test_a_malformed_header_is_not_believed_at_all(forwarded: object) -> None:
    assert TRUSTED.address(ENVOY, forwarded) == "10.1.2.3"


def test_a_header_of_any_length_is_read_to_a_bound() -> None:
    assert TRUSTED.address(ENVOY, "6.6.6.6," + "10.0.0.1," * 5000 + "10.0.0.2") == "10.0.0.1"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""),
        ("grpc-python/1.80 (linux)", "grpc-python/1.80 (linux)"),
        ('a"b\r\nc\x7f\u00e9', 'a"b??c??'),
        (("one", "two"), ""),
        ("x" * 5000, "x" * 256),
    ],
)
def test_a_user_agent_is_short_and_printable(value: object, said: str) -> None:
    assert user_agent(value) == said
