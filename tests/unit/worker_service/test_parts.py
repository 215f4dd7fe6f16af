"""The parts that need no server."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from shared.kinds import JobKind
from worker_service import registry
from worker_service.attempt import backoff
from worker_service.health import STUCK, alive
from worker_service.jobs import Job
from worker_service.mailer import Mailer
from worker_service.registry import Registry
from worker_service.transport import make_app

REPORT = Job(JobKind("report", queue="reports", max_attempts=1), lambda _: None)


def test_an_installed_package_brings_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def load(self) -> Job:
            return REPORT

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()] if group == "taskhub.jobs" else [])
    found = registry.installed()
    assert {"email", "report"} <= set(found.kinds)
    assert {"email", "reports"} <= set(found.queues)


def test_two_kinds_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="report"):
        Registry([REPORT, REPORT])


def test_the_pause_doubles_up_to_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, ceiling: ceiling)
    assert [backoff(attempt, 1, 600) for attempt in (1, 2, 3, 10, 11, 100)] == [1, 2, 4, 512, 600, 600]


def test_the_pause_is_spread() -> None:
    pauses = [backoff(5, 1, 600) for _ in range(200)]
    assert 0 <= min(pauses) < 4
    assert 12 < max(pauses) <= 16


@pytest.mark.parametrize("url", ["http://host", "smtp://", "host:25"])
def test_what_is_no_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="smtp"):
        Mailer(url, 1)


def test_celery_is_only_a_transport() -> None:
    conf = make_app("redis://127.0.0.1:1/0", ["email"]).conf
    assert not conf.task_acks_late
    assert conf.worker_disable_prefetch
    assert conf.task_ignore_result
    assert conf.accept_content == ["json"]
    assert conf.broker_connection_max_retries is None
    assert conf.broker_transport_options["socket_timeout"] == 5
    assert not conf.worker_enable_remote_control


UP = 'taskhub_worker_process_up{process="celery"} 1.0\ntaskhub_worker_process_up{process="loops"} '
TICK = 'taskhub_loop_tick_timestamp_seconds{loop="reaper"} '


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (f"{UP}1.0\n{TICK}1000.0\n", True),
        (f"{UP}0.0\n{TICK}1000.0\n", False),
        (f"{UP}1.0\n{TICK}{1000.0 - STUCK}\n", False),
        ("", False),
    ],
)
def test_health(text: str, verdict: bool) -> None:  # noqa: FBT001 - a table of cases
    assert alive(text, 1000.0) is verdict


@pytest.mark.parametrize("command", [["worker_service"], ["worker_service", "loops"], ["worker_service", "health"]])
def test_without_settings_there_is_one_clear_line_each(command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TASKHUB_")}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "taskhub: TASKHUB_DATABASE_URL is not set",
        "taskhub: TASKHUB_BROKER_URL is not set",
        "taskhub: TASKHUB_SECRET_KEY is not set",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("SMTP_URL", "http://x"), ("SMTP_URL", "smtp://"), ("MAIL_FROM", "nobody"), ("LINK_BASE_URL", "example.com")],
)
def test_a_wrong_mail_setting_is_one_clear_line_at_start(name: str, value: str) -> None:
    needed = {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x", "BROKER_URL": "redis://x", "SECRET_KEY": "x" * 32}
    environment = {f"TASKHUB_{key}": text for key, text in (needed | {name: value}).items()}
    done = subprocess.run(
        [sys.executable, "-m", "worker_service"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"taskhub: TASKHUB_{name} is wrong: ")
    assert len(done.stderr.splitlines()) == 1
