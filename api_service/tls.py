"""TLS on the gRPC port: the server's certificate, and whose certificates clients must show."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import grpc
import structlog

from api_service.settings import ApiSettings, check_pair

log = structlog.get_logger()


class Certificates:
    """Reads the files, and reads them again when they have changed: a renewed certificate needs no restart.

    A certificate says which program calls, to whoever stands before us. It is no account: every call brings its token.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._seen = self._stamp()
        self._lock = threading.Lock()

    def credentials(self) -> grpc.ServerCredentials:
        """Returns what a port takes; each handshake looks whether there is something newer."""
        return grpc.dynamic_ssl_server_credentials(
            self._read(), self._renewed, require_client_authentication=self._client_ca is not None
        )

    def _renewed(self) -> Any:
        """Returns a newer configuration, or None. Called by threads of grpc's.

        What cannot be used is said once, and the old one stays.
        """
        with self._lock:
            try:
                stamp = self._stamp()
                if stamp == self._seen:
                    return None
                self._seen = stamp
                check_pair(self._certificate, self._key)
                read = self._read()
            except (OSError, ValueError) as error:
                log.error("certificate_not_renewed", error=type(error).__name__)  # noqa: TRY400  no news in the trace
                return None
            log.info("certificate_renewed")
            return read

    def _read(self) -> grpc.ServerCertificateConfiguration:
        ca = self._client_ca.read_bytes() if self._client_ca is not None else None
        return grpc.ssl_server_certificate_configuration(
            [(self._key.read_bytes(), self._certificate.read_bytes())], root_certificates=ca
        )

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        files = [path for path in (self._certificate, self._key, self._client_ca) if path is not None]
        return tuple((state.st_mtime_ns, state.st_ino) for state in map(Path.stat, files))


def certificates(settings: ApiSettings) -> Certificates | None:
    """Returns the certificates of the gRPC port, or None where it is plain."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Certificates(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
