from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from deploy.gateway import contract
from deploy.gateway.render import Limits
from tests.integration.gateway.running import Gateway

#: google.rpc.Code to HTTP, as its comments in code.proto say.
STATUSES = {
    1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429,
    9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip


@pytest.mark.parametrize("route", contract.routes(), ids=lambda route: f"{route.verb} {route.template}")
def test_every_route_reaches_its_method(gateway: Gateway, route: contract.Route) -> None:
    answer = gateway.ask(route.verb, route.path.replace("*", "1"))
    assert (answer.status, answer.headers["x-seen-method"]) == (200, route.rpc.name)


@pytest.mark.parametrize(("code", "status"), STATUSES.items())
def test_an_error_of_the_api_keeps_its_details(gateway: Gateway, code: int, status: int) -> None:
    answer = gateway.ask("GET", f"/v1/tasks/fail-{code}")
    assert (answer.status, answer.json["code"], answer.reason) == (status, code, "SOME_REASON")
    assert answer.json["message"] == "It failed."
    assert answer.detail["ErrorInfo"]["metadata"] == {"task": "tasks/1"}
    assert answer.detail["RetryInfo"]["retryDelay"] == "2.500s"
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize("when", ["fail", "late"])
def test_a_reused_key_is_unprocessable(gateway: Gateway, when: str) -> None:
    answer = gateway.ask("GET", f"/v1/tasks/{when}-3-IDEMPOTENCY_KEY_REUSED")
    assert (answer.status, answer.json["code"], answer.reason) == (422, 3, "IDEMPOTENCY_KEY_REUSED")
    assert gateway.ask("GET", f"/v1/tasks/{when}-3").status == 400


def test_nobody_is_told_to_sign_in_but_the_unauthenticated(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/v1/tasks/fail-16").headers["www-authenticate"] == "Bearer"
    assert "www-authenticate" not in gateway.ask("GET", "/v1/tasks/fail-7").headers


def test_an_answer_prints_what_is_set_and_what_is_always_there(gateway: Gateway) -> None:
    none = {"tasks": [], "nextPageToken": "", "totalSize": 0, "totalSizeExceeded": False}
    assert gateway.ask("GET", "/v1/tasks").json == none
    task = gateway.ask("GET", "/v1/tasks/1").json
    assert task["etag"] == ""
    assert not {"title", "state"} & set(task), "an optional field that is absent stays so"


@pytest.mark.parametrize("path", ["/v1/tasks/1", "/v1/tasks/fail-5", "/v1/nothing", "/healthz"])
def test_an_answer_says_nothing_of_what_is_behind(gateway: Gateway, path: str) -> None:
    answer = gateway.ask("GET", path)
    leaks = [
        name for name in answer.headers if name.startswith(("grpc-", "x-envoy-", "x-taskhub-")) or name == "server"
    ]
    assert leaks == []
    assert answer.headers["x-request-id"]


def test_an_answer_is_kept_by_nobody_unless_the_api_says_so(gateway: Gateway) -> None:
    answer = gateway.ask("GET", "/v1/tasks/1")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["idempotency-replayed"] == "true"


def _seen(gateway: Gateway, **headers: str) -> dict[str, str]:
    seen: dict[str, str] = json.loads(gateway.ask("GET", "/v1/tasks/1", **headers).json["description"])
    return seen


def test_the_api_is_told_what_concerns_it_and_no_more(gateway: Gateway) -> None:
    told = {
        "authorization": "Bearer x", "idempotency-key": '"k"', "x-request-id": "mine",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b",
    }  # fmt: skip
    stray = {
        "cookie": "c=1", "grpc-timeout": "junk", "grpc-encoding": "gzip", "x-bin": "!", "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "1", "x-taskhub-anything": "1",
        "x-real-ip": "8.8.8.8", "forwarded": "for=8.8.8.8",
    }  # fmt: skip
    seen = _seen(gateway, **told, **stray)
    assert {name: seen.get(name) for name in told} == told
    assert set(seen) == {*told, "remaining", "x-forwarded-for", "x-forwarded-proto"}
    assert gateway.ask("GET", "/v1/tasks/1", x_request_id="mine").headers["x-request-id"] == "mine"


def test_the_api_is_told_the_deadline_and_the_callers_address(gateway: Gateway) -> None:
    seen = _seen(gateway, x_forwarded_for="8.8.8.8")
    assert 0 < float(seen["remaining"]) <= Limits().deadline_seconds
    assert seen["x-forwarded-for"] == "127.0.0.1", "nobody stands before us whom we trust"


def test_a_page_of_an_allowed_origin_may_call(gateway: Gateway) -> None:
    asked = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
    allowed = gateway.ask("OPTIONS", "/v1/tasks", **asked)
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "idempotency-key" in allowed.headers["access-control-allow-headers"]
    refused = gateway.ask("GET", "/v1/nothing", origin="https://app.example.com")
    assert refused.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "retry-after" in refused.headers["access-control-expose-headers"]


def test_a_page_of_another_origin_may_not(gateway: Gateway) -> None:
    asked = {"origin": "https://evil.example.com", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in gateway.ask("OPTIONS", "/v1/tasks", **asked).headers
    assert "access-control-allow-origin" not in gateway.ask("GET", "/v1/tasks", origin=asked["origin"]).headers


@pytest.mark.parametrize("page", ["/verify", "/reset", "/change-email"])
def test_the_link_in_a_mail_opens_a_page_that_posts_only_when_asked(gateway: Gateway, page: str) -> None:
    answer = gateway.ask("GET", page)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    script = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert gateway.ask("POST", page, "{}").status == 404


def test_a_mail_scanner_finds_the_link_good(gateway: Gateway) -> None:
    answer = gateway.ask("HEAD", "/verify")
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize("path", ["/healthz?verbose", "/readyz?at=1"])
def test_a_probe_may_add_a_query(gateway: Gateway, path: str) -> None:
    answer = gateway.ask("GET", path)
    assert (answer.status, answer.json) == (200, {"status": "SERVING"})
