from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.errors import StackError
from devstack.ports import Address, Ports, is_free


@pytest.fixture
def taken() -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address("127.0.0.1", server.getsockname()[1])


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "ports.json"


@pytest.mark.parametrize("text", ["127.0.0.1:50051", "localhost:0", "[::1]:8080"])
def test_an_address_reads_as_it_is_written(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "50051", ":50051", "host:", "host:http", "host:65536", "host:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        Address.parse(text)


def test_a_wildcard_is_called_on_the_loopback_interface() -> None:
    assert str(Address.parse("0.0.0.0:80").reachable) == "127.0.0.1:80"
    assert str(Address.parse("[::]:80").reachable) == "[::1]:80"


def test_a_taken_address_is_refused_with_its_setting(taken: Address, book: Path) -> None:
    with pytest.raises(StackError, match=rf"{taken} .*TASKHUB_REST_ADDRESS"):
        Ports(book).claim(taken, "TASKHUB_REST_ADDRESS")


def test_an_address_shared_by_reuse_port_counts_as_taken() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not is_free(Address("127.0.0.1", server.getsockname()[1]))


def test_the_same_address_is_not_given_twice(book: Path) -> None:
    ports = Ports(book)
    address = ports.claim(Address("127.0.0.1", 0), "TASKHUB_GRPC_ADDRESS")
    with pytest.raises(StackError, match="asked for twice: set TASKHUB_REST_ADDRESS"):
        ports.claim(address, "TASKHUB_REST_ADDRESS")


def test_a_picked_port_is_the_same_at_the_next_start(book: Path) -> None:
    assert Ports(book).choose("redis") == Ports(book).choose("redis")


def test_a_remembered_port_that_is_taken_is_replaced(book: Path) -> None:
    first = Ports(book).choose("redis")
    with socket.create_server((first.host, first.port)):
        second = Ports(book).choose("redis")
    assert second.port != first.port
    assert Ports(book).choose("redis") == second


def test_a_preferred_port_is_used_while_it_is_free(taken: Address, book: Path) -> None:
    assert Ports(book).choose("mailbox", prefer=taken.port) != taken


def test_a_run_of_ports_is_free_as_a_whole(book: Path) -> None:
    first = Ports(book).choose("backend", run=4)
    with socket.create_server((first.host, first.port + 3)):
        assert Ports(book).choose("backend", run=4).port not in range(first.port, first.port + 4)


def test_what_one_process_has_picked_no_other_picks(book: Path) -> None:
    """Also before the server listens for which it was picked."""
    picked = Ports(book).choose("redis").port
    program = f"from devstack.ports import reserve; print(reserve({picked}))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"  # noqa: S603
