"""Mails over TLS: a server whose certificate is good gets them, any other gets nothing, neither mail nor password."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from pydantic import ValidationError

from tests.support.authority import Authority
from tests.support.servers import free_port
from worker_service.mailer import Mailer, MailServerUnavailable
from worker_service.settings import WorkerSettings


class Server:
    """Keeps what it is given, and how each client came."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", **arguments: Any) -> None:
        self.authority = Authority()
        certificate, key = self.authority.pair(host)
        (folder / "pair.pem").write_bytes(certificate + key)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "pair.pem")
        self.secured: list[bool] = []
        contexts: dict[str, Any] = dict.fromkeys(arguments.pop("contexts", ()), context)
        self.controller = Controller(self, hostname="127.0.0.1", port=free_port(), **contexts, **arguments)
        self.controller.start()

    def url(self, scheme: str, query: str = "") -> str:
        return f"{scheme}://127.0.0.1:{self.controller.port}{query}"

    async def handle_DATA(self, _server: object, session: Any, _envelope: object) -> str:  # noqa: N802
        """Notes whether the mail came over TLS."""
        self.secured.append(session.ssl is not None)
        return "250 OK"


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[Server] = []

    def one(**arguments: Any) -> Server:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Server(folder, **arguments))
        return started[-1]

    yield one
    for server in started:
        server.controller.stop()


IMPLICIT: dict[str, Any] = {"contexts": ["ssl_context"]}
EXPLICIT: dict[str, Any] = {"contexts": ["tls_context"], "require_starttls": True}
WAYS = [
    pytest.param(IMPLICIT, "smtps", "", id="smtps"),
    pytest.param(EXPLICIT, "smtp", "?starttls=true", id="starttls"),
]


@pytest.fixture
def message() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "x"
    message.set_content("x")
    return message


@pytest.mark.parametrize(("arguments", "scheme", "query"), WAYS)
def test_a_server_of_the_authority_gets_it_over_tls(
    serve: Serve, message: EmailMessage, arguments: dict[str, Any], scheme: str, query: str
) -> None:
    server = serve(**arguments)
    Mailer(server.url(scheme, query), 5, server.ca).send(message)
    assert server.secured == ([False] if scheme == "smtps" else [True]), "aiosmtpd notes STARTTLS alone"


@pytest.mark.parametrize(("arguments", "scheme", "query"), WAYS)
def test_a_certificate_of_anybody_else_is_refused(
    serve: Serve, message: EmailMessage, arguments: dict[str, Any], scheme: str, query: str
) -> None:
    server, other = serve(**arguments), serve(**arguments)
    for authorities in (None, other.ca):  # the system's, and one that has signed another
        with pytest.raises(MailServerUnavailable):
            Mailer(server.url(scheme, query), 5, authorities).send(message)
    assert server.secured == []


@pytest.mark.parametrize(("arguments", "scheme", "query"), WAYS)
def test_a_certificate_for_another_name_is_refused(
    serve: Serve, message: EmailMessage, arguments: dict[str, Any], scheme: str, query: str
) -> None:
    server = serve(host="127.0.0.2", **arguments)
    with pytest.raises(MailServerUnavailable):
        Mailer(server.url(scheme, query), 5, server.ca).send(message)
    assert server.secured == []


def test_a_server_that_hides_starttls_gets_nothing(serve: Serve, message: EmailMessage) -> None:
    """As somebody in between would, who wants to read along."""
    server = serve()
    with pytest.raises(MailServerUnavailable):
        Mailer(server.url("smtp", "?starttls=true"), 5, server.ca).send(message)
    assert server.secured == []


def test_a_file_without_certificates_ends_the_start(settings: WorkerSettings, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValidationError, match="holds no certificate"):
        WorkerSettings.model_validate({**settings.model_dump(), "smtp_ca": tmp_path / "ca.pem"})
