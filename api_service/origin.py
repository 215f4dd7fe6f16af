"""Where a call comes from, and whose word on it counts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import unquote

Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address

#: What a peer without an IP address is called: one on a unix socket.
LOCAL = "unix"
#: Proxies behind each other that are followed; nobody has more, and a header of 16 KiB would hold thousands.
_MAX_HOPS = 16
_MAX_USER_AGENT = 256


class Proxies:
    """The networks whose forwarding header is believed. Anybody else is the caller, whatever the header says."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def address(self, peer: str, forwarded: Any) -> str:
        """Returns the caller's IP address, or `unix`.

        `peer` is grpc's name of who has connected, `forwarded` the value or values of `x-forwarded-for`. Each proxy
        adds at the right whom it was called by, so it is read from there, as far as those who wrote it are trusted. One
        word on that way that is no address, and the header is not believed at all.
        """
        nearest = _of_peer(peer)
        if nearest is None:
            return LOCAL
        if not self._networks or forwarded is None or not self._trusts(nearest):
            return str(nearest)
        header = forwarded if isinstance(forwarded, str) else ",".join(map(str, forwarded))
        found = nearest
        for word in reversed(header.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]):
            try:
                found = _of_word(word)
            except ValueError:
                return str(nearest)
            if not self._trusts(found):
                break
        return str(found)

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


class Origin(NamedTuple):
    """Where one call comes from."""

    address: str
    user_agent: str

    @property
    def context(self) -> dict[str, str]:
        """What an event of the audit keeps of it."""
        return self._asdict()

    def network(self, v4: int, v6: int) -> str:
        """Returns the network of the address, of so many bits: who has one address of it may well have others."""
        if self.address == LOCAL:
            return LOCAL
        bits = v6 if ":" in self.address else v4
        return str(ip_network(f"{self.address}/{bits}", strict=False))


def user_agent(value: Any) -> str:
    """Returns what a client says it is: at most 256 printable ASCII characters, with `?` for each that is none."""
    text = value if isinstance(value, str) else ""
    return "".join(each if " " <= each <= "~" else "?" for each in text[:_MAX_USER_AGENT])


@lru_cache(maxsize=1024)
def _of_peer(peer: str) -> _Address | None:
    """Reads grpc's `ipv4:127.0.0.1:50051` and `ipv6:%5B::1%5D:50051`."""
    family, _, rest = peer.partition(":")
    return _of_word(unquote(rest)) if family in ("ipv4", "ipv6") else None


def _of_word(word: str) -> _Address:
    """Reads an address with or without a port, IPv6 with or without brackets and zone. Raises ValueError."""
    text = word.strip()
    if text.startswith("["):
        text = text[1 : text.index("]")]
    elif text.count(":") == 1:
        text = text[: text.index(":")]
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
