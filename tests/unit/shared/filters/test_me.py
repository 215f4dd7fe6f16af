"""`users/me` in a filter stands for whoever asks."""

from __future__ import annotations

import pytest

from shared.errors import FilterInvalid
from shared.filters.match import task_matcher
from shared.filters.tasks import task_filter

ANNA, ROBOT = (f"{kind}/01a20a94-5dfd-74c6-96f8-dcf6c45379bd" for kind in ("users", "serviceAccounts"))


@pytest.mark.parametrize("me", [ANNA, ROBOT])
def test_changes_are_matched_with_the_name_of_whoever_asks(me: str) -> None:
    matcher = task_matcher('assignee = "users/me" AND NOT title = "users/me"', me)
    assert matcher is not None
    assert [matcher({"assignee": who, "title": "x"}) for who in (ANNA, ROBOT)] == [me == ANNA, me == ROBOT]
    assert not matcher({"assignee": me, "title": "users/me"})


def test_one_asks_without_the_other_hearing_of_it() -> None:
    text = "owner = users/me"
    assert task_filter(text, ANNA) is task_filter(text, ANNA)
    assert task_filter(text, ANNA) is not task_filter(text, ROBOT)
    assert task_filter("state = TODO", ANNA) is task_filter("state = TODO", ROBOT)


def test_nobody_is_not_me() -> None:
    with pytest.raises(FilterInvalid):
        task_filter("owner = users/me")
