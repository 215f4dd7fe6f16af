"""Jobs as callers see them."""

from __future__ import annotations

from typing import Any

import pytest
from google.rpc import code_pb2
from taskhub.v1 import job_pb2, job_service_pb2

from shared.ids import new_id
from tests.support.api import Account, Api

v1 = job_service_pb2


def insert(api: Api, owner: Account | None, **columns: Any) -> str:
    """Writes a job and returns its name."""
    row = {
        "id": new_id(),
        "kind": "email",
        "queue": "email",
        "max_attempts": 5,
        "owner_id": owner.id if owner else None,
    }
    row |= columns
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    api.execute(f"INSERT INTO jobs ({names}) VALUES ({values})", row)
    return f"jobs/{row['id']}"


def listed(api: Api, who: Account, **arguments: Any) -> list[str]:
    answer = api.jobs.ListJobs(v1.ListJobsRequest(**arguments), metadata=who.metadata)
    return [job.name for job in answer.jobs]


#: What is stored, and what users see of it.
STATES: dict[str, dict[str, Any]] = {
    "SCHEDULED": {"schedule_time": "2999-01-01"},
    "QUEUED": {},
    "RUNNING": {"state": "RUNNING", "attempt": 1, "lease_expire_time": "2999-01-01", "start_time": "2026-01-01"},
    "RETRYING": {"attempt": 1, "schedule_time": "2999-01-01"},
    "SUCCEEDED": {"state": "SUCCEEDED", "attempt": 1, "end_time": "2026-01-01", "result": '{"n": 1}'},
    "FAILED": {
        "state": "FAILED",
        "attempt": 5,
        "end_time": "2026-01-01",
        "error": '{"code": 14, "message": "The server did not answer.", "reason": "SMTP_UNAVAILABLE"}',
    },
    "CANCELLED": {"state": "CANCELLED", "end_time": "2026-01-01"},
}


@pytest.mark.parametrize("state", STATES)
def test_the_clock_tells_apart_what_is_stored_as_one(api: Api, alice: Account, state: str) -> None:
    names = {name: insert(api, alice, **columns) for name, columns in STATES.items()}
    job = api.jobs.GetJob(v1.GetJobRequest(name=names[state]), metadata=alice.metadata)
    assert job_pb2.Job.State.Name(job.state) == state
    assert listed(api, alice, state=state) == [names[state]]
    assert job.HasField("lease_expire_time") == (state == "RUNNING")


def test_a_failure_carries_its_code_and_reason(api: Api, alice: Account) -> None:
    job = api.jobs.GetJob(v1.GetJobRequest(name=insert(api, alice, **STATES["FAILED"])), metadata=alice.metadata)
    assert (job.error.code, job.error.message) == (code_pb2.UNAVAILABLE, "The server did not answer.")
    assert b"SMTP_UNAVAILABLE" in job.error.details[0].value


def test_jobs_of_others_and_of_taskhub_itself_are_for_administrators(
    api: Api, alice: Account, bob: Account, admin: Account
) -> None:
    mine, his, nobodys = insert(api, alice), insert(api, bob), insert(api, None)
    assert listed(api, alice) == [mine]
    assert listed(api, admin, page_size=3) == [nobodys, his, mine]


def test_jobs_are_listed_by_kind_in_pages(api: Api, alice: Account) -> None:
    names = [insert(api, alice, kind=f"probe.{index % 2}") for index in range(6)]
    first = api.jobs.ListJobs(v1.ListJobsRequest(kind="probe.1", page_size=2), metadata=alice.metadata)
    assert [job.name for job in first.jobs] == [names[5], names[3]]
    rest = listed(api, alice, kind="probe.1", page_size=2, page_token=first.next_page_token)
    assert rest == [names[1]]


def test_attempts_are_listed_newest_first_in_pages(api: Api, alice: Account) -> None:
    name = insert(api, alice, attempt=3)
    api.execute(
        "INSERT INTO job_attempts (job_id, claim_token, attempt, state, worker, end_time) "
        "SELECT %s, n, n, 'LOST', 'host:1', now() FROM generate_series(1, 3) AS n",
        (name.removeprefix("jobs/"),),
    )
    request = v1.ListJobAttemptsRequest(parent=name, page_size=2)
    first = api.jobs.ListJobAttempts(request, metadata=alice.metadata)
    assert [attempt.attempt for attempt in first.attempts] == [3, 2]
    request.page_token = first.next_page_token
    rest = api.jobs.ListJobAttempts(request, metadata=alice.metadata)
    assert [attempt.attempt for attempt in rest.attempts] == [1]
    assert rest.next_page_token == ""
