"""Envoy and the processes behind it, for a test to start, ask and break."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deploy.gateway.render import Limits, render
from deploy.gateway.settings import Settings
from tests.support.servers import PATIENCE, ROOT, eventually, free_port, wheel

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """An HTTP response, read whole."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)

    @property
    def detail(self) -> dict[str, Any]:
        """The details of a google.rpc.Status by their type: ErrorInfo, BadRequest, RetryInfo."""
        return {each["@type"].rpartition(".")[2]: each for each in self.json["details"]}

    @property
    def reason(self) -> str:
        """The reason of an error, after a look at the shape that all errors share."""
        assert self.headers["content-type"] == "application/json"
        assert set(self.json) == {"code", "message", "details"}
        assert self.json["message"]
        info = self.detail["ErrorInfo"]
        assert info["domain"] == "taskhub"
        return str(info["reason"])

    @property
    def field(self) -> str | None:
        """The one field that a BadRequest blames, if there is one."""
        bad = self.detail.get("BadRequest")
        return bad and bad["fieldViolations"][0]["field"]


class Gateway:
    """Envoy before some upstream processes."""

    def __init__(self, folder: Path, processes: int = 1, limits: Limits | None = None, **settings: Any) -> None:
        self.port = free_port()
        self.ports = [free_port() for _ in range(processes)]
        self.upstreams: dict[int, subprocess.Popen[bytes]] = {}
        self._log = folder / "envoy.log"
        self._configuration = folder / "envoy.yaml"
        backends = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        chosen = Settings(rest_address=f"127.0.0.1:{self.port}", backend_address=backends, **settings)
        self._configuration.write_text(render(chosen, limits))

    def start(self) -> None:
        """Returns once a request would be answered, by any of the processes."""
        for port in self.ports:
            self.start_upstream(port)
        for port in self.ports:
            eventually(partial(_listens, port))
        program = wheel("envoy") / "_bin" / "envoy"
        options = ["--config-path", str(self._configuration), "--disable-hot-restart", "--concurrency", "2"]
        self._envoy = subprocess.Popen(  # noqa: S603
            [program, *options, "--log-level", "warn", "--log-path", str(self._log)], stdout=subprocess.DEVNULL
        )
        eventually(lambda: self.ask("GET", "/readyz").status == 200)

    def start_upstream(self, port: int) -> None:
        """Starts the process of a port, without waiting for it."""
        command = [sys.executable, "-m", "tests.integration.gateway.upstream", str(port)]
        self.upstreams[port] = subprocess.Popen(command, cwd=ROOT)  # noqa: S603

    def kill_upstream(self, port: int, number: int = signal.SIGKILL) -> None:
        """Ends a process, as a crash does by default."""
        process = self.upstreams.pop(port)
        process.send_signal(number)
        process.wait()

    def stop(self) -> None:
        """Ends everything. A fault in the Lua lets a request pass, so there must have been none."""
        self._envoy.terminate()
        self._envoy.wait()
        for port in list(self.upstreams):
            self.kill_upstream(port)
        log = self._log.read_text() if self._log.exists() else ""
        assert "script log" not in log, log

    def ask(self, verb: str, path: str, body: str | bytes | None = None, /, **headers: str) -> Answer:
        """Sends one request on a connection of its own; `_` in a header's name stands for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is not None:
                named.setdefault("content-type", "application/json")
            data = body.encode() if isinstance(body, str) else body
            connection.request(verb, path, data, named)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read().decode())
        finally:
            connection.close()

    def send(self, raw: bytes) -> Answer:
        """Sends bytes that no client library would."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.connect()
            connection.sock.sendall(raw)
            response = http.client.HTTPResponse(connection.sock, method="GET")
            response.begin()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read().decode())
        finally:
            connection.close()


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port)):
        return True


def signal_health(process: subprocess.Popen[bytes], *, serving: bool) -> None:
    """Turns the health of an upstream process."""
    os.kill(process.pid, signal.SIGUSR2 if serving else signal.SIGUSR1)
