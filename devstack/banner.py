"""What a person reads once the stack is up: where everything listens, and three things to try."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from devstack import postgres

if TYPE_CHECKING:
    from devstack.stack import Stack

BODY = '{{"email": "{name}@example.com", "password": "correct horse battery"}}'

PAGE = """
TaskHub is up. Ctrl-C stops it.

  gRPC             {grpc}
  REST             {rest}
  mail             {mailbox}   (every email that TaskHub sends)
  metrics          {metrics}   worker: {worker_metrics}
  PostgreSQL       {psql}
  logs             {logs}
  data             {data}

Three things to try:

  {reflection}

  curl -i {rest}/v1/auth:register -H 'content-type: application/json' -d '{body}'

  {python} - <<'EOF'
import grpc
from taskhub.v1 import auth_service_pb2 as auth, auth_service_pb2_grpc as service
with grpc.insecure_channel("{grpc}") as channel:
    service.AuthServiceStub(channel).Register(
        auth.RegisterRequest(email="edsger@example.com", password="correct horse battery"))
    print("registered: the link is in the mail at {mailbox}")
EOF
"""


def banner(stack: Stack) -> str:
    """Returns the text. No password is in it: what it prints ends up in terminals' histories."""
    at, data = stack.addresses, stack.data.path
    return PAGE.format(
        grpc=at.grpc.reachable,
        rest=f"http://{at.rest.reachable}",
        mailbox=f"http://{at.mailbox.reachable}",
        metrics=f"http://{at.metrics.reachable}/metrics",
        worker_metrics=f"http://{at.worker_metrics.reachable}/metrics",
        psql=f'PGPASSWORD="$(cat {short(data / "postgres.password")})" {short(postgres.BIN / "psql")} '
        f"-h {at.postgres.host} -p {at.postgres.port} -U {postgres.USER} {postgres.DATABASE}",
        logs=short(data / "logs"),
        data=short(data),
        reflection=call_by_reflection(str(at.grpc.reachable)),
        python=short(Path(sys.executable)),
        body=BODY.format(name="grace"),
    )


def call_by_reflection(address: str) -> str:
    """Returns a call that needs no .proto, with the tool that is there."""
    body, method = BODY.format(name="ada"), "taskhub.v1.AuthService/Register"
    if shutil.which("grpcurl"):
        return f"grpcurl -plaintext -d '{body}' {address} {method}"
    buf = short(Path(sys.executable).with_name("buf"))
    return f"{buf} curl --protocol grpc --http2-prior-knowledge -d '{body}' http://{address}/{method}"


def short(path: Path) -> str:
    """Returns the path as a shell takes it: relative where it lies under the working folder."""
    return shlex.quote(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
