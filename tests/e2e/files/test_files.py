"""Tasks in and out of the whole stack as files, with nothing but curl."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from devstack.demo.stack import ThrowAwayStack
from tests.support.servers import eventually

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

LINES = 20_000


class Curl:
    """Calls with the headers of an account."""

    def __init__(self, stack: ThrowAwayStack, headers: dict[str, str]) -> None:
        self._base = f"http://{stack.rest}"
        self._headers = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]

    def __call__(self, path: str, *options: str) -> bytes:
        """Returns the body of an answer that is no error."""
        command = ["curl", "--silent", "--show-error", "--fail-with-body", *self._headers, *options, self._base + path]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def json(self, path: str, *options: str) -> Any:
        """Returns the answer as JSON."""
        return json.loads(self(path, *options))

    def done(self, job: str) -> Any:
        """Returns a job once it has ended well."""

        def look() -> Any:
            found = self.json(f"/v1/{job}")
            assert found["state"] != "FAILED", found
            return found if found["state"] == "SUCCEEDED" else None

        return eventually(look, seconds=60)


def _digest(headers: str) -> str:
    [line] = [line for line in headers.splitlines() if line.lower().startswith("repr-digest:")]
    return line.partition("sha-256=")[2].strip().strip(":")


def test_a_file_goes_in_and_comes_out(stack: ThrowAwayStack, admin: dict[str, str], tmp_path: Path) -> None:
    curl = Curl(stack, admin)
    upload, headers, download = (tmp_path / name for name in ("upload.csv", "headers", "download"))
    label = uuid.uuid4().hex
    with upload.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ticket", "title", "description", "labels"])
        writer.writerows(
            [f"{label}-{n}", f"=Task {n}", f'line "{n}"\nanother', json.dumps({"import": label})] for n in range(LINES)
        )
    begun = curl.json(
        "/v1/tasks:import?keyField=ticket",
        *("-H", "content-type: text/csv", "-H", f"idempotency-key: {label}", "--data-binary", f"@{upload}"),
    )
    job = curl.done(begun["name"])
    assert (job["kind"], job["result"]["created"], job["progress"]["fraction"] > 0) == ("tasks.import", LINES, True)
    report = curl(f"/v1/{job['name']}:readResult").splitlines()
    assert json.loads(report[0])["line"] == 2
    assert len(report) == LINES

    found = []
    for format_ in ("CSV", "NDJSON"):
        options = json.dumps({"format": format_, "filter": f'labels.import = "{label}"'})
        begun = curl.json("/v1/tasks:export", "-H", "content-type: application/json", "-d", options)
        job = curl.done(begun["name"])
        path = f"/v1/{job['name']}:readResult"
        curl(path, "--dump-header", str(headers), "--output", str(download))
        data = download.read_bytes()
        told = headers.read_text()
        assert _digest(told) == base64.b64encode(hashlib.sha256(data).digest()).decode()
        assert f"content-length: {len(data)}" in told.lower()
        assert 'filename="tasks-' in told
        assert curl(f"{path}?offset={len(data) - 1000}") == data[-1000:]
        found.append(data)
    rows = list(csv.DictReader(io.StringIO(found[0].decode(), newline="")))
    assert [row["title"] for row in rows] == [f"'=Task {n}" for n in range(LINES)]
    objects = [json.loads(line) for line in found[1].splitlines()]
    assert [each["title"] for each in objects] == [f"=Task {n}" for n in range(LINES)]
    shown = curl.json(f"/v1/{objects[7]['name']}")
    times = {"createTime", "updateTime"}
    assert {k: v for k, v in objects[7].items() if k not in times} == {
        k: v for k, v in shown.items() if k not in times and v != ""
    }
