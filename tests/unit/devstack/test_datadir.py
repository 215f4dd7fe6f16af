from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import datadir
from devstack.datadir import DataDir
from devstack.errors import StackError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_only_the_owner_can_look_inside(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "a b" / "data")
    data.secret("secret.key")
    assert mode(data.path) == 0o700
    assert mode(data.path / "secret.key") == 0o600
    assert mode(data.folder("mail")) == 0o700


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert mode(DataDir(tmp_path).path) == 0o755


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    first = DataDir(tmp_path).secret("secret.key")
    assert len(first) >= 32
    assert DataDir(tmp_path).secret("secret.key") == first


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"file/data cannot be used \(TASKHUB_DATA_DIR\)"):
        DataDir(tmp_path / "file" / "data")


def test_two_supervisors_never_share_a_folder(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.lock()
    other = (
        "import sys; from pathlib import Path; from devstack.datadir import DataDir; DataDir(Path(sys.argv[1])).lock()"
    )
    outcome = subprocess.run([sys.executable, "-c", other, tmp_path], capture_output=True, text=True, check=False)  # noqa: S603
    assert f"is in use by another run (pid {os.getpid()})" in outcome.stderr
    data.unlock()
    subprocess.run([sys.executable, "-c", other, tmp_path], check=True)  # noqa: S603


def test_an_overlong_log_moves_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datadir, "LOG_BYTES", 10)
    data = DataDir(tmp_path)
    data.log("api").write_text("x" * 11)
    assert not data.log("api").exists()
    assert (tmp_path / "logs" / "api.log.1").exists()
