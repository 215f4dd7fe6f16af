"""Access tokens that ought to be refused: put together by hand, since a library would refuse to make them."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.crypto import Secrets, encode
from tests.support.api import SECRET, Account, Api

Sign = Callable[[bytes], bytes]

#: What is wrong with the claims of a token that bears our signature; None takes a claim away.
CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": 1_700_000_000},
    "older than tokens become": {"iat": 1_700_000_000, "nbf": 1_700_000_000},
    "not yet valid": {"nbf": 4_000_000_000},
    "issued in the future": {"iat": 4_000_000_000},
    "another audience": {"aud": "elsewhere"},
    "another issuer": {"iss": "elsewhere"},
    "a subject that is no account": {"sub": "tasks/01a20a94-5dfd-74c6-96f8-dcf6c45379bd"},
    "a session that is no id": {"sid": "1"},
    **{f"no {name}": {name: None} for name in ("iss", "aud", "sub", "sid", "jti", "scope", "iat", "nbf", "exp")},
}
#: The same of its header.
HEADERS: dict[str, dict[str, Any]] = {
    "an unknown key id": {"kid": str(uuid.UUID(int=1))},
    "a key id that is no text": {"kid": 1},
    "no key id": {"kid": None},
    "the type of any JWT": {"typ": "JWT"},
    "no type": {"typ": None},
    "another algorithm's name": {"alg": "ES256"},
    "alg none, signed": {"alg": "none"},
    "a critical extension": {"crit": ["x"], "x": 1},
}


class Forger:
    """Knows the signing key of a test's API."""

    def __init__(self, api: Api) -> None:
        [(self.kid, sealed)] = api.execute("SELECT kid, sealed_private_key FROM signing_keys")
        raw = Secrets(SECRET).open(sealed, f"signing-key/{self.kid}")
        assert raw is not None
        self.key = Ed25519PrivateKey.from_private_bytes(raw)

    def token(
        self, account: Account, header: dict[str, Any] | None = None, sign: Sign | None = None, **changes: Any
    ) -> str:
        """Returns a token that is good but for the changes to its claims, header and signature."""
        whole = {"alg": "EdDSA", "typ": "at+jwt", "kid": self.kid} | (header or {})
        parts = [encode(json.dumps(_present(part)).encode()) for part in (whole, _claims(account) | changes)]
        body = ".".join(parts).encode()
        return f"{body.decode()}.{encode((sign or self.key.sign)(body))}"

    def forgeries(self, account: Account) -> dict[str, str]:
        """Returns a token for each thing that can be wrong with one."""
        public, stranger = self.key.public_key(), Ed25519PrivateKey.generate()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        theirs = {"kty": "OKP", "crv": "Ed25519", "x": encode(stranger.public_key().public_bytes_raw())}
        first, second = (self.token(account, jti=jti).split(".") for jti in "12")
        return {
            **{name: self.token(account, **changes) for name, changes in CLAIMS.items()},
            **{name: self.token(account, header) for name, header in HEADERS.items()},
            "alg none": self.token(account, {"alg": "none"}, lambda _: b""),
            "no signature": self.token(account, None, lambda _: b""),
            "HS256 with the public key": self.token(account, {"alg": "HS256"}, _hs256(public.public_bytes_raw())),
            "HS256 with the public key as PEM": self.token(account, {"alg": "HS256"}, _hs256(pem)),
            "another key": self.token(account, None, stranger.sign),
            "another key that it brings along": self.token(account, {"jwk": theirs}, stranger.sign),
            "the signature of other claims": ".".join([*first[:2], second[2]]),
            "5,000 characters": self.token(account, scope="x " * 2500),
            "rubbish": "a.b.c",
            "nothing": "",
        }


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)


def _claims(account: Account) -> dict[str, Any]:
    now = int(time.time())
    names = {"iss": "taskhub", "aud": "taskhub", "sub": account.name, "sid": str(uuid.uuid4()), "jti": "1"}
    return names | {"scope": "tasks.read", "iat": now, "nbf": now, "exp": now + 600}


def _present(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if value is not None}


def _hs256(key: bytes) -> Sign:
    return lambda body: hmac.new(key, body, hashlib.sha256).digest()
