"""Runs the generator, a plugin of protoc that is pinned in go.mod, over the .proto files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[3]
NAME = "protoc-gen-connect-openapi"
BUILT = ROOT / ".cache" / "bin" / NAME
#: Plain REST: no Connect paths, no protocol headers.
OPTIONS = "path=openapi.yaml,features=google.api.http;protovalidate"


def find() -> Path | None:
    """Returns the generator, if it was built or is on PATH."""
    if BUILT.exists():
        return BUILT
    on_path = shutil.which(NAME)
    return Path(on_path) if on_path else None


def run(plugin: Path) -> dict[str, Any]:
    """Returns the generator's document."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        image = out / "image.binpb"
        command = [sys.executable, str(ROOT / "protos" / "generate.py"), str(out / "stubs"), str(image)]
        subprocess.run(command, check=True)  # noqa: S603 - our own program
        files = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").glob("taskhub/**/*.proto"))
        arguments = [f"--plugin={NAME}={plugin}", f"--connect-openapi_out={out}", f"--connect-openapi_opt={OPTIONS}"]
        if protoc.main(["protoc", f"--descriptor_set_in={image}", *arguments, *files]) != 0:
            sys.exit(1)
        document: dict[str, Any] = yaml.safe_load((out / "openapi.yaml").read_text())
        return document
