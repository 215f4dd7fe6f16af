"""How a refusal is written on the wire."""

from __future__ import annotations

from google.rpc import error_details_pb2, status_pb2

from api_service.interceptors.errors import details, message
from shared.errors import FieldsInvalid

#: What a client of gRPC takes with an answer, unless told otherwise.
METADATA = 8192


def test_a_refusal_fits_into_an_answer_however_much_was_wrong_and_however_long() -> None:
    error = FieldsInvalid(
        [(f"requests[{number}].\U0001f469" * 500, "must not be \u2028" * 500) for number in range(1000)]
    )
    ((_, trailer),) = details(error)
    assert isinstance(trailer, bytes)
    # grpc-message is percent-encoded: three characters a byte.
    assert len(trailer) + 3 * len(message(error).encode()) < METADATA - 1024
    bad = error_details_pb2.BadRequest()
    assert status_pb2.Status.FromString(trailer).details[1].Unpack(bad)
    assert bad.field_violations[0].field.startswith("requests[0].")
    assert len(bad.field_violations) > 1
