"""Which passwords are taken."""

from __future__ import annotations

import pytest

from api_service.auth.policy import check, common
from shared.errors import InvalidArgument

EMAIL = "grace.hopper@example.com"


@pytest.mark.parametrize("password", ["password1", "PASSWORD1", "12345678", "\uff50assword1", "iloveyou", "zzzzzzzzzz"])
def test_what_leaks_show_most_often_is_refused_however_it_is_written(password: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(password, EMAIL, field="new_password")
    assert (refused.value.reason, refused.value.violations[0][0]) == ("PASSWORD_COMMON", "new_password")


@pytest.mark.parametrize(
    "password", [EMAIL, EMAIL.upper(), "grace.hopper", "Grace.Hopper1906!", "example.com", "taskhub2026"]
)
def test_the_address_and_what_is_made_of_it_is_refused(password: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(password, EMAIL)
    assert refused.value.reason == "PASSWORD_GUESSABLE"


def test_accents_typed_apart_are_no_characters_of_their_own() -> None:
    with pytest.raises(InvalidArgument) as refused:
        check("pa\N{COMBINING DIAERESIS}" * 3, EMAIL)
    assert refused.value.violations == [("password", "must be at least 8 characters")]


@pytest.mark.parametrize("password", ["correct horse battery", "aaaaaaab", "lower case only", "\N{SNOWMAN}" * 7 + "x"])
def test_nothing_else_is_asked_of_a_password(password: str) -> None:
    check(password, EMAIL)


def test_the_list_holds_what_can_be_asked_for_and_no_more() -> None:
    assert len(common()) > 11_000
    assert all(8 <= len(password) <= 128 for password in common())
