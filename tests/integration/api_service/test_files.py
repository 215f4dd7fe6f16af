"""What starts exports and imports, and hands their files out."""

from __future__ import annotations

import base64
import gzip
import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2
from taskhub.v1 import job_pb2, job_service_pb2, task_file_pb2, task_service_pb2

from shared.files import CHUNK
from shared.ids import new_id
from tests.support.api import Account, Api, refused
from tests.support.servers import PATIENCE

CSV = task_file_pb2.TaskFile.CSV
MIB = 1024 * 1024


def pieces(data: bytes, size: int = MIB, **options: Any) -> Iterator[task_service_pb2.ImportTasksRequest]:
    """Cuts a file into the messages of an upload."""
    for start in range(0, len(data), size):
        body = httpbody_pb2.HttpBody(content_type="text/csv", data=data[start : start + size])
        yield task_service_pb2.ImportTasksRequest(body=body, **({} if start else options))


def files(api: Api, job: str | None = None) -> list[tuple[Any, ...]]:
    condition = "job_id IS NULL" if job is None else f"job_id = '{job.removeprefix('jobs/')}'"
    return api.execute(f"SELECT id, role, size, sha256 FROM job_files WHERE {condition}")


def stored(api: Api, file: uuid.UUID) -> bytes:
    rows = api.execute("SELECT data FROM job_file_chunks WHERE file_id = %s ORDER BY start", (file,))
    return b"".join(row[0] for row in rows)


def test_an_export_carries_what_its_caller_asked_for_and_may_see(api: Api, alice: Account, admin: Account) -> None:
    request = task_service_pb2.ExportTasksRequest(filter="state = TODO", show_deleted=True, format=CSV)
    for who, all_ in ((alice, False), (admin, True)):
        job = api.tasks.ExportTasks(request, metadata=who.metadata)
        assert (job.kind, job.owner, job.state) == ("tasks.export", who.name, job_pb2.Job.QUEUED)
        assert dict(job.args) == {
            "format": "CSV", "filter": "state = TODO", "show_deleted": True, "principal": who.name, "reads_all": all_,
        }  # fmt: skip


def test_a_filter_that_is_none_is_refused_before_there_is_a_job(api: Api, alice: Account) -> None:
    request = task_service_pb2.ExportTasksRequest(filter="state = LOST", format=CSV)
    found = refused(api.tasks.ExportTasks, request, metadata=alice.metadata)
    assert (found.code, found.reason, found.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "FILTER_INVALID",
        ["filter"],
    )


def test_an_upload_is_kept_whole_and_belongs_to_its_job(api: Api, alice: Account) -> None:
    data = b"title\n" + b"x" * 3 * CHUNK
    job = api.tasks.ImportTasks(pieces(data, 100_000, key_field="id"), metadata=alice.metadata)
    [(file, role, size, sha256)] = files(api, job.name)
    assert (role, size, sha256) == ("INPUT", len(data), hashlib.sha256(data).digest())
    assert stored(api, file) == data
    assert dict(job.args) == {
        "format": "CSV", "mode": "ALL_OR_NOTHING", "key_field": "id", "principal": alice.name,
    }  # fmt: skip


def test_the_same_upload_with_the_same_key_is_one_however_it_is_cut(api: Api, alice: Account) -> None:
    data, key = b"title\n" + b"x" * CHUNK, alice.with_key(str(uuid.uuid4()))
    jobs = {api.tasks.ImportTasks(pieces(data, size), metadata=key).name for size in (1000, 300_000)}
    assert len(jobs) == 1
    for other in (pieces(data + b"y"), pieces(data, key_field="id")):
        found = refused(api.tasks.ImportTasks, other, metadata=key)
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED")
    assert files(api) == []


def test_an_upload_that_is_only_tried_leaves_nothing(api: Api, alice: Account) -> None:
    job = api.tasks.ImportTasks(pieces(b"title\n" + b"x" * CHUNK, validate_only=True), metadata=alice.metadata)
    assert (job.kind, files(api), files(api, job.name)) == ("tasks.import", [], [])


def test_an_upload_beyond_the_limit_is_refused_and_leaves_nothing(api: Api, alice: Account) -> None:
    found = refused(api.tasks.ImportTasks, pieces(b"x" * (100 * MIB + 1)), metadata=alice.metadata, timeout=PATIENCE)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BODY_TOO_LARGE")
    assert files(api) == []


NDJSON, UNSAID = task_file_pb2.TaskFile.NDJSON, task_file_pb2.TaskFile.FORMAT_UNSPECIFIED


def upload(content_type: str, format_: Any, **options: Any) -> Iterator[task_service_pb2.ImportTasksRequest]:
    body = httpbody_pb2.HttpBody(content_type=content_type, data=b"title\n")
    yield task_service_pb2.ImportTasksRequest(body=body, format=format_, **options)


@pytest.mark.parametrize(
    ("content_type", "asked", "found"),
    [
        ("text/csv", UNSAID, "CSV"),
        ("Text/CSV; header=present; charset=UTF-8", CSV, "CSV"),
        ("application/x-ndjson", UNSAID, "NDJSON"),
        ("application/jsonl", NDJSON, "NDJSON"),
        ("application/json", NDJSON, "NDJSON"),
        ("application/octet-stream", CSV, "CSV"),
        ("text/plain", NDJSON, "NDJSON"),
        ("", CSV, "CSV"),
    ],
)
def test_a_content_type_says_the_format_or_leaves_it_open(
    api: Api, alice: Account, content_type: str, asked: Any, found: str
) -> None:
    job = api.tasks.ImportTasks(upload(content_type, asked, validate_only=True), metadata=alice.metadata)
    assert dict(job.args)["format"] == found


