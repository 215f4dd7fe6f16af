"""Everything that TaskHub can do is done once, with logs at DEBUG and traces on; then every place is searched.

What is a secret is read from the contract: each field that is marked `debug_redact`, and the token that a call carries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import grpc
import psycopg
import pytest
import redis
from google.protobuf.message import Message
from taskhub.v1 import auth_service_pb2, task_pb2, task_service_pb2
from taskhub.v1.options_pb2 import AccessRule

from api_service.methods import methods
from tests.integration.api_service.samples import AS_ADMIN, BAD, GOOD
from tests.support.api import PASSWORD, Account, Api
from tests.support.collector import Collector
from tests.support.limits import RAISED
from tests.support.raw import Raw
from tests.support.servers import PATIENCE, Mailbox, Postgres, Processes, Redis, eventually, free_port

METHODS = {method.path.removeprefix("/taskhub.v1."): method for method in methods()}
PLACES = ("the log of the API", "the log of the worker", "traces", "refusals", "jobs", "events", "rows", "Redis")
LINK = re.compile(r"#token=([A-Za-z0-9_-]+)")
STATEMENT = re.compile(r"\b(SELECT\b.+\bFROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|LINE \d+:|[$]argon2)", re.DOTALL)


@dataclass
class Scene:
    """All processes, what is secret, and where it could have gone."""

    api: Api
    mailbox: Mailbox
    secrets: set[str] = field(default_factory=lambda: {PASSWORD, "wrong horse battery"})
    refusals: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def call(self, path: str, request: Message, metadata: Any = ()) -> Message | None:
        """Calls and notes what is secret of it; returns the answer, or None of a refusal."""
        self.secrets |= set(marked(request)) | {
            value.removeprefix("Bearer ") for key, value in metadata if key == "authorization"
        }
        try:
            raw = Raw(self.api.channel, METHODS[path])(request.SerializeToString(), metadata=metadata, timeout=PATIENCE)
        except grpc.RpcError as error:
            refused: Any = error
            self.refusals.append(f"{refused.details()} {refused.trailing_metadata()!r}")
            return None
        answer = METHODS[path].response.FromString(raw)
        self.secrets |= set(marked(answer))
        return answer


def marked(message: Message) -> Iterator[str]:
    """Yields what stands in fields that the contract says not to show, at any depth."""
    for descriptor, value in message.ListFields():
        inner = [value] if isinstance(value, Message) else value if descriptor.message_type else []
        for each in inner:
            if isinstance(each, Message):
                yield from marked(each)
        if descriptor.GetOptions().debug_redact and isinstance(value, str):
            yield value


def call_everything(scene: Scene) -> None:
    """Calls every RPC: well, with the same key again, and badly."""
    for path, method in METHODS.items():
        role = "ADMIN" if method.access.kind == AccessRule.ADMIN or path in AS_ADMIN else "MEMBER"
        caller = scene.api.account(role)
        request, metadata = GOOD[path](scene.api, caller), caller.with_key(path)
        for each in (request, request, BAD[path][1] if path in BAD else request):
            scene.call(path, each, metadata)


def go_on(scene: Scene) -> None:
    """Does what a person does, and what breaks."""
    alice = scene.api.account()
    register(scene, "carol@example.com")
    misplace(scene, alice)
    break_down(scene, alice)


def register(scene: Scene, email: str) -> None:
    """From a registration over the link in the mail to two sessions, with a wrong password and an old refresh token."""
    password = "a very private sentence"
    scene.call("AuthService/Register", auth_service_pb2.RegisterRequest(email=email, password=password))
    token = eventually(lambda: next(iter(links(scene.mailbox, email)), None))
    scene.call("AuthService/VerifyEmail", auth_service_pb2.VerifyEmailRequest(token=token or ""))
    scene.call("AuthService/Login", auth_service_pb2.LoginRequest(email=email, password="wrong horse battery"))
    opened: Any = scene.call("AuthService/Login", auth_service_pb2.LoginRequest(email=email, password=password))
    old = auth_service_pb2.RefreshTokenRequest(refresh_token=opened.tokens.refresh_token)
    assert scene.call("AuthService/RefreshToken", old)
    scene.api.execute("UPDATE refresh_tokens SET use_time = use_time - '1 hour'::interval WHERE use_time IS NOT NULL")
    assert scene.call("AuthService/RefreshToken", old) is None


def misplace(scene: Scene, alice: Account) -> None:
    """Sends secrets where they do not belong, as people and programs do."""
    token = alice.metadata[0][1].removeprefix("Bearer ")
    for wrong in (PASSWORD, token, alice.refresh_token):
        scene.call("AuthService/Login", auth_service_pb2.LoginRequest(email=wrong, password=wrong[:128]))
        scene.call("TaskService/ListTasks", task_service_pb2.ListTasksRequest(page_token=wrong), alice.metadata)
        scene.call("TaskService/ListTasks", task_service_pb2.ListTasksRequest(filter=f'"{wrong}" ('), alice.metadata)
        scene.call("TaskService/GetTask", task_service_pb2.GetTaskRequest(name=wrong), alice.metadata)
        scene.call(
            "TaskService/GetTask",
            task_service_pb2.GetTaskRequest(name="tasks/-"),
            (("authorization", f"Basic {wrong}"),),
        )


def break_down(scene: Scene, alice: Account) -> None:
    """Takes a table away under a call and under a job: the driver then quotes statements and rows."""
    scene.api.execute("ALTER TABLE tasks RENAME TO gone")
    request = task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title=PASSWORD))
    scene.call("TaskService/CreateTask", request, alice.metadata)
    scene.api.execute("ALTER TABLE gone RENAME TO tasks")
    scene.api.execute("ALTER TABLE registrations RENAME TO gone")
    scene.api.execute(
        "INSERT INTO jobs (id, kind, queue, max_attempts, args) SELECT gen_random_uuid(), 'email', 'email', 1, "
        "jsonb_build_object('template', 'verification', 'registration', gen_random_uuid())"
    )
    eventually(lambda: scene.api.execute("SELECT 1 FROM jobs WHERE state = 'FAILED' AND max_attempts = 1"))
    scene.api.execute("ALTER TABLE gone RENAME TO registrations")


def links(mailbox: Mailbox, email: str) -> list[str]:
    """Returns the tokens of the links in the mails to an address, oldest first."""
    return [
        link for message in list(mailbox.messages) if message["To"] == email for link in LINK.findall(text(message))
    ]


def text(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    started = Processes(tmp_path_factory.mktemp("secrets"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def scene(postgres: Postgres, redis_server: Redis, processes: Processes) -> Iterator[Scene]:
    """Everything played, stopped, and gathered by place."""
    mailbox = Mailbox()
    mailbox.start()
    redis_server.command("FLUSHALL")
    with Collector() as collector, postgres.clone() as url:
        told = {"TASKHUB_LOG_LEVEL": "DEBUG", "TASKHUB_OTLP_ENDPOINT": collector.url, **RAISED}
        api = Api(processes, url, TASKHUB_BROKER_URL=redis_server.url, **told)
        scene = Scene(api, mailbox)
        call_everything(scene)  # before there is a worker: some samples are jobs, which it would take
        more = {"TASKHUB_SMTP_URL": mailbox.url, "TASKHUB_WORKER_METRICS_ADDRESS": f"127.0.0.1:{free_port()}"}
        worker = processes.start("worker_service", environment=api.environment | more)
        go_on(scene)
        eventually(lambda: api.execute("SELECT 1 WHERE NOT EXISTS (SELECT FROM jobs WHERE state = 'RUNNING')"))
        scene.secrets |= {link for message in mailbox.messages for link in LINK.findall(text(message))}
        scene.places["Redis"] = everything_in_redis(redis_server)
        api.close()
        processes.stop()
        mailbox.stop()
        scene.places |= {
            "the log of the API": processes.log(api.process),
            "the log of the worker": processes.log(worker),
            "traces": "".join(body.decode(errors="replace") for body in collector.bodies),
            "refusals": "\n".join(scene.refusals),
            "jobs": everything_in_tables(url, "job%"),
            "events": everything_in_tables(url, "event%"),
            "rows": everything_in_tables(url),
        }
        yield scene


def everything_in_tables(url: str, like: str = "%") -> str:
    """Returns every row of the tables as text; what is stored as bytes also as the characters that it may be."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND relname LIKE %s",
            (like,),
        ).fetchall()
        rows = [row[0] for (table,) in tables for row in connection.execute(f"SELECT each::text FROM {table} each")]
    written = "\n".join(rows)
    stored = re.findall(r"\\x((?:[0-9a-f]{2})+)", written)
    return written + "".join(bytes.fromhex(part).decode(errors="replace") for part in stored)


def everything_in_redis(server: Redis) -> str:
    """Returns every key with its value, as Redis itself would write it to a disk."""
    with redis.Redis(port=server.port) as client:
        return "\n".join(f"{key!r} {client.dump(key)!r}" for key in client.scan_iter())


def test_the_secrets_are_known_and_were_on_their_way(scene: Scene) -> None:
    assert len(scene.secrets) > 3 * len(METHODS) / 2
    assert len({link for message in scene.mailbox.messages for link in LINK.findall(text(message))} & scene.secrets) > 1
    assert "UndefinedTable 42P01" in scene.places["the log of the API"]
    assert "UndefinedTable 42P01" in scene.places["the log of the worker"]
    assert "TaskService/CreateTask" in scene.places["traces"]
    assert "AuthService/Register" in scene.places["rows"], "of idempotency records, for one"


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_in(scene: Scene, place: str) -> None:
    written = scene.places[place]
    assert written
    assert [secret for secret in scene.secrets if len(secret) > 7 and secret in written] == []


@pytest.mark.parametrize("place", [place for place in PLACES if place != "rows"])
def test_no_statement_is_in(scene: Scene, place: str) -> None:
    assert [line for line in scene.places[place].splitlines() if STATEMENT.search(line)] == []
