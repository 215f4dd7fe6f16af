"""TLS on the gRPC port, with certificates made for the test."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from taskhub.v1 import auth_service_pb2, auth_service_pb2_grpc, task_service_pb2, task_service_pb2_grpc

from tests.integration.api_service.test_outage import run
from tests.support.api import SECRET, refused
from tests.support.authority import Authority
from tests.support.servers import PATIENCE, Processes, eventually, free_port


class Secured:
    """An API whose gRPC port speaks TLS."""

    def __init__(self, processes: Processes, database_url: str, folder: Path, *, mutual: bool) -> None:
        self.authority = Authority()
        self.port = free_port()
        self.folder = folder
        self.renew()
        self.environment = {
            "TASKHUB_DATABASE_URL": database_url,
            "TASKHUB_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
            "TASKHUB_SECRET_KEY": SECRET,
            "TASKHUB_API_PROCESSES": "1",
            "TASKHUB_GRPC_ADDRESS": f"127.0.0.1:{self.port}",
            "TASKHUB_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
            "TASKHUB_TLS_CERTIFICATE": str(folder / "tls.crt"),
            "TASKHUB_TLS_KEY": str(folder / "tls.key"),
        }
        if mutual:
            (folder / "ca.crt").write_bytes(self.authority.pem)
            self.environment["TASKHUB_TLS_CLIENT_CA"] = str(folder / "ca.crt")
        self.process = processes.start("api_service", environment=self.environment)
        eventually(lambda: run(self.environment, "health").returncode == 0)

    def renew(self) -> None:
        """Puts a new pair into the files."""
        certificate, key = self.authority.pair()
        (self.folder / "tls.key").write_bytes(key)
        (self.folder / "tls.crt").write_bytes(certificate)

    def serial(self) -> int:
        """Returns which certificate a new connection is shown."""
        pem = ssl.get_server_certificate(("127.0.0.1", self.port))
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    def channel(self, pair: tuple[bytes, bytes] | None = None) -> grpc.Channel:
        """Connects as a client of the authority, which may show a certificate."""
        certificate, key = pair or (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.pem, key, certificate)
        return grpc.secure_channel(f"127.0.0.1:{self.port}", credentials)


@pytest.fixture
def secured(processes: Processes, database_url: str, tmp_path: Path) -> Iterator[Secured]:
    yield Secured(processes, database_url, tmp_path, mutual=False)
    processes.stop()


@pytest.fixture
def mutual(processes: Processes, database_url: str, tmp_path: Path) -> Iterator[Secured]:
    yield Secured(processes, database_url, tmp_path, mutual=True)
    processes.stop()


def jwks(channel: grpc.Channel) -> Any:
    stub = auth_service_pb2_grpc.AuthServiceStub(channel)  # type: ignore[no-untyped-call]
    return stub.GetJwks(auth_service_pb2.GetJwksRequest(), timeout=PATIENCE)


def test_the_port_speaks_tls_and_nothing_else(secured: Secured) -> None:
    with secured.channel() as channel:
        assert jwks(channel).keys
    with grpc.insecure_channel(f"127.0.0.1:{secured.port}") as channel, pytest.raises(grpc.RpcError) as caught:
        jwks(channel)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_renewed_certificate_is_taken_up_and_one_without_its_key_is_not(secured: Secured) -> None:
    first = secured.serial()
    assert secured.serial() == first
    secured.renew()
    second = secured.serial()
    assert second != first
    (secured.folder / "tls.crt").write_bytes(secured.authority.pair()[0])
    assert secured.serial() == second
    with secured.channel() as channel:
        assert jwks(channel).keys


def test_a_client_must_show_a_certificate_which_is_nobodys_account(mutual: Secured) -> None:
    with mutual.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        jwks(channel)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    with mutual.channel(Authority().pair()) as channel, pytest.raises(grpc.RpcError) as caught:
        jwks(channel)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    with mutual.channel(mutual.authority.pair()) as channel:
        assert jwks(channel).keys
        tasks = task_service_pb2_grpc.TaskServiceStub(channel)  # type: ignore[no-untyped-call]
        assert refused(tasks.ListTasks, task_service_pb2.ListTasksRequest()).reason == "TOKEN_MISSING"


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"CERTIFICATE": "tls.crt"}, "TASKHUB_TLS_KEY is wrong: Value error, certificate and key come together"),
        ({"KEY": "tls.key"}, "TASKHUB_TLS_KEY is wrong: Value error, certificate and key come together"),
        (
            {"CERTIFICATE": "tls.crt", "KEY": "other.key"},
            "TASKHUB_TLS_KEY is wrong: Value error, is not the key of the certificate, in PEM and without a password",
        ),
        ({"CLIENT_CA": "tls.crt"}, "TASKHUB_TLS_CLIENT_CA is wrong: Value error, needs TASKHUB_TLS_CERTIFICATE"),
        ({"CERTIFICATE": "none.crt"}, "TASKHUB_TLS_CERTIFICATE is wrong: Path does not point to a file"),
    ],
    ids=["no key", "no certificate", "another's key", "only authorities", "no file"],
)
def test_files_that_cannot_work_are_one_clear_line_each(tmp_path: Path, files: dict[str, str], line: str) -> None:
    certificate, key = Authority().pair()
    for name, content in (("tls.crt", certificate), ("tls.key", key), ("other.key", Authority().pair()[1])):
        (tmp_path / name).write_bytes(content)
    environment = {
        "TASKHUB_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "TASKHUB_BROKER_URL": "redis://127.0.0.1:1/0",
        "TASKHUB_SECRET_KEY": SECRET,
        **{f"TASKHUB_TLS_{name}": str(tmp_path / file) for name, file in files.items()},
    }
    done = run(environment)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, f"taskhub: {line}")
