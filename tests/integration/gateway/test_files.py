"""Files through the gateway: bytes as they are, in both directions, in bounded memory."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.gateway.running import Gateway
from tests.support.servers import PATIENCE

MIB = 1024 * 1024


def _told(answer: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(answer.json["name"])
    return told


def test_an_upload_arrives_in_pieces_with_its_options_in_the_first(gateway: Gateway) -> None:
    answer = gateway.ask(
        "POST", "/v1/tasks:import?keyField=ticket&mode=SKIP_INVALID", b"x" * 20 * MIB, content_type="text/csv"
    )
    assert answer.status == 200, answer.text
    assert _told(answer) == {
        "first": {"body": {"contentType": "text/csv"}, "keyField": "ticket", "mode": "SKIP_INVALID"},
        "bytes": 20 * MIB,
        "several": True,
    }


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "application/json", "text/csv; charset=utf-8", ""]
)
def test_an_upload_may_be_of_any_type(gateway: Gateway, kind: str) -> None:
    answer = gateway.ask("POST", "/v1/tasks:import", b"\xff\x00{", content_type=kind)
    assert (answer.status, _told(answer)["bytes"]) == (200, 3)


def test_an_upload_of_unknown_length_and_one_of_nothing(gateway: Gateway) -> None:
    def parts() -> Iterator[bytes]:
        yield from (b"abc", b"de")

    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
    connection.request("POST", "/v1/tasks:import", parts(), {"content-type": "text/csv"}, encode_chunked=True)
    assert json.loads(json.loads(connection.getresponse().read())["name"])["bytes"] == 5
    connection.close()
    assert _told(gateway.ask("POST", "/v1/tasks:import", b"", content_type="text/csv"))["bytes"] == 0


def test_an_upload_that_the_api_finds_too_large_is_413(gateway: Gateway) -> None:
    # What is left when the answer comes fits into the buffers on the way; it is the client's to read it.
    answer = gateway.ask("POST", "/v1/tasks:import", b"x" * (50 * MIB + 1), content_type="text/csv")
    assert (answer.status, answer.reason) == (413, "BODY_TOO_LARGE")


def test_an_upload_that_is_compressed_is_refused(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/v1/tasks:import", b"x", content_type="text/csv", content_encoding="br")
    assert (answer.status, answer.reason, answer.field) == (415, "CONTENT_ENCODING_UNSUPPORTED", "content-encoding")


def test_an_unknown_parameter_of_an_upload_is_refused(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/v1/tasks:import?body.data=eA", b"x", content_type="text/csv")
    assert (answer.status, answer.reason) == (400, "QUERY_PARAMETER_UNKNOWN")


@pytest.mark.parametrize("size", [10, 20 * MIB])
def test_a_download_is_the_file_and_its_headers(gateway: Gateway, size: int) -> None:
    answer = gateway.ask("GET", f"/v1/jobs/{size}:readResult")
    assert (answer.status, len(answer.text)) == (200, size)
    expected = {
        "content-type": "text/csv",
        "content-length": str(size),
        "content-disposition": 'attachment; filename="x.csv"',
        "repr-digest": "sha-256=:AAAA:",
        "cache-control": "no-store",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected


def test_a_download_that_breaks_off_is_seen_to_be_short(gateway: Gateway) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        gateway.ask("GET", f"/v1/jobs/{MIB}-half:readResult")
