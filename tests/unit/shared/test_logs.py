"""What a log line may say of an exception."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from shared.outline import outline
from tests.support.servers import ROOT

SECRET = "swordfish"

PROGRAM = f"""
import logging, structlog
from shared import logs
logs.configure("test", "DEBUG")
def fail():
    try:
        raise ValueError("{SECRET}")
    except ValueError as error:
        raise RuntimeError("{SECRET}") from error
for log in (structlog.get_logger(), logging.getLogger("library")):
    try:
        fail()
    except RuntimeError as error:
        log.exception("it_failed")
        log.error("it_failed", exc_info=error)
fail()
"""


def test_an_exception_is_logged_by_class_and_place_and_never_in_its_own_words() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["it_failed"] * 4 + ["process_failed"]
    assert SECRET not in done.stderr + done.stdout
    for line in lines:
        named = [part.split()[-1] for part in line["exception"].splitlines()]
        assert named[-1] == "fail"
        assert {"RuntimeError", "ValueError"} < set(named)
    assert done.returncode == 1


def test_a_chain_that_bites_its_tail_has_an_end() -> None:
    first, second = ValueError(SECRET), TypeError(SECRET)
    first.__cause__, second.__cause__ = second, first
    assert outline(first).splitlines() == ["ValueError", "TypeError"]


def test_a_full_disk_stops_nobody_who_has_something_to_say() -> None:
    program = """
import logging, structlog
from shared import logs
logs.configure("test", "DEBUG")
for log in (structlog.get_logger(), logging.getLogger("library")):
    log.warning("nobody hears")
print("went on")
"""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=-1, stderr=full, text=True, check=False)  # noqa: S603
    assert done.stdout == "went on\n"
