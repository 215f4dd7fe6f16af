"""Which passwords are taken (NIST SP 800-63B, 5.1.1.2): no rules of composition, but none that guessers try first.

Their length is a rule of the contract, which counts what is sent; here it is asked of what is hashed, in which an
accent typed apart has become one with its letter. What is refused is the same however it is written: upper and lower
case, and the ways in which Unicode writes one character, make no other password for those who guess.
"""

from __future__ import annotations

import gzip
import unicodedata
from functools import cache
from importlib.resources import files

from shared.errors import InvalidArgument, PasswordCommon, PasswordGuessable

_LIST = "common_passwords.txt.gz"
#: What a guesser puts around a word, and what changes nothing.
_TRIMMINGS = "0123456789!?.,-_#*@$ "
_SERVICE = "taskhub"
_MIN_LENGTH = 8


def check(password: str, email: str, *, field: str = "password") -> None:
    """Raises InvalidArgument, naming `field`, for a password that nobody should have."""
    if len(unicodedata.normalize("NFKC", password)) < _MIN_LENGTH:
        raise InvalidArgument(field, f"must be at least {_MIN_LENGTH} characters")
    folded = fold(password)
    if folded in common() or len(set(folded)) == 1:
        raise PasswordCommon(field)
    local, _, domain = email.partition("@")
    if folded == email or folded.strip(_TRIMMINGS) in {local.strip(_TRIMMINGS), domain, _SERVICE}:
        raise PasswordGuessable(field)


def fold(password: str) -> str:
    """Returns the form in which passwords are compared with the list."""
    return unicodedata.normalize("NFKC", password).casefold()


@cache
def common() -> frozenset[str]:
    """Returns the passwords of eight characters and more that leaks show most often; about 11,600."""
    packed = (files("api_service.auth") / _LIST).read_bytes()
    return frozenset(gzip.decompress(packed).decode().split())
