"""The key set as other services meet it, and the example of docs/verifying-tokens.md, run as it stands there."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any

import jwt
import pytest

from devstack.demo.stack import ThrowAwayStack
from tests.support.servers import ROOT

TEXT = (ROOT / "docs/verifying-tokens.md").read_text()


def example(stack: ThrowAwayStack) -> Any:
    """Returns the function of the document, which asks this stack."""
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("http://127.0.0.1:8080", f"http://{stack.rest}"), names)  # noqa: S102  our own document
    return names["caller"]


def test_the_example_knows_the_caller(stack: ThrowAwayStack, admin: dict[str, str]) -> None:
    claims = example(stack)(admin["authorization"])
    assert claims["sub"].startswith("users/")
    assert "admin" in claims["scope"].split()
    told = set(re.findall(r"`([a-z]+)`", "".join(re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE))))
    assert set(claims) == told - {"gen"}, "which only a service account's can have"


def test_the_example_believes_no_other_token(stack: ThrowAwayStack, admin: dict[str, str]) -> None:
    head, body, signature = admin["authorization"].split(".")
    for token in (f"{head}.{body}.{signature[::-1]}", f"{head}.{body[:-2]}.{signature}", "Bearer x", ""):
        with pytest.raises(jwt.PyJWTError):
            example(stack)(token)


@pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/v1/auth/jwks"])
def test_the_key_set_is_one_of_rfc_7517_that_may_be_cached(stack: ThrowAwayStack, path: str) -> None:
    with urllib.request.urlopen(f"http://{stack.rest}{path}") as answer:
        headers, body = answer.headers, json.loads(answer.read())
    assert headers["cache-control"] == "public, max-age=300"
    assert headers["content-type"] == "application/json"
    assert set(body) == {"keys"}
    for key in body["keys"]:
        assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}, (
            "members of RFC 7517 and RFC 8037, and no private one"
        )
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
        assert jwt.PyJWK(key).key.public_bytes_raw()
