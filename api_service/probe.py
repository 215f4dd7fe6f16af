"""Asks the API on this machine whether it serves: the health check of a container, which has no other gRPC client."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2

from api_service.settings import ApiSettings

_TIMEOUT = 3.0
#: Where to call what listens everywhere.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  compared


def probe(settings: ApiSettings) -> int:
    """Returns the exit status: 0 if a process answers that it is SERVING."""
    host, _, port = settings.grpc_address.rpartition(":")
    address = f"{_LOOPBACK.get(host, host)}:{port}"
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
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
