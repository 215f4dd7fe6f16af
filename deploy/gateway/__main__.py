"""Writes the gateway's configuration: `python -m deploy.gateway --output envoy.yaml`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from deploy.gateway.render import render
from deploy.gateway.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Renders what flags and environment say; a setting that is missing or wrong is named in one line."""
    flags = _parser().parse_args(arguments)
    given = {
        "rest_address": flags.listen,
        "backend_address": flags.upstream,
        "cors_origins": ",".join(flags.cors_origin) if flags.cors_origin else None,
        "trusted_hops": flags.trusted_hops,
    }
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"taskhub: TASKHUB_{name} {problem['msg']}", file=sys.stderr)
        return 2
    configuration = render(settings)
    if flags.output == Path("-"):
        sys.stdout.write(configuration)
    else:
        flags.output.parent.mkdir(parents=True, exist_ok=True)
        flags.output.write_text(configuration)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.gateway", description=__doc__)
    parser.add_argument("--listen", metavar="HOST:PORT", help="where REST is served (TASKHUB_REST_ADDRESS)")
    parser.add_argument(
        "--upstream",
        metavar="HOST:PORT[,HOST:PORT...]",
        help="every API process, by a port of its own (TASKHUB_BACKEND_ADDRESS)",
    )
    parser.add_argument(
        "--cors-origin",
        metavar="ORIGIN",
        action="append",
        help="an origin whose pages may call; repeat it for more (TASKHUB_CORS_ORIGINS)",
    )
    parser.add_argument(
        "--trusted-hops", metavar="N", type=int, help="proxies in front of the gateway (TASKHUB_TRUSTED_HOPS)"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="where to write it; - for stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
