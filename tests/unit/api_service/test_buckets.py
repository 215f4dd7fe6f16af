"""A lease is spent, asked for anew in time, and never a reason to refuse somebody who is below the limit."""

from __future__ import annotations

from api_service.rate_limits.bucket import Answer, Bucket, Recent
from api_service.rate_limits.rate import Rate

RATE = Rate("write", 60)  # one a second, a lease of 6


def answered(bucket: Bucket, granted: int, remaining: int, wait: float = 0.0, *, now: float = 0.0) -> None:
    bucket.settle(Answer(granted, remaining, wait), bucket.debt, now)


def test_a_new_caller_goes_on_credit_up_to_the_limit() -> None:
    bucket = Bucket("k", RATE)
    assert [bucket.take(0.0) for _ in range(60)] == [0.0] * 60
    assert bucket.take(0.0) == 1.0
    assert bucket.debt == 60


def test_a_lease_is_spent_and_asked_for_anew_at_its_half() -> None:
    bucket = Bucket("k", RATE)
    answered(bucket, 6, 54)
    wanted = []
    for _ in range(6):
        assert bucket.take(0.0) == 0.0
        wanted.append(bucket.wants(0.0))
    assert wanted == [False, False, True, True, True, True]
    assert bucket.debt == 0
    bucket.asking = True
    assert not bucket.wants(0.0)


def test_what_was_spent_while_the_answer_was_on_its_way_is_paid_from_it() -> None:
    bucket = Bucket("k", RATE)
    bucket.take(0.0)
    for _ in range(2):
        bucket.take(0.0)
    bucket.settle(Answer(6, 53, 0.0), 1, 0.0)
    debts = []
    for _ in range(5):
        assert bucket.take(0.0) == 0.0
        debts.append(bucket.debt)
    assert debts == [0, 0, 0, 0, 1]


def test_nothing_left_closes_until_redis_said_and_asks_nothing_meanwhile() -> None:
    bucket = Bucket("k", RATE)
    bucket.take(10.0)
    answered(bucket, 0, 0, 2.0, now=10.0)
    assert bucket.take(10.5) == 1.5
    assert not bucket.wants(10.5)
    assert bucket.take(12.0) == 0.0
    assert bucket.wants(12.0)


def test_credit_is_what_redis_could_still_grant() -> None:
    bucket = Bucket("k", RATE)
    answered(bucket, 1, 2, now=10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert bucket.take(11.0) == 0.0, "a second later one more came free"


def test_a_lease_does_not_outlive_the_window() -> None:
    bucket = Bucket("k", RATE)
    answered(bucket, 6, 0, now=0.0)
    bucket.take(61.0)
    assert bucket.debt == 1


def test_without_an_answer_nothing_is_owed() -> None:
    bucket = Bucket("k", RATE)
    bucket.take(0.0)
    bucket.asking = True
    bucket.settle(None, 1, 0.0)
    assert (bucket.debt, bucket.asking) == (0, False)


def test_only_so_many_callers_are_remembered() -> None:
    recent: Recent[list[int]] = Recent(lambda _: [], 100)
    kept = recent.get("kept")
    for number in range(10_000):
        recent.get(str(number))
        assert recent.get("kept") is kept
    assert len(recent) <= 200


def test_the_lease_is_a_tenth_of_the_limit_and_bounded() -> None:
    assert [Rate("r", limit).lease for limit in (1, 30, 600, 60_000, 6_000_000)] == [1, 3, 60, 1000, 1000]
