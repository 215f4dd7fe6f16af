"""The API's command line.

`python -m api_service` starts the server processes, serves their metrics and brings a killed one up again;
`python -m api_service serve --index N` is one of them; `python -m api_service health` exits with 0 if they serve;
`python -m api_service admin create --email ADDRESS` makes the first administrator, asking for the password (or reading
it from standard input or `--password-fd`); `python -m api_service keys list|rotate|revoke|prune` manages the signing
keys.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from api_service.settings import ApiSettings
from shared import logs
from shared.settings import EXIT_SETTINGS, load


def main() -> None:
    """Runs one command of the command line."""
    parser = argparse.ArgumentParser(prog="python -m api_service")
    commands = parser.add_subparsers(dest="command")
    serve = commands.add_parser("serve", help="run one server process")
    serve.add_argument("--index", type=int, default=0)
    serve.add_argument("--parent", type=int, help="stop when this process is no longer the parent")
    commands.add_parser("health", help="exit with 0 if the API on this machine serves, else with 1")
    admin = commands.add_parser("admin", help="manage administrators").add_subparsers(dest="action", required=True)
    create = admin.add_parser("create", help="make an administrator, or make an account one")
    create.add_argument("--email", required=True)
    create.add_argument("--password-fd", type=int, help="read the password from this file descriptor")
    _add_keys(commands.add_parser("keys", help="manage the keys that sign access tokens"))
    arguments = parser.parse_args()
    settings = load(ApiSettings)
    logs.configure("api", settings.log_level)
    match arguments.command:
        case None:
            from api_service.processes import Processes  # noqa: PLC0415  the parent never loads grpc

            sys.exit(Processes(settings).run())
        case "serve":
            from api_service.keys.ring import SecretKeyMismatchError  # noqa: PLC0415
            from api_service.loop import Loop  # noqa: PLC0415
            from api_service.server import serve as serve_one  # noqa: PLC0415  and the child nothing of the parent

            try:
                with asyncio.Runner(loop_factory=Loop) as runner:
                    runner.run(serve_one(settings, arguments.index, arguments.parent))
            except SecretKeyMismatchError as error:
                print(f"taskhub: {error.__doc__}", file=sys.stderr)
                sys.exit(EXIT_SETTINGS)
        case "health":
            from api_service.probe import probe  # noqa: PLC0415

            sys.exit(probe(settings))
        case "admin":
            from api_service.admin import create_admin  # noqa: PLC0415

            create_admin(settings, arguments.email, arguments.password_fd)
        case "keys":
            from api_service.keys.command import run  # noqa: PLC0415

            run(settings, arguments)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="show the published keys, in the order in which they sign")
    actions.add_parser("rotate", help="publish a new key, which takes over from the old one in some minutes")
    revoke = actions.add_parser("revoke", help="forget a key at once: its tokens are refused within seconds")
    what = revoke.add_mutually_exclusive_group(required=True)
    what.add_argument("kid", nargs="?", help="the key's id")
    what.add_argument("--all", action="store_true", help="every key, also after the secret key was changed")
    actions.add_parser("prune", help="forget the keys whose time is over (rotate does so as well)")


if __name__ == "__main__":
    main()
