"""20,000 messages that nobody would send on purpose, over all RPCs: each is refused or answered, and nothing breaks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import Any

import grpc
import pytest

from api_service.methods import methods
from api_service.principal import scopes_of
from shared.states import Role
from tests.integration.api_service.samples import GOOD
from tests.support.api import Api
from tests.support.forgery import Forger
from tests.support.fuzz import Fuzzer
from tests.support.servers import Postgres, Processes

MESSAGES = 20_000
#: Each with accounts of its own: many do not live long.
ROUNDS = 10
CALLERS = 48
METHODS = {method.path.removeprefix("/taskhub.v1."): method for method in methods()}
#: What says that something broke, and not that something was wrong with the request.
BROKEN = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "UNIMPLEMENTED"}
#: What grpc's client says now and then where the server ended an upload early, in place of the server's answer
#: (grpc#36066).
LOST = "Internal error from Core"
HEADERS = (
    "idempotency-key",
    "traceparent",
    "tracestate",
    "x-request-id",
    "user-agent-x",
    "x-forwarded-for",
    "authorization",
)


@dataclass
class Sent:
    """One call, as it can be made again."""

    path: str
    requests: list[bytes]
    metadata: list[tuple[str, str]]
    code: str = "OK"
    details: str = ""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    return Processes(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def api(postgres: Postgres, processes: Processes) -> Iterator[Api]:
    """An API of its own, in which passwords cost little."""
    with postgres.clone() as url:
        api = Api(
            processes, url, TASKHUB_ARGON2_MEMORY_KIB="8192", TASKHUB_ARGON2_TIME_COST="1", TASKHUB_LOG_LEVEL="WARNING"
        )
        yield api
        api.close()
        processes.stop()


class Scene:
    """Accounts, their tokens, things that exist, and a good request of each RPC from each of them."""

    def __init__(self, api: Api, seed: int) -> None:
        forger = Forger(api)
        accounts = [api.account(), api.account("ADMIN")]
        self.good = [
            {path: make(api, account).SerializeToString() for path, make in GOOD.items()} for account in accounts
        ]
        # Many tokens each: some of the calls end the session that they come with.
        self.tokens = [
            [forger.token(account, scope=" ".join(scopes_of(Role(account.role)))) for _ in range(30)]
            for account in accounts
        ]
        strangers = [api.account() for _ in range(3)]
        self.fuzz = Fuzzer(seed, [each.name for each in strangers] + [api.task(each).name for each in accounts * 4])

    def call(self) -> Sent:
        """Returns the next call to make."""
        random = self.fuzz.random
        path, who = random.choice(list(METHODS)), random.randrange(2)
        count = random.randint(0, 4) if METHODS[path].client_streaming else 1
        return Sent(path, [self._request(path, who) for _ in range(count)], self._metadata(who))

    def _request(self, path: str, who: int) -> bytes:
        good, kind = self.good[who][path], METHODS[path].request
        match self.fuzz.random.randrange(6):
            case 0 | 1:
                return self.fuzz.message(kind).SerializeToString()
            case 2:
                return self.fuzz.bent(good)
            case 3 if self.fuzz.random.random() < 0.5:
                return good
            case _:
                return self.fuzz.changed(good, kind).SerializeToString()

    def _metadata(self, who: int) -> list[tuple[str, str]]:
        random = self.fuzz.random
        metadata = [("authorization", f"Bearer {random.choice(self.tokens[who])}")]
        if random.random() < 0.3:
            metadata.append(("idempotency-key", str(random.randrange(500))))
        if random.random() < 0.1:
            # gRPC's library itself sends nothing but printable ASCII here.
            value = "".join(filter(lambda char: " " <= char <= "~", self.fuzz.text()))
            metadata.append((random.choice(HEADERS), value[:2000]))
        return metadata


def broken(sent: Sent) -> bool:
    """Whether the server is to blame: also for a refusal that is too large to be read."""
    return (sent.code in BROKEN and not sent.details.startswith(LOST)) or "metadata size" in sent.details


async def send(channel: Any, sent: Sent) -> Sent:
    """Makes the call. Of a stream of answers it reads what comes soon, and hangs up."""
    method, at = METHODS[sent.path], f"/taskhub.v1.{sent.path}"
    options: dict[str, Any] = {"metadata": sent.metadata, "timeout": 10}
    try:
        if method.server_streaming:
            call: Any = channel.unary_stream(at)(sent.requests[0], **options)
            try:
                async with asyncio.timeout(0.2):
                    async for _ in call:
                        pass
            except TimeoutError:
                call.cancel()
        elif method.client_streaming:
            await channel.stream_unary(at)(iter(sent.requests), **options)
        else:
            await channel.unary_unary(at)(sent.requests[0], **options)
    except grpc.aio.AioRpcError as error:
        return replace(sent, code=error.code().name, details=error.details() or "")
    return sent


async def send_some(port: int, scene: Scene) -> list[Sent]:
    """Makes the calls, some dozens at a time over several connections."""
    found: list[Sent] = []
    left = iter(range(MESSAGES // ROUNDS))

    async def caller() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            for _ in left:
                sent = await send(channel, scene.call())
                found.append(sent)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return found


def test_no_message_breaks_anything(api: Api, processes: Processes) -> None:
    seed = int(os.environ.get("TASKHUB_FUZZ_SEED") or SystemRandom().randrange(2**32))
    found: list[Sent] = []
    for each in range(ROUNDS):
        found += asyncio.run(send_some(api.port, Scene(api, seed + each)))
    assert [sent for sent in found if broken(sent)][:3] == [], f"TASKHUB_FUZZ_SEED={seed}"
    assert {sent.path for sent in found} == set(METHODS)
    assert sum(sent.code == "OK" for sent in found) > MESSAGES / 20, "most were refused at the door"
    assert len(found) == MESSAGES
    log = processes.log(api.process)
    assert [line for line in log.splitlines() if "process_died" in line or "unexpectedly" in line] == []
    assert api.serving()
    assert api.task(api.account()).name
