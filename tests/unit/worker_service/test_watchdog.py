"""When a worker counts as having stopped to consume."""

from __future__ import annotations

from worker_service.watchdog import PATIENCE, Watchdog


def _looks(seconds: float, *, waiting: bool = True, free: bool = True, came: float = 0.0) -> bool:
    """Returns whether it fires within so many seconds of looks."""
    watchdog = Watchdog()
    return any(watchdog.look(100.0 + n, waiting=waiting, free=free, came=came) for n in range(int(seconds)))


def test_it_fires_the_second_time() -> None:
    assert not _looks(2 * PATIENCE - 1)
    assert _looks(2 * PATIENCE + 1)


def test_long_healthy_jobs_leave_no_slot_free() -> None:
    assert not _looks(1000, free=False)


def test_a_broker_that_is_away_or_empty_is_no_reason() -> None:
    assert not _looks(1000, waiting=False)


def test_whatever_comes_begins_anew() -> None:
    watchdog = Watchdog()
    assert not any(watchdog.look(float(n), waiting=True, free=True, came=n - n % 15) for n in range(100, 1000))


def test_one_slot_that_was_busy_in_between_begins_anew() -> None:
    watchdog = Watchdog()
    assert not any(watchdog.look(float(n), waiting=True, free=bool(n % 15), came=0.0) for n in range(100, 1000))
