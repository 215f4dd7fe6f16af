"""The OpenAPI document turned against the real API through the real gateway: no 5xx, no crash, one shape of errors."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import SystemRandom

import pytest

from api_service.principal import scopes_of
from shared.states import Role
from tests.integration.gateway.running import Gateway
from tests.support.api import Api
from tests.support.forgery import Forger
from tests.support.fuzz_rest import Document, Request
from tests.support.servers import PATIENCE, ROOT, Postgres, Processes

REQUESTS = 4_000
CALLERS = 6
#: Each with accounts of its own: many do not live long.
ROUNDS = 4


class Before(Gateway):
    """Envoy before processes that somebody else starts."""

    def start_upstream(self, port: int) -> None:
        """Starts nothing."""


@dataclass
class Scene:
    """A gateway with the API behind it."""

    gateway: Gateway
    api: Api
    processes: Processes


@pytest.fixture(scope="module")
def scene(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("rest")
    processes, gateway = Processes(folder), Before(folder)
    cheap = {"TASKHUB_ARGON2_MEMORY_KIB": "8192", "TASKHUB_ARGON2_TIME_COST": "1", "TASKHUB_LOG_LEVEL": "WARNING"}
    behind = {"TASKHUB_API_PROCESSES": "1", "TASKHUB_BACKEND_ADDRESS": f"127.0.0.1:{gateway.ports[0]}"}
    with postgres.clone() as url:
        api = Api(processes, url, **cheap, **behind)
        gateway.start()
        yield Scene(gateway, api, processes)
        gateway.stop()
        api.close()
        processes.stop()


def ask(connection: http.client.HTTPConnection, request: Request) -> str | None:
    """Returns what is wrong with the answer, if anything is."""
    connection.request(request.verb, request.target, request.body, request.headers)
    answer = connection.getresponse()
    # A watch that is let in has no end.
    endless = answer.status == 200 and request.target.partition("?")[0].endswith(":watch")
    text = answer.readline() if endless else answer.read()
    if answer.status < 400:
        return None
    problem = f"{answer.status} {text[:300]!r} {request}"
    if answer.status >= 500:
        return problem
    error = json.loads(text)
    shaped = answer.headers["content-type"] == "application/json" and {"code", "message", "details"} == set(error)
    return None if shaped else problem


def play(scene: Scene, seed: int) -> list[str]:
    """Sends one round over some connections; returns what went wrong."""
    accounts = [scene.api.account(), scene.api.account("ADMIN")]
    names = [scene.api.task(account).name for account in accounts * 4] + [account.name for account in accounts]
    forger = Forger(scene.api)
    document = Document(ROOT / "docs/openapi.yaml", seed, names)
    requests = [document.request() for _ in range(REQUESTS // ROUNDS)]
    for number, request in enumerate(requests):
        account = accounts[number % 2]
        token = forger.token(account, scope=" ".join(scopes_of(Role(account.role))))
        request.headers.setdefault("authorization", f"Bearer {token}")

    def caller(first: int) -> list[str]:
        found = []
        for request in requests[first::CALLERS]:
            connection = http.client.HTTPConnection("127.0.0.1", scene.gateway.port, timeout=PATIENCE)
            try:
                found.append(ask(connection, request))
            finally:
                connection.close()
        return [problem for problem in found if problem]

    with ThreadPoolExecutor(CALLERS) as callers:
        return [problem for problems in callers.map(caller, range(CALLERS)) for problem in problems]


def test_no_request_breaks_anything(scene: Scene) -> None:
    seed = int(os.environ.get("TASKHUB_FUZZ_SEED") or SystemRandom().randrange(2**32))
    problems = [problem for each in range(ROUNDS) for problem in play(scene, seed + each)]
    assert problems[:5] == [], f"TASKHUB_FUZZ_SEED={seed}"
    log = scene.processes.log(scene.api.process)
    assert [line for line in log.splitlines() if "process_died" in line or "unexpectedly" in line] == []
    assert scene.gateway.ask("GET", "/readyz").status == 200
    assert scene.gateway.ask("GET", "/.well-known/jwks.json").status == 200
