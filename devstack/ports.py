"""Addresses: told by the environment, or picked once and remembered."""

from __future__ import annotations

import json
import random
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devstack.errors import StackError

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "127.0.0.1"
LAST = 65535

#: Below the ports that Linux (32768) and macOS (49152) hand to outgoing connections, so that a server that is brought
#: up again does not find its port in use by somebody's client.
PICKED = range(20000, 32000)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, written `host:port` or `[v6]:port`; port 0 asks for a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads `host:port`; raises ValueError for anything else."""
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or int(port) > LAST:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> Address:
        """The address to call: a wildcard is where to listen, not where to connect."""
        return Address({"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host), self.port)  # noqa: S104 - compared


def try_out(address: Address) -> None:
    """Raises OSError where no server could listen now."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do; without SO_REUSEPORT, by which two stacks would share an address unknowingly.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address.host, address.port))


def is_free(address: Address) -> bool:
    """Whether a server could listen there now."""
    try:
        try_out(address)
    except OSError:
        return False
    return True


#: The ports that this process has reserved.
_reserved: set[int] = set()


def reserve(port: int) -> bool:
    """Whether the port is for this process to give, as long as it lives.

    A server binds what was picked for it a moment later: until then another process that picks finds it free as well.
    So whoever picks holds the UDP port of the same number, which no server of ours uses and the kernel takes back.
    """
    if port not in _reserved:
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            held.bind((LOOPBACK, port))
        except OSError:
            held.close()
            return False
        held.detach()  # open until the process ends
        _reserved.add(port)
    return True


class Ports:
    """Hands out the addresses of one stack: each free, none twice, picked ones the same at every start if possible."""

    def __init__(self, book: Path) -> None:
        self._book = book
        self._remembered: dict[str, int] = json.loads(book.read_text()) if book.exists() else {}
        self._given: set[int] = set()

    def claim(self, address: Address, setting: str) -> Address:
        """Returns the address with a port in place of 0; raises StackError, which names the setting, if it is taken."""
        if address.port == 0:
            return Address(address.host, self._pick(address.host))
        if address.port in self._given:
            raise StackError(f"{address} is asked for twice: set {setting} to another address")
        try:
            try_out(address)
        except OSError as error:
            raise StackError(f"{address} cannot be used ({error.strerror}): set {setting} to another address") from None
        self._given.add(address.port)
        return address

    def choose(self, name: str, *, run: int = 1, prefer: int | None = None) -> Address:
        """Returns the first of `run` loopback addresses in a row: the preferred, the one used last, or a new one."""
        for port in (prefer, self._remembered.get(name)):
            if port is not None and self._free(LOOPBACK, port, run):
                self._given.update(range(port, port + run))
                break
        else:
            port = self._remembered[name] = self._pick(LOOPBACK, run)
            self._book.write_text(json.dumps(self._remembered, indent=2) + "\n")
        return Address(LOOPBACK, port)

    def _pick(self, host: str, run: int = 1) -> int:
        for _ in range(1000):
            first = random.choice(PICKED)  # noqa: S311 - not a secret
            if self._free(host, first, run):
                self._given.update(range(first, first + run))
                return first
        raise StackError(f"no {run} free ports in a row on {host}")

    def _free(self, host: str, first: int, run: int) -> bool:
        ports = range(first, first + run)
        return self._given.isdisjoint(ports) and all(is_free(Address(host, port)) and reserve(port) for port in ports)
