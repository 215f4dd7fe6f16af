from __future__ import annotations

from pathlib import Path

from devstack import postgres
from devstack.ports import Address


def test_only_folders_that_were_closed_are_opened_for_passing(tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    outer.chmod(0o700)
    inner.chmod(0o755)
    before = [folder for folder in tmp_path.parents if not folder.stat().st_mode & 0o001]
    try:
        assert outer in postgres.let_through(inner)
        assert outer.stat().st_mode & 0o777 == 0o701
        assert inner.stat().st_mode & 0o777 == 0o755
        assert postgres.let_through(inner) == []
    finally:
        for folder in before:
            folder.chmod(folder.stat().st_mode & ~0o001)


def test_a_password_of_any_characters_survives_the_url() -> None:
    url = postgres.url(Address("127.0.0.1", 5432), "p@ss/w:rd")
    assert url == "postgresql://taskhub:p%40ss%2Fw%3Ard@127.0.0.1:5432/taskhub"


def test_it_listens_on_the_loopback_interface_alone(tmp_path: Path) -> None:
    command = postgres.command(tmp_path, Address("127.0.0.1", 5432))
    assert "--listen_addresses=127.0.0.1" in command
    assert "--unix_socket_directories=" in command


def test_a_pid_file_of_a_dead_server_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text("1\n")
    postgres.clear_away(tmp_path)
    assert list(tmp_path.iterdir()) == []
