from __future__ import annotations

import http.client
import json

from tests.integration.gateway.running import Gateway
from tests.support.servers import PATIENCE


def test_a_stream_is_a_line_of_json_a_response_as_soon_as_it_is_there(gateway: Gateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
    connection.request("GET", "/v1/tasks:watch?kinds=task.a&kinds=task.b&heartbeatInterval=5s")
    response = connection.getresponse()
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    first = json.loads(response.readline())
    assert first["resumeToken"] == "task.a"
    # The next is sent once the first has been read: it was not held back until then.
    assert gateway.ask("GET", "/v1/tasks/go").status == 200
    assert json.loads(response.readline())["resumeToken"] == "task.b"
    assert gateway.ask("GET", "/v1/tasks/go").status == 200
    # The status of the call is lost over REST: the last line says it.
    last = json.loads(response.readline())
    assert (last["end"]["status"]["code"], last["end"]["status"]["details"][0]["reason"]) == (14, "SERVER_DRAINING")
    assert response.read() == b""
    connection.close()


def test_an_error_before_the_first_response_is_an_answer_like_any_other(gateway: Gateway) -> None:
    answer = gateway.ask("GET", "/v1/tasks:watch?task=tasks/1")
    assert (answer.status, answer.reason) == (404, "GONE")
    assert gateway.ask("GET", "/v1/tasks:watch?resume_token=a&other=1").reason == "QUERY_PARAMETER_UNKNOWN"
