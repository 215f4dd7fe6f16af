"""Asks the API on this machine whether it serves: the health check of a container, which has no other gRPC client."""

from __future__ import annotations

from typing import Any

import grpc
from cryptography import x509
from grpc_health.v1 import health_pb2

from api_service.settings import ApiSettings

_TIMEOUT = 3.0
#: Where to call what listens everywhere.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  compared


def probe(settings: ApiSettings) -> int:
    """Returns the exit status: 0 if a process answers that it is SERVING."""
    with _channel(settings) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT)
        except grpc.RpcError:
            return 1
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


def _channel(settings: ApiSettings) -> grpc.Channel:
    """Goes by the gateway's port if there is one: it is plain, and asks for no certificate."""
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
    host, _, port = (settings.backend_address or settings.grpc_address).rpartition(":")
    address = f"{_LOOPBACK.get(host, host)}:{port}"
    certificate, key = settings.tls_certificate, settings.tls_key
    if settings.backend_address is not None or certificate is None or key is None:
        return grpc.insecure_channel(address, options=options)
    chain = certificate.read_bytes()
    # It is the server's own certificate that must come, and its own is what the probe has to show.
    own = (key.read_bytes(), chain) if settings.tls_client_ca is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(chain, *own)
    return grpc.secure_channel(address, credentials, [*options, ("grpc.ssl_target_name_override", _name(chain))])


def _name(chain: bytes) -> str:
    """Returns a name that the certificate is good for."""
    names = x509.load_pem_x509_certificate(chain).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return found[0].replace("*", "probe", 1) if found else "localhost"
