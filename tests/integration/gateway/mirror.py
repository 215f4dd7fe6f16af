"""The API's own chain before a servicer that answers with what it knows of its caller, as a process.

Run as `python -m tests.integration.gateway.mirror TRUSTING_PORT OTHER_PORT`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from ipaddress import ip_network

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from taskhub.v1 import task_pb2, task_service_pb2_grpc

from api_service.call import Call
from api_service.interceptors.chain import Chain
from api_service.methods import methods
from api_service.origin import Proxies


def _has_ipv6() -> bool:
    """Whether this machine has IPv6, at least to itself."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


#: Where it listens.
HOSTS = ["127.0.0.1", "::1"] if _has_ipv6() else ["127.0.0.1"]


def address(host: str, port: int) -> str:
    """Returns what gRPC takes for an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Mirror(task_service_pb2_grpc.TaskServiceServicer):
    """Answers with what it knows of its caller."""

    async def GetTask(self, request: bytes, call: Call) -> task_pb2.Task:  # noqa: ARG002, N802
        """Puts the address into the title, and the user agent into the description."""
        return task_pb2.Task(title=call.address, description=call.user_agent)


async def serve(trusting: int, other: int) -> None:
    """Serves until it is killed: one port trusts 127.0.0.1 as a proxy, the other nobody."""
    chain = Chain({method.path: method for method in methods()}, [])
    task_service_pb2_grpc.add_TaskServiceServicer_to_server(Mirror(), chain)  # type: ignore[no-untyped-call]
    healthy = health.aio.HealthServicer()
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    servers = []
    for port, proxies in ((trusting, Proxies([ip_network("127.0.0.1")])), (other, Proxies())):
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((chain.port(proxies),))
        health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
        for host in HOSTS:
            server.add_insecure_port(address(host, port))
        await server.start()
        servers.append(server)
    await asyncio.gather(*(server.wait_for_termination() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
