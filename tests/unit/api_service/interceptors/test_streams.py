"""Streams through the chain, on a grpc.aio server of this process: the contract's own are tried in integration."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from taskhub.v1 import task_service_pb2

from api_service.call import Call, StreamCall
from api_service.idempotency import Idempotency
from api_service.interceptors.access_log import AccessLog
from api_service.interceptors.chain import Chain
from api_service.interceptors.deadline import Deadline
from api_service.interceptors.errors import Errors
from api_service.interceptors.observation import Observation
from api_service.interceptors.steps import Step
from api_service.interceptors.streams import Streams
from api_service.interceptors.validation import Validation
from api_service.methods import Method, methods
from api_service.origin import Proxies
from api_service.principal import Principal
from shared.crypto import Secrets
from shared.errors import NotFound
from shared.ids import new_id
from shared.states import PrincipalKind
from shared.traces import Tracer
from tests.support.api import SECRET, Refusal, refusal
from tests.support.servers import PATIENCE

SERVICE = "taskhub.v1.Streams"
NAME = "tasks/01a20a94-5dfd-74c6-96f8-dcf6c45379bd"
REQUEST = task_service_pb2.GetTaskRequest(name=NAME).SerializeToString()


def method(name: str, *, client: bool = False, server: bool = False) -> Method:
    """Returns a method whose requests must name a task."""
    return replace(
        next(methods()),
        path=f"/{SERVICE}/{name}",
        service=SERVICE,
        name=name,
        mutation=client,
        takes_key=client,
        request=task_service_pb2.GetTaskRequest,
        response=StringValue,
        client_streaming=client,
        server_streaming=server,
    )


@dataclass
class Served:
    """A server with one method that answers with a stream and one that takes one."""

    channel: grpc.aio.Channel
    observation: Observation
    streams: Streams
    lines: io.StringIO
    #: What a servicer has noted.
    notes: list[str] = field(default_factory=list)
    #: How many streams of responses have reached the servicer.
    begun: int = 0

    def down(self, request: bytes = REQUEST, **arguments: Any) -> Any:
        """Calls the stream of responses."""
        call: Any = self.channel.unary_stream(f"/{SERVICE}/Down")
        return call(request, **arguments)

    def up(self, requests: AsyncIterator[bytes], **arguments: Any) -> Any:
        """Calls the stream of requests."""
        call: Any = self.channel.stream_unary(f"/{SERVICE}/Up")
        return call(requests, **arguments)

    def logged(self) -> list[dict[str, Any]]:
        """Returns the lines of the access log."""
        self.observation.flush()
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]


Down = Callable[[Served], AsyncIterator[StringValue]]
Up = Callable[[Served, AsyncIterator[Any]], Awaitable[StringValue]]


async def nothing(_: Served) -> AsyncIterator[StringValue]:
    return
    yield


async def join(served: Served, requests: AsyncIterator[Any]) -> StringValue:
    names = [request.name async for request in requests]
    served.notes.append("whole")
    return StringValue(value=" ".join(names))


@asynccontextmanager
async def serving(down: Down = nothing, up: Up = join, *, upload: float = 10) -> AsyncIterator[Served]:
    lines = io.StringIO()
    observation = Observation(Tracer("test", None), AccessLog(enabled=True, stream=lines))
    streams = [method("Down", server=True), method("Up", client=True)]
    # The bounds of unary calls, so short that a stream which they bound would not survive.
    no_verifier: Any = None
    looked_after = Streams(no_verifier)
    steps: list[Step] = [observation, Errors(), Deadline(0.01, 0.01, upload), looked_after, Validation()]
    chain = Chain({each.path: each for each in streams}, steps)

    async def answer(request: Any, _: StreamCall) -> AsyncIterator[StringValue]:
        assert request.name == NAME
        served.begun += 1
        try:
            async for response in down(served):
                yield response
        finally:
            served.notes.append("closed")

    async def take(requests: AsyncIterator[Any], _: Call) -> StringValue:
        return await up(served, requests)

    handlers: dict[str, Any] = {
        "Down": grpc.unary_stream_rpc_method_handler(answer),
        "Up": grpc.stream_unary_rpc_method_handler(take),
    }
    chain.add_registered_method_handlers(SERVICE, handlers)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((chain.port(Proxies()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        served = Served(channel, observation, looked_after, lines)
        yield served
    await server.stop(5)


async def until(condition: Callable[[], object]) -> None:
    """Waits until it is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  what happens is grpc's
            await asyncio.sleep(0.002)


