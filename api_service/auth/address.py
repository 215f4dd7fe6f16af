"""Email addresses in the one form under which accounts are known."""

from __future__ import annotations

import re

import idna

from shared.errors import InvalidArgument

#: A name of letters, digits and hyphens, as the DNS has it (RFC 1123).
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
#: Of what stands before the @, and of the whole (RFC 5321, 4.5.3.1): no mail could be sent to a longer one.
_MAX_LOCAL, _MAX_LENGTH = 64, 254


def normalise(email: str, *, field: str = "email") -> str:
    """Returns the address in lower case, its domain as the DNS knows it (IDNA, UTS #46): `a@xn--mller-kva.example`.

    The two ways of writing such a domain are one address. Raises InvalidArgument, naming `field`, where the domain is
    none, and where a part is longer than mail allows. What else stands before the @ was checked by the contract.
    """
    local, _, domain = email.strip().rpartition("@")
    try:
        domain = (domain if domain.isascii() else idna.encode(domain, uts46=True).decode()).lower()
    except (idna.IDNAError, UnicodeError):
        domain = ""
    address = f"{local.lower()}@{domain}"
    if len(local) > _MAX_LOCAL:
        raise InvalidArgument(field, f"must have at most {_MAX_LOCAL} characters before the @")
    if len(address) > _MAX_LENGTH or not all(map(_LABEL.fullmatch, domain.split("."))):
        raise InvalidArgument(field, "must be an address with a domain that mail can be sent to")
    return address
