from __future__ import annotations

from pathlib import Path

from deploy.gateway.render import Limits
from tests.integration.gateway.running import Gateway

MIB = 1024 * 1024


def test_a_body_of_four_mebibytes_passes_and_a_larger_one_does_not(gateway: Gateway) -> None:
    fits = gateway.ask("POST", "/v1/tasks", '{"description":"' + "x" * (4 * MIB - 100) + '"}')
    assert (fits.status, fits.json["description"]) == (200, str(4 * MIB - 100))
    answer = gateway.ask("POST", "/v1/tasks", '{"description":"' + "x" * (4 * MIB) + '"}')
    assert (answer.status, answer.json["code"], answer.reason) == (413, 3, "BODY_TOO_LARGE")


def test_a_large_answer_passes(gateway: Gateway) -> None:
    answer = gateway.ask("GET", "/v1/tasks?pageSize=400")
    assert (answer.status, len(answer.json["tasks"])) == (200, 400)


def test_an_answer_beyond_the_limit_is_our_fault(gateway: Gateway) -> None:
    answer = gateway.ask("GET", "/v1/tasks?pageSize=1000")
    assert (answer.status, answer.json["code"], answer.reason) == (500, 13, "INTERNAL")


def test_an_answer_that_nests_too_deep_is_never_an_empty_success(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/v1/jobs/32").status == 200
    for depth in (34, 50, 70):
        answer = gateway.ask("GET", f"/v1/jobs/{depth}")
        assert (answer.status, answer.reason) == (500, "INTERNAL")


def test_an_api_that_does_not_answer_runs_into_the_deadline(tmp_path: Path) -> None:
    hurried = Gateway(tmp_path, limits=Limits(deadline_seconds=1))
    try:
        hurried.start()
        answer = hurried.ask("GET", "/v1/tasks/sleep")
    finally:
        hurried.stop()
    assert (answer.status, answer.json["code"], answer.reason) == (504, 4, "DEADLINE_EXCEEDED")
