"""The API as tests meet it: real processes on a database of their own, and accounts to call with."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import psycopg
from argon2 import PasswordHasher
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from taskhub.v1 import (
    auth_service_pb2,
    auth_service_pb2_grpc,
    job_service_pb2_grpc,
    service_account_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
    user_service_pb2_grpc,
)

from api_service.service_accounts.key import new_secret
from tests.support.servers import PATIENCE, Processes, eventually, free_port

SECRET = "a secret key for tests, long enough"
PASSWORD = "correct horse battery"
_HASH = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1).hash(PASSWORD)

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Account:
    """Somebody who has signed in."""

    id: uuid.UUID
    email: str
    metadata: Metadata
    refresh_token: str
    role: str = "MEMBER"
    kind: str = "users"

    @property
    def name(self) -> str:
        """Resource name."""
        return f"{self.kind}/{self.id}"

    def with_key(self, key: str) -> Metadata:
        """Returns the metadata of a call that carries an idempotency key."""
        return (*self.metadata, ("idempotency-key", key))


@dataclass
class Refusal:
    """What a failed call said, unpacked."""

    code: grpc.StatusCode
    reason: str
    fields: list[str] = field(default_factory=list)
    retry_seconds: float | None = None
    message: str = ""
    request_id: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


class Api:
    """A parent with its server processes, and stubs to call them."""

    def __init__(self, processes: Processes, database_url: str, **settings: str) -> None:
        self.database_url = database_url
        self.port = free_port()
        self.metrics_port = free_port()
        self.environment = {
            "TASKHUB_DATABASE_URL": database_url,
            # Nobody listens there: the API must not notice.
            "TASKHUB_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
            "TASKHUB_SECRET_KEY": SECRET,
            "TASKHUB_GRPC_ADDRESS": f"127.0.0.1:{self.port}",
            "TASKHUB_METRICS_ADDRESS": f"127.0.0.1:{self.metrics_port}",
            # What a test does all at once takes as long as it takes.
            "TASKHUB_DATABASE_POOL_TIMEOUT": "60",
            **settings,
        }
        self.process = processes.start("api_service", environment=self.environment)
        self.channel = self.connect()
        self.auth = auth_service_pb2_grpc.AuthServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.users = user_service_pb2_grpc.UserServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.tasks = task_service_pb2_grpc.TaskServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.service_accounts = service_account_service_pb2_grpc.ServiceAccountServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.jobs = job_service_pb2_grpc.JobServiceStub(self.channel)  # type: ignore[no-untyped-call]
        eventually(self.serving)

    def connect(self) -> grpc.Channel:
        """Returns a channel with a connection of its own, so that another process may answer it."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options)

    def close(self) -> None:
        """Lets the connection go."""
        self.channel.close()

    def serving(self) -> bool:
        """Asks grpc.health.v1."""
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def execute(self, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """Runs a statement on the API's database and returns its rows, if it has any."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def account(self, role: str = "MEMBER") -> Account:
        """Makes a verified account and signs it in."""
        id_ = uuid.uuid4()
        email = f"{id_.hex}@example.com"
        self.execute(
            "INSERT INTO users (id, email, password_hash, role) VALUES (%s, %s, %s, %s)", (id_, email, _HASH, role)
        )
        return self.sign_in(id_, email, role)

    def sign_in(self, id_: uuid.UUID, email: str, role: str = "MEMBER") -> Account:
        """Opens a session."""
        request = auth_service_pb2.LoginRequest(email=email, password=PASSWORD)
        tokens = self.auth.Login(request, timeout=PATIENCE).tokens
        return Account(id_, email, (("authorization", f"Bearer {tokens.access_token}"),), tokens.refresh_token, role)

    def service_account(self, *scopes: str) -> Account:
        """Makes a service account and signs it in; what renews its token is its key."""
        id_, key = uuid.uuid4(), uuid.uuid4()
        secret, secret_hash = new_secret(key)
        self.execute(
            "INSERT INTO service_accounts (id, display_name, scopes) VALUES (%s, 'Robot', %s)", (id_, list(scopes))
        )
        self.execute(
            "INSERT INTO service_account_keys (id, service_account_id, secret_hash) VALUES (%s, %s, %s)",
            (key, id_, secret_hash),
        )
        exchange = auth_service_pb2.ExchangeServiceKeyRequest(key=secret)
        token = self.auth.ExchangeServiceKey(exchange, timeout=PATIENCE).access_token
        return Account(id_, "", (("authorization", f"Bearer {token}"),), secret, kind="serviceAccounts")

    def task(self, owner: Account, title: str = "Write the report", **fields: Any) -> task_pb2.Task:
        """Makes a task."""
        request = task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title=title, **fields))
        created = self.tasks.CreateTask(request, metadata=owner.metadata, timeout=PATIENCE)
        assert isinstance(created, task_pb2.Task)
        return created


def refusal(error: grpc.RpcError) -> Refusal:
    """Unpacks the status of a failed call; one without google.rpc.Status in its trailers is no refusal of ours."""
    trailers: dict[str, Any] = dict(cast("Any", error.trailing_metadata() or ()))
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    found = Refusal(error.code(), "", message=status.message, request_id=trailers.get("x-request-id", ""))
    for detail in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if detail.Unpack(message):
                _note(found, message)
    return found


def _note(found: Refusal, message: Any) -> None:
    match message:
        case error_details_pb2.ErrorInfo():
            assert message.domain == "taskhub"
            found.reason = message.reason
            found.metadata = dict(message.metadata)
        case error_details_pb2.BadRequest():
            found.fields = [violation.field for violation in message.field_violations]
        case error_details_pb2.RetryInfo():
            found.retry_seconds = message.retry_delay.ToNanoseconds() / 1e9


def refused(call: Any, request: Any, **arguments: Any) -> Refusal:
    """Calls, expects a refusal, and returns it."""
    try:
        call(request, **arguments)
    except grpc.RpcError as error:
        return refusal(error)
    raise AssertionError("the call was not refused")
