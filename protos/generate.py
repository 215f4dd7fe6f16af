"""Writes the Python stubs of every .proto beside it, and the compiled image that `buf` reads.

`buf/validate/validate.proto` is not copied into the repository: its descriptor travels inside the protovalidate wheel,
and Google's common types inside googleapis-common-protos. protoc takes both through `--descriptor_set_in`.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc  # type: ignore[import-untyped]
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).parent
OWN = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("taskhub/**/*.proto"))
IMPORTED = (
    "google.protobuf.any_pb2",
    "google.protobuf.descriptor_pb2",
    "google.protobuf.duration_pb2",
    "google.protobuf.empty_pb2",
    "google.protobuf.field_mask_pb2",
    "google.protobuf.struct_pb2",
    "google.protobuf.timestamp_pb2",
    "google.api.http_pb2",
    "google.api.annotations_pb2",
    "google.api.launch_stage_pb2",
    "google.api.client_pb2",
    "google.api.field_behavior_pb2",
    "google.api.httpbody_pb2",
    "google.api.resource_pb2",
    "google.rpc.status_pb2",
)


def dependencies() -> descriptor_pb2.FileDescriptorSet:
    """Returns the descriptors of everything that our files import, in the order of their imports."""
    files = descriptor_pb2.FileDescriptorSet()
    for name in IMPORTED:
        importlib.import_module(name).DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    return files


def generate(out: Path, image: Path | None = None) -> None:
    """Writes stubs under `out`, and the image with comments to `image` if one is named."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        known = Path(scratch) / "dependencies.binpb"
        known.write_bytes(dependencies().SerializeToString())
        # A descriptor set hides the folders on disk, so our own files go through it as well.
        own = Path(scratch) / "own.binpb"
        run(f"--descriptor_set_in={known}", f"-I{ROOT}", "--include_source_info", f"-o{own}", *OWN)
        inputs = f"--descriptor_set_in={own}:{known}"
        run(inputs, f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}", *OWN)
        run(inputs, f"--python_out={out}", f"--pyi_out={out}", "buf/validate/validate.proto")
        if image is not None:
            image.parent.mkdir(parents=True, exist_ok=True)
            run(inputs, "--include_imports", "--include_source_info", f"-o{image}", *OWN)


def run(*arguments: str) -> None:
    """Runs protoc, and ends the program where it finds a fault in a file."""
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit(1)


if __name__ == "__main__":
    out, image, *_ = (*(Path(argument) for argument in sys.argv[1:]), None, None)
    generate(out or ROOT, image)
