"""Writes docs/access.md from the contract: run as `python -m docs.generate`, which `make protos` does."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from taskhub.v1.options_pb2 import AccessRule, RateLimit

from api_service.methods import Method, methods
from deploy.gateway import contract

DOCUMENT = Path(__file__).with_name("access.md")

HEAD = """# Who may call what

Written by `make protos` from the method options of the contract (`taskhub.v1.access`, `rate_limit`,
`ignores_idempotency_key`). The server reads the same options, and does not start where a method has no access rule.

**Who** is what a token must hold. A user holds `tasks.read`, `tasks.write` and their like on what they own, an
administrator on everybody's, a service account what it was given. A resource that the caller may not see is NOT_FOUND,
exactly as a missing one is. **Key**: whether the metadata `idempotency-key` makes a repeated call safe; a read needs
none, and an answer that holds a secret is never stored. **Rate** is what the calls are counted with; the limits are
settings, see [operations](operations.md).
"""
TABLE = "| method | REST | who | key | rate |\n| --- | --- | --- | --- | --- |\n"
WHO = {AccessRule.PUBLIC: "anybody", AccessRule.ANY_ACCOUNT: "any account", AccessRule.ADMIN: "administrators"}


def document() -> str:
    """Returns the whole document."""
    routes: dict[str, list[str]] = {}
    for route in contract.routes():
        routes.setdefault(route.call, []).append(f"`{route.verb} {route.template}`")
    parts = [HEAD]
    for service, rpcs in groupby(methods(), key=lambda method: method.service):
        parts.append(f"\n## {service.rpartition('.')[2]}\n\n{TABLE}")
        parts += (_row(method, routes[method.path]) for method in rpcs)
    return "".join(parts)


def _row(method: Method, routes: list[str]) -> str:
    who = WHO.get(method.access.kind) or f"`{method.access.scope}`"
    key = "taken" if method.takes_key else "ignored" if method.mutation else "read"
    return f"| {method.name} | {', '.join(routes)} | {who} | {key} | {RateLimit.Class.Name(method.rate)} |\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if sys.argv[1:] else DOCUMENT).write_text(document())
