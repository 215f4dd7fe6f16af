"""A stack that lives as long as a `with` block: the very `python -m devstack` that `make run` starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devstack.demo.doors import StubDoor
from devstack.demo.main_job import PASSWORD, Mailbox, StepFailedError

PATIENCE = 120.0
ADMIN = "root@example.com"


class ThrowAwayStack:
    """Starts on free ports with its data under `folder`, and takes everything away at the end."""

    def __init__(self, folder: Path, say: Callable[[str], None], **settings: str) -> None:
        self._data = folder / "data"
        self._say = say
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TASKHUB_")}
        free = {f"TASKHUB_{name}_ADDRESS": "127.0.0.1:0" for name in ("GRPC", "REST", "METRICS", "MAILBOX")}
        free["TASKHUB_WORKER_METRICS_ADDRESS"] = "127.0.0.1:0"
        self._environment = ours | free | {"TASKHUB_DATA_DIR": str(self._data)} | settings

    def __enter__(self) -> Self:
        """Returns once everything answers, a line for each part on the way."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "devstack", "--quiet"], env=self._environment, stdout=subprocess.PIPE, text=True
        )
        self.description = self._await_description()
        # Whoever stops reading stops the writer, once the pipe is full.
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it, and waits until nothing is left."""
        self._say = lambda _: None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)
        self._reader.join()

    def _pass_on(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
        with self._process.stdout as lines:
            for line in lines:
                self._say(line.rstrip())

    def _await_description(self) -> dict[str, Any]:
        for line in self._process.stdout or ():
            if line == "ready\n":
                break
            if line.strip():
                self._say(line.rstrip())
        path = self._data / "stack.json"
        end = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < end:
            if path.exists():
                described: dict[str, Any] = json.loads(path.read_text())
                return described
            time.sleep(0.05)
        raise StepFailedError("the stack did not start")

    @property
    def grpc(self) -> str:
        """Where the API listens."""
        return str(self.description["addresses"]["grpc"])

    @property
    def rest(self) -> str:
        """Where the gateway listens."""
        return str(self.description["addresses"]["rest"])

    @property
    def mailbox(self) -> Mailbox:
        """Where the mail goes."""
        return Mailbox(self.description["addresses"]["mailbox"])

    def administrator(self) -> dict[str, str]:
        """Makes the first administrator as an operator does, signs in, and returns the headers of a call."""
        command = [sys.executable, "-m", "api_service", "admin", "create", "--email", ADMIN]
        environment = self._environment | self.description["environment"]
        subprocess.run(command, input=PASSWORD, text=True, env=environment, check=True, stdout=subprocess.DEVNULL)
        door = StubDoor(self.grpc)
        answer = door.call("AuthService/Login", {"email": ADMIN, "password": PASSWORD}, {})
        door.close()
        return {"authorization": f"Bearer {answer.body['tokens']['accessToken']}"}
