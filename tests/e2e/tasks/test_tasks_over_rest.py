"""Changes of tasks, their history and the stream of them, as an external client has them: through Envoy."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psutil
import pytest

from devstack.demo.stack import ThrowAwayStack
from tests.support.servers import PATIENCE, eventually


class Rest:
    """One account's calls."""

    def __init__(self, stack: ThrowAwayStack, headers: dict[str, str]) -> None:
        self._address = stack.rest
        self._headers = headers | {"content-type": "application/json"}

    @contextmanager
    def ask(self, verb: str, path: str, body: Any = None, **headers: str) -> Iterator[http.client.HTTPResponse]:
        """Yields the answer, still to be read."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection(self._address, timeout=PATIENCE)) as connection:
            connection.request(verb, path, None if body is None else json.dumps(body), self._headers | sent)
            with connection.getresponse() as answer:
                yield answer

    def __call__(self, verb: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Returns status and JSON of an answer."""
        with self.ask(verb, path, body, **headers) as answer:
            return answer.status, json.loads(answer.read())

    def ok(self, verb: str, path: str, body: Any = None, **headers: str) -> Any:
        """Returns the JSON of an answer that is no error."""
        status, answer = self(verb, path, body, **headers)
        assert status == 200, answer
        return answer

    @contextmanager
    def watch(self, query: str) -> Iterator[Iterator[Any]]:
        """Yields the responses of WatchTasks, a line each, until the stream breaks off."""
        with self.ask("GET", f"/v1/tasks:watch?{query}") as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer.read()
            yield (json.loads(line) for line in iter(answer.readline, b""))

    def serving(self) -> bool:
        """Whether the API can be reached again."""
        return self("GET", "/v1/tasks?pageSize=1")[0] == 200


@pytest.fixture
def rest(stack: ThrowAwayStack, admin: dict[str, str]) -> Rest:
    return Rest(stack, admin)


def test_patch_changes_what_the_mask_names_or_without_one_what_is_there(rest: Rest) -> None:
    begun = rest.ok("POST", "/v1/tasks", {"title": "One", "description": "long", "labels": {"team": "a"}})
    path = f"/v1/{begun['name']}"
    due = "2031-01-01T00:00:00Z"
    changed = rest.ok("PATCH", path, {"title": "Two", "description": "", "dueTime": due})
    assert (changed["title"], changed.get("description"), changed["dueTime"]) == ("Two", None, due)
    assert changed["labels"] == {"team": "a"}
    changed = rest.ok("PATCH", f"{path}?updateMask=labels,dueTime", {"title": "ignored"})
    assert (changed["title"], changed["labels"], "dueTime" in changed) == ("Two", {}, False)
    checked = rest.ok("PATCH", f"{path}?updateMask=*&validateOnly=true", {"title": "Never", "priority": "HIGH"})
    assert (checked["title"], rest.ok("GET", path)) == ("Never", changed)
    replaced = rest.ok("PATCH", f"{path}?updateMask=*", {"title": "Three", "etag": changed["etag"]})
    assert (replaced["title"], replaced["priority"]) == ("Three", "NORMAL")
    refusals = {
        f"{path}?updateMask=state": (400, "FIELD_INVALID"),
        f"{path}?updateMask=labels.team": (400, "FIELD_INVALID"),
        f"{path}?mask=title": (400, "QUERY_PARAMETER_UNKNOWN"),
        path: (409, "ETAG_MISMATCH"),
    }
    for target, expected in refusals.items():
        status, refusal = rest("PATCH", target, {"title": "Four", "etag": begun["etag"]})
        assert (status, refusal["details"][0]["reason"]) == expected, target
    assert rest.ok("GET", path) == replaced


def test_history_says_what_each_change_did_in_the_words_of_the_task(rest: Rest) -> None:
    task = rest.ok("POST", "/v1/tasks", {"title": "One", "priority": "HIGH", "dueTime": "2031-01-01T00:00:00.5Z"})
    done = rest.ok("POST", f"/v1/{task['name']}:complete", {})
    path = f"/v1/{task['name']}/events?pageSize=1"
    newest = rest.ok("GET", path)
    oldest = rest.ok("GET", f"{path}&pageToken={newest['nextPageToken']}")
    assert oldest["nextPageToken"] == ""
    [completed], [created] = newest["events"], oldest["events"]
    assert completed["changes"] == {
        "state": {"oldValue": "TODO", "newValue": "DONE"},
        "complete_time": {"oldValue": None, "newValue": done["completeTime"]},
    }
    assert {name: change["newValue"] for name, change in created["changes"].items()} == {
        "title": "One", "state": "TODO", "priority": "HIGH", "due_time": task["dueTime"],
    }  # fmt: skip
    status, refusal = rest("GET", f"{path}&kinds=task.created&pageToken={newest['nextPageToken']}")
    assert (status, refusal["details"][0]["reason"]) == (400, "PAGE_TOKEN_INVALID")


def test_a_stream_that_a_killed_server_broke_off_goes_on_without_a_gap_or_a_repeat(
    stack: ThrowAwayStack, rest: Rest
) -> None:
    seen: list[str] = []
    made: list[str] = []
    end = time.monotonic() + 3 * PATIENCE
    query, token = "kinds=task.created&heartbeatInterval=1s", ""
    for _ in range(3):
        with rest.watch(f"{query}&resumeToken={token}") as lines:
            while len(seen) < len(made) + 1 and len(made) % 4 < 3:
                assert time.monotonic() < end, "an event is missing"
                line = next(lines)
                token = line["resumeToken"]
                seen += [line["event"]["task"]] if "event" in line else []
                if len(seen) == len(made):
                    made.append(rest.ok("POST", "/v1/tasks", {"title": "seen"})["name"])
            made.append(rest.ok("POST", "/v1/tasks", {"title": "while nobody reads"})["name"])
            servers = psutil.Process(stack.description["children"]["api"]).children()
            for server in servers:
                os.kill(server.pid, signal.SIGKILL)
            psutil.wait_procs(servers)
        eventually(rest.serving)
    with rest.watch(f"{query}&resumeToken={token}") as lines:
        quiet = False
        while len(seen) < len(made) or not quiet:
            assert time.monotonic() < end, "an event is missing"
            line = next(lines)
            seen += [line["event"]["task"]] if "event" in line else []
            quiet = "heartbeat" in line and len(seen) >= len(made)
    assert seen == made
