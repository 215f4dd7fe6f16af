"""Writes docs/openapi.yaml, or with --check says whether it is as old as the contract."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from deploy.gateway.openapi import document, generator

DOCUMENT = generator.ROOT / "docs" / "openapi.yaml"
HEAD = "# Written by `make openapi` from the .proto files. Edit those.\n"


def render(plugin: Path) -> str:
    """Returns the document as it should be."""
    return HEAD + yaml.dump(
        document.finish(generator.run(plugin)), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=118
    )


class _Plain(yaml.SafeDumper):
    """Writes everything out, for anchors are read by nobody, and paragraphs as they are."""

    def ignore_aliases(self, data: object) -> bool:
        """Says yes to all."""
        del data
        return True


def _text(dumper: _Plain, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


def main() -> int:
    """Ends with 1 where the document is stale, and with 2 where the generator is missing."""
    parser = argparse.ArgumentParser(prog="python -m deploy.gateway.openapi", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the document is stale")
    flags = parser.parse_args()
    plugin = generator.find()
    if plugin is None:
        print(f"taskhub: {generator.NAME} is missing: `make openapi` builds it, with Go", file=sys.stderr)
        return 2
    text = render(plugin)
    if not flags.check:
        DOCUMENT.write_text(text)
    elif not DOCUMENT.exists() or DOCUMENT.read_text() != text:
        print("taskhub: docs/openapi.yaml is older than the .proto files: run `make openapi`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
