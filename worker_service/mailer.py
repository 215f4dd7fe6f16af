"""Hands mails to the mail server (SMTP, RFC 5321)."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from shared.errors import Code, TaskHubError
from worker_service.errors import PermanentError

#: Replies that say "do not send this again" (RFC 5321, section 4.2.1).
PERMANENT = range(500, 600)


class MailServerUnavailable(TaskHubError):
    """The mail server could not be reached, or would not take the mail now."""

    code = Code.UNAVAILABLE
    reason = "MAIL_SERVER_UNAVAILABLE"


class MailRefused(PermanentError):
    """The mail server refused the mail for good."""

    reason = "MAIL_REFUSED"


class Mailer:
    """Sends through the server that a URL names: `smtp[s]://[user:password@]host[:port][?starttls=true]`."""

    def __init__(self, url: str, timeout: float, authorities: Path | None = None) -> None:
        """Of a server that speaks TLS, the certificate must be good: for its name, and of `authorities` if given."""
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise ValueError("a mail server is smtp://host:port or smtps://host:port")
        self._host = parts.hostname
        self._implicit_tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._implicit_tls else 25)
        self._starttls = parse_qs(parts.query).get("starttls") == ["true"]
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._timeout = timeout
        self._authorities = authorities

    def send(self, message: EmailMessage) -> None:
        """Returns once the server has taken the mail over.

        The server's words are dropped, since they repeat addresses. Raises MailRefused, or MailServerUnavailable where
        trying again can help.
        """
        try:
            self._transmit(message)
        except (smtplib.SMTPException, OSError) as error:
            if _permanent(error):
                raise MailRefused from error
            raise MailServerUnavailable from error

    def _transmit(self, message: EmailMessage) -> None:
        session = self._session()
        try:
            session.send_message(message)
            # The mail is taken over by now: how they say goodbye changes nothing.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                session.quit()
        finally:
            session.close()

    def _session(self) -> smtplib.SMTP:
        if self._implicit_tls:
            session: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=self._tls())
        else:
            session = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        try:
            self._greet(session)
        except BaseException:
            session.close()
            raise
        return session

    def _greet(self, session: smtplib.SMTP) -> None:
        if self._starttls:
            session.starttls(context=self._tls())
        if self._user:
            session.login(self._user, self._password)

    def _tls(self) -> ssl.SSLContext:
        """Read anew each time: authorities are renewed while we run, and mails are few."""
        return ssl.create_default_context(cafile=self._authorities)


def check_authorities(file: Path) -> None:
    """Raises ValueError unless the file holds certificates in PEM."""
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # of which SSLError is one
        raise ValueError("holds no certificate in PEM") from error


def _permanent(error: Exception) -> bool:
    """Returns whether the recipient or the mail was refused for good.

    A refused login or greeting is about us, not about the mail: an operator can mend it.
    """
    match error:
        case smtplib.SMTPRecipientsRefused():
            return all(code in PERMANENT for code, _ in error.recipients.values())
        case smtplib.SMTPSenderRefused() | smtplib.SMTPDataError():
            return error.smtp_code in PERMANENT
        case _:
            return False
