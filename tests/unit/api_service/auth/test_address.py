"""The one form of an address."""

from __future__ import annotations

import pytest

from api_service.auth.address import normalise
from shared.errors import InvalidArgument


@pytest.mark.parametrize(
    "written", ["Ann@Müller.example", "ann@XN--MLLER-KVA.example", "ann@mu\u0308ller.example", "ann@müller。example"]
)
def test_every_way_of_writing_an_address_is_one_address(written: str) -> None:
    assert normalise(written) == "ann@xn--mller-kva.example"


@pytest.mark.parametrize(
    "domain",
    ["", "a..b", ".example.com", "example.com.", "-a.example", "a_b.example", "a b.example", "\N{SNOWMAN}\u202e.a"],
)
def test_a_domain_that_is_none_is_refused_by_the_name_of_its_field(domain: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        normalise(f"ann@{domain}", field="new_email")
    assert refused.value.violations[0][0] == "new_email"


def test_a_local_part_that_no_mail_server_takes_is_refused() -> None:
    assert normalise("a" * 64 + "@example.com")
    with pytest.raises(InvalidArgument):
        normalise("a" * 65 + "@example.com")


def test_a_domain_that_grows_too_long_in_the_dns_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        normalise("a" * 64 + "@" + "ü.example" * 20 + ".example")
