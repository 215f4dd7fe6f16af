"""Who is one caller."""

from __future__ import annotations

import pytest

from api_service.interceptors.rate_limit import network


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("unix", "203.0.113.7", False),
    ],
)
def test_an_address_stands_for_itself_and_one_of_ipv6_for_its_network(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert (network(one) == network(other)) == same
