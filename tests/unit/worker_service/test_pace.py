"""How many jobs are claimed at once."""

from __future__ import annotations

from worker_service.pace import BATCH, LARGEST, Pace


def test_the_first_of_a_queue_comes_alone() -> None:
    assert Pace().size("probes") == 1


def test_quick_jobs_come_by_the_hundred_and_slow_ones_alone() -> None:
    pace = Pace()
    pace.note("quick", 10, 0.0001)
    pace.note("slow", 1, 60)
    assert (pace.size("quick"), pace.size("slow")) == (LARGEST, 1)


def test_one_slow_batch_is_believed_at_once_and_quick_ones_by_and_by() -> None:
    pace = Pace()
    pace.note("probes", 8, BATCH)
    assert pace.size("probes") == 8
    pace.note("probes", 1, BATCH)
    assert pace.size("probes") == 1
    pace.note("probes", 1, BATCH / 8)
    assert pace.size("probes") == 1
    pace.note("probes", 1, BATCH / 8)
    assert pace.size("probes") == 2