async def numbers(count: int) -> AsyncIterator[StringValue]:
    for number in range(count):
        yield StringValue(value=str(number))


async def read(call: Any) -> tuple[list[str], Refusal | None]:
    """Returns what came, and how it was refused if it was."""
    found: list[str] = []
    try:
        async for response in call:
            found.append(StringValue.FromString(response).value)  # noqa: PERF401  what came before an error counts
    except grpc.RpcError as error:
        return found, refusal(error)
    return found, None


async def to_the_end(call: Any) -> None:
    """Reads what comes, however much."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_stream_goes_out_and_is_logged_once_at_its_end() -> None:
    async with serving(lambda _: numbers(3)) as served:
        call = served.down(metadata=(("x-request-id", "mine"),))
        assert await read(call) == (["0", "1", "2"], None)
        assert dict(await call.initial_metadata())["x-request-id"] == "mine"
        assert dict(await call.trailing_metadata())["x-request-id"] == "mine"
        [line] = served.logged()
        assert (line["code"], line["messages"], line["request_id"]) == ("OK", 3, "mine")


@pytest.mark.parametrize("sent", [0, 2])
@pytest.mark.parametrize(
    ("raised", "code", "reason"),
    [
        (NotFound(), grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"),
        (psycopg.OperationalError("host=secret"), grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
        (ValueError("a secret"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_an_error_is_the_same_before_and_within_a_stream(
    sent: int, raised: Exception, code: grpc.StatusCode, reason: str
) -> None:
    async def fail(_: Served) -> AsyncIterator[StringValue]:
        async for each in numbers(sent):
            yield each
        raise raised

    async with serving(fail) as served:
        found, refused = await read(served.down())
        assert refused is not None
        assert (len(found), refused.code, refused.reason) == (sent, code, reason)
        assert refused.request_id
        assert "secret" not in refused.message
        [line] = served.logged()
        assert (line["code"], line["reason"], line["messages"]) == (code.name, reason, sent)


async def test_a_caller_that_hangs_up_closes_the_stream_and_is_logged_as_cancelled() -> None:
    async def endless(_: Served) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        await asyncio.Event().wait()

    async with serving(endless) as served:
        call = served.down()
        assert StringValue.FromString(await call.read()).value == "first"
        call.cancel()
        await until(served.logged)
        assert served.notes == ["closed"]
        [line] = served.logged()
        assert (line["code"], line["messages"]) == ("CANCELLED", 1)


async def test_a_stream_has_its_callers_deadline_and_no_other() -> None:
    async def slow(_: Served) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        await asyncio.sleep(0.2)
        yield StringValue(value="second")
        await asyncio.Event().wait()

    async with serving(slow) as served:
        call = served.down(timeout=PATIENCE)
        assert [StringValue.FromString(await call.read()).value for _ in range(2)] == ["first", "second"]
        call.cancel()
        call = served.down(timeout=0.3)
        with pytest.raises(grpc.RpcError) as caught:
            await to_the_end(call)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        # It may have ended before it reached the servicer.
        await until(lambda: len(served.notes) == served.begun)


async def test_a_stream_that_was_about_to_begin_when_the_server_drains_is_ended_as_well() -> None:
    async def endless(_: Served) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        await asyncio.Event().wait()

    async with serving(endless) as served:
        served.streams.drain()
        call = served.down(timeout=PATIENCE)
        assert StringValue.FromString(await call.read()).value == "first"
        [begun] = served.streams._open  # noqa: SLF001  the servicer's own side of it
        begun.farewell = lambda _: StringValue(value="farewell")
        await served.streams.run_once()
        assert StringValue.FromString(await call.read()).value == "farewell"
        with pytest.raises(grpc.RpcError) as caught:
            await call.read()
        assert refusal(caught.value).reason == "SERVER_DRAINING"


async def test_a_caller_that_does_not_read_is_cut_and_nothing_is_kept_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def plenty(served: Served) -> AsyncIterator[StringValue]:
        while True:
            served.notes.append("sent")
            yield StringValue(value="x" * 1_000_000)

    async with serving(plenty) as served:
        call = served.down()
        await served.streams.run_once()
        assert not served.logged(), "it has had no time yet"
        monkeypatch.setattr("api_service.interceptors.streams.STALLED", 0.3)

        async def cut() -> None:
            while not served.logged():
                await asyncio.sleep(0.1)
                await served.streams.run_once()

        await asyncio.wait_for(cut(), PATIENCE)
        [line] = served.logged()
        assert (line["code"], line["reason"]) == ("RESOURCE_EXHAUSTED", "STREAM_STALLED")
        assert served.notes[-1] == "closed"
        assert len(served.notes) < 60
        call.cancel()


async def test_each_message_of_an_upload_is_checked() -> None:
    async def requests(second: bytes) -> AsyncIterator[bytes]:
        yield REQUEST
        yield second

    async with serving() as served:
        assert StringValue.FromString(await served.up(requests(REQUEST))).value == f"{NAME} {NAME}"
        for second, reason in (
            (task_service_pb2.GetTaskRequest(name="tasks/1").SerializeToString(), "FIELD_INVALID"),
            (b"\x0a\xff\xff\xff\xff", "MESSAGE_MALFORMED"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                await served.up(requests(second))
            found = refusal(caught.value)
            assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert served.notes == ["whole"]
        assert [line["code"] for line in served.logged()] == ["OK", "INVALID_ARGUMENT", "INVALID_ARGUMENT"]


async def test_an_upload_that_breaks_off_is_never_taken_for_a_whole_one() -> None:
    arrived = asyncio.Event()

    async def take(served: Served, requests: AsyncIterator[Any]) -> StringValue:
        async for _ in requests:
            arrived.set()
        served.notes.append("whole")
        return StringValue()

    async def requests() -> AsyncIterator[bytes]:
        yield REQUEST
        await asyncio.Event().wait()

    async with serving(up=take) as served:
        for number in range(50):
            arrived.clear()
            call = served.up(requests())
            await arrived.wait()
            call.cancel()
            await until(lambda: len(served.logged()) > number)  # noqa: B023  called before the next
        assert served.notes == []
        assert {line["code"] for line in served.logged()} == {"CANCELLED"}


async def test_an_upload_has_a_bound_of_its_own() -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield REQUEST
        await asyncio.Event().wait()

    async with serving(upload=0.2) as served:
        with pytest.raises(grpc.RpcError) as caught:
            await served.up(requests())
        assert refusal(caught.value).reason == "DEADLINE_EXCEEDED"


def test_the_fingerprint_of_an_upload_is_of_all_its_data() -> None:
    no_database: Any = None
    idempotency = Idempotency(no_database, Secrets(SECRET), 1)
    call = Call(method("Up", client=True), {"idempotency-key": "k"})
    call.principal_or_none = Principal(new_id(), PrincipalKind.USER, new_id(), frozenset())
    first = task_service_pb2.GetTaskRequest(name=NAME)
    records = [idempotency.record(call, first, content=content) for content in (b"a" * 32, b"a" * 32, b"b" * 32, b"")]
    fingerprints = [record.fingerprint for record in records if record is not None]
    assert fingerprints[0] == fingerprints[1]
    assert len({*fingerprints}) == 3