@pytest.mark.parametrize(
    ("content_type", "asked", "field"),
    [
        ("", UNSAID, "format"),
        ("application/octet-stream", UNSAID, "format"),
        ("application/json", UNSAID, "format"),
        ("multipart/form-data; boundary=x", CSV, "body.content_type"),
        ("multipart/form-data; boundary=x", UNSAID, "body.content_type"),
        ("application/x-www-form-urlencoded", CSV, "body.content_type"),
        ("text/csv2", CSV, "body.content_type"),
        ("text/csv", NDJSON, "body.content_type"),
        ("application/x-ndjson", CSV, "body.content_type"),
        ("application/json", CSV, "body.content_type"),
        ("text/csv; charset=iso-8859-1", CSV, "body.content_type"),
    ],
)
def test_a_content_type_that_cannot_be_the_format_is_refused_before_anything_is_kept(
    api: Api, alice: Account, content_type: str, asked: Any, field: str
) -> None:
    refusal = refused(api.tasks.ImportTasks, upload(content_type, asked), metadata=alice.metadata)
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert files(api) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"title\na\n", mtime=0), "body: is compressed with gzip; send it as it was before"),
        (b"PK\x03\x04\x14", "body: is a ZIP archive or a spreadsheet; save it as CSV"),
        ("title\na\n".encode("utf-16"), "body: is UTF-16, and a file of tasks is UTF-8"),
    ],
    ids=["gzip", "ZIP", "UTF-16"],
)
def test_a_file_that_begins_as_none_of_tasks_does_is_refused_at_once(
    api: Api, alice: Account, data: bytes, said: str
) -> None:
    body = httpbody_pb2.HttpBody(content_type="text/csv", data=data)
    request = task_service_pb2.ImportTasksRequest(body=body)
    refusal = refused(api.tasks.ImportTasks, iter([request]), metadata=alice.metadata)
    assert (refusal.code, refusal.message, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, said, ["body"])
    assert files(api) == []


def result_of(api: Api, owner: Account, data: bytes, *, complete: bool = True) -> str:
    """Makes a job with a file, in chunks of 1,000 bytes; returns its name."""
    job, file = new_id(), new_id()
    api.execute(
        "INSERT INTO jobs (id, kind, queue, max_attempts, owner_id) VALUES (%s, 'tasks.export', 'none', 1, %s)",
        (job, owner.id),
    )
    digest = hashlib.sha256(data).digest() if complete else None
    api.execute(
        "INSERT INTO job_files (id, job_id, role, name, content_type, size, sha256)"
        " VALUES (%s, %s, 'RESULT', 'tasks.csv', 'text/csv', %s, %s)",
        (file, job, len(data) if complete else None, digest),
    )
    for start in range(0, len(data), 1000):
        chunk = (file, start, data[start : start + 1000])
        api.execute("INSERT INTO job_file_chunks (file_id, start, data) VALUES (%s, %s, %s)", chunk)
    return f"jobs/{job}"


def read(api: Api, who: Account, name: str, offset: int = 0) -> tuple[bytes, dict[str, Any]]:
    request = job_service_pb2.ReadJobResultRequest(name=name, offset=offset)
    call = api.jobs.ReadJobResult(request, metadata=who.metadata)
    messages = list(call)
    assert [bool(message.content_type) for message in messages] == [True] + [False] * (len(messages) - 1)
    return b"".join(message.data for message in messages), dict(call.initial_metadata())


@pytest.mark.parametrize("offset", [0, 1, 999, 1000, 2500, 2501])
def test_a_result_is_read_from_any_byte_on(api: Api, alice: Account, offset: int) -> None:
    data = bytes(range(250)) * 10 + b"!"
    read_, metadata = read(api, alice, result_of(api, alice, data), offset)
    assert read_ == data[offset:]
    assert metadata["x-taskhub-size"] == "2501"
    assert metadata["x-taskhub-length"] == str(2501 - offset)
    assert metadata["content-disposition"] == 'attachment; filename="tasks.csv"'
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert metadata["repr-digest"] == f"sha-256=:{digest}:"


def test_an_empty_result_is_one_message(api: Api, alice: Account) -> None:
    assert read(api, alice, result_of(api, alice, b""))[0] == b""


def test_a_result_beyond_its_end_that_is_not_there_yet_or_a_strangers_is_refused(
    api: Api, alice: Account, bob: Account
) -> None:
    def refusal(who: Account, name: str, offset: int = 0) -> tuple[grpc.StatusCode, str]:
        request = job_service_pb2.ReadJobResultRequest(name=name, offset=offset)
        found = refused(
            lambda request, **more: list(api.jobs.ReadJobResult(request, **more)), request, metadata=who.metadata
        )
        return found.code, found.reason

    ready, begun = result_of(api, alice, b"abc"), result_of(api, alice, b"abc", complete=False)
    assert refusal(alice, ready, 4) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert refusal(alice, begun) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_RESULT_MISSING")
    assert refusal(bob, ready) == refusal(bob, f"jobs/{new_id()}") == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    uploaded = api.tasks.ImportTasks(pieces(b"title\nx"), metadata=alice.metadata)
    assert refusal(alice, uploaded.name) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_RESULT_MISSING")


def test_progress_is_shown(api: Api, alice: Account) -> None:
    name = result_of(api, alice, b"")
    request = job_service_pb2.GetJobRequest(name=name)
    assert not api.jobs.GetJob(request, metadata=alice.metadata).HasField("progress")
    api.execute("UPDATE jobs SET progress_fraction = 0.5, progress_note = 'half' WHERE id = %s", (name[5:],))
    progress = api.jobs.GetJob(request, metadata=alice.metadata).progress
    assert (progress.fraction, progress.note) == (0.5, "half")
