"""What must hold afterwards. An invariant is a function of the evidence that returns what it found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path

from tests.chaos.evidence import Evidence, Finding, median, p99
from tests.chaos.scene import Span
from tests.support import kinds as probes
from tests.support.servers import eventually

Invariant = Callable[[Evidence], Finding]

#: Seconds beyond the fault-free time in which a load must have drained.
DRAIN = 20.0
#: Seconds after its return in which PostgreSQL's absence must be over for callers, and Redis's for jobs.
OK_AGAIN, DONE_AGAIN = 5.0, 10.0
#: Seconds in which a refusal must have come, in which a process that was asked to stop must be gone, and in which a job
#: that was handed back must be running again.
AT_ONCE, GONE, RESUMED = 1.0, 10.0, 3.0
#: Seconds after which events have their position, once everything is back.
SEQUENCED = 10.0
#: Seconds by which a call may be slower than twice its normal time while Redis is away.
SLOWER = 0.010
#: What the watchdog logs when it ends a worker.
DEAF = '"worker_stopped_consuming"'


def no_job_is_lost(evidence: Evidence) -> Finding:
    """Every acknowledged job has succeeded, and each of its effects is there."""
    lost = []
    for job in sorted(evidence.acknowledged_jobs):
        wanted = evidence.sent_jobs[job]["effects"]
        if evidence.sent_jobs[job]["kind"] == probes.CRASH.kind.name:
            continue
        row = evidence.jobs.get(job)
        state = row["state"] if row else "missing"
        effects = len(evidence.effects.get(job, ()))
        if state != "SUCCEEDED" or effects < wanted:
            lost.append(f"job {job} was acknowledged: it is {state} with {effects} of {wanted} effects")
    return Finding({"jobs": len(evidence.acknowledged_jobs), "lost": len(lost)}, lost)


def no_effect_happens_twice(evidence: Evidence) -> Finding:
    """No step of any job has left two rows, and what did not succeed has left none of a whole job."""
    twice = [
        f"job {job} did {step or 'its work'} {times} times"
        for job, steps in evidence.effects.items()
        for step, times in steps.items()
        if times > 1
    ]
    half = [
        f"job {job} is {evidence.jobs[job]['state']} and its effect is there"
        for job, steps in evidence.effects.items()
        if "" in steps and evidence.jobs[job]["state"] != "SUCCEEDED"
    ]
    return Finding({"twice": len(twice)}, twice + half)


def drained_in_time(evidence: Evidence) -> Finding:
    """The load was done within the fault-free time and some."""
    assert evidence.fault_free is not None
    seconds = drain_seconds(evidence)
    limit = evidence.fault_free + DRAIN
    late = [f"drained after {seconds:.1f} s, the limit is {limit:.1f} s"] if seconds > limit else []
    return Finding({"seconds": seconds, "fault_free": evidence.fault_free}, late)


def drain_seconds(evidence: Evidence) -> float:
    """Returns the seconds from the first job sent to the end of the last."""
    began: float = min(line["time"] for line in evidence.sent_jobs.values())
    ended = [row["end_time"].timestamp() for row in evidence.jobs.values() if row["end_time"]]
    last: float = max(ended, default=began)
    return last - began


def no_write_is_lost(evidence: Evidence) -> Finding:
    """Everything that the API acknowledged is there, row by row: the task, and the event."""
    lost = []
    for key, answers in evidence.answers.items():
        call, name = evidence.calls[key], answers[0]["name"]
        if call["does"] == "task.created" and name not in evidence.tasks.get(key, ()):
            lost.append(f"{name} was acknowledged for key {key} and is missing")
        elif not evidence.events[name, call["does"]]:
            lost.append(f"{call['does']} of {name} was acknowledged and has no event")
    return Finding({"writes": len(evidence.answers), "lost": len(lost)}, lost)


def no_write_happens_twice(evidence: Evidence) -> Finding:
    """No key has two effects, acknowledged or not, however often it was sent."""
    twice = []
    for key, call in evidence.calls.items():
        names = evidence.tasks.get(key, []) if call["does"] == "task.created" else [call["task"]]
        if len(names) > 1:
            twice.append(f"key {key} made {len(names)} tasks")
        twice += [
            f"{name} has {evidence.events[name, call['does']]} events {call['does']}"
            for name in names
            if evidence.events[name, call["does"]] > 1
        ]
    retried = {line["key"] for line in evidence.lines("refused")}
    return Finding({"twice": len(twice), "retried": len(retried)}, twice)


def every_event_has_its_place(evidence: Evidence) -> Finding:
    """The sequencer has caught up, and positions are contiguous: readers of the log miss nothing, and see it once."""

    def count() -> dict[str, int]:
        [row] = evidence.query(
            """
            SELECT count(*) AS events, count(*) - count(position) AS waiting, count(DISTINCT position) AS places,
                coalesce(max(position) - min(position) + 1, 0) AS room FROM events
            """,
            [],
        )
        return row

    with contextlib.suppress(AssertionError):
        eventually(lambda: not count()["waiting"], SEQUENCED)
    found = count()
    wrong = [f"{found['waiting']} events have no position"] if found["waiting"] else []
    if not found["places"] == found["room"] == found["events"] - found["waiting"]:
        wrong.append(f"{found['events']} events have {found['places']} different positions in {found['room']}")
    return Finding({"events": found["events"]}, wrong)


def answers_are_equal(evidence: Evidence) -> Finding:
    """All callers of one key got the same answer."""
    callers = max((len(found) for found in evidence.answers.values()), default=0)
    different = [
        f"key {key}: {len({line['answer'] for line in found})} different answers, {len(found)} of {callers} callers"
        for key, found in evidence.answers.items()
        if len({line["answer"] for line in found}) > 1 or len(found) < callers
    ]
    return Finding({"keys": len(evidence.answers), "callers": callers, "different": len(different)}, different)


def no_call_fails(evidence: Evidence) -> Finding:
    """Whatever a client went on trying worked in the end."""
    failed = [f"key {line['key']} failed with {line['code']}: {line['text']}" for line in evidence.lines("failed")]
    retried = len({line["key"] for line in evidence.lines("refused")})
    return Finding(
        {"calls": sum(map(len, evidence.answers.values())), "failed": len(failed), "retried": retried}, failed
    )


def no_try_fails(evidence: Evidence) -> Finding:
    """No client even had to try again."""
    refused = [f"key {line['key']} was refused with {line['code']}" for line in evidence.lines("refused")]
    return Finding({"calls": len(evidence.answers), "refused": len(refused)}, refused)


def latency_stays(evidence: Evidence) -> Finding:
    """CreateTask is at most twice as slow and 10 ms while Redis is away: medians of the p99 of three windows."""
    normal = _latency(evidence, "normal")
    limit = 2 * normal + SLOWER
    figures = {"normal p99 ms": normal * 1000}
    slow = []
    for name in ("absent", "frozen"):
        found = _latency(evidence, name)
        figures[f"{name} p99 ms"] = found * 1000
        if found > limit:
            slow.append(f"p99 while Redis was {name}: {found * 1000:.1f} ms, the limit is {limit * 1000:.1f} ms")
    return Finding(figures, slow)


def _latency(evidence: Evidence, name: str) -> float:
    [span] = [each for each in evidence.spans if each.name == name]
    third = span.seconds / 3
    windows = [(span.began + n * third, span.began + (n + 1) * third) for n in range(3)]
    answers = [line for found in evidence.answers.values() for line in found]
    return median(p99(line["seconds"] for line in answers if a <= line["began"] < b) for a, b in windows)


def done_after_redis_returned(evidence: Evidence) -> Finding:
    """Whatever waited for Redis was done soon after its return."""
    figures, late = {}, []
    for name in ("absent", "frozen"):
        [back] = evidence.named(f"{name}: back")
        ended = [
            row["end_time"].timestamp()
            for row in evidence.jobs.values()
            if row["create_time"].timestamp() <= back.ended and row["end_time"]
        ]
        seconds = max(ended, default=0.0) - back.ended
        figures[f"{name} s"] = seconds
        if seconds > DONE_AGAIN:
            late.append(f"{name}: the last job was done {seconds:.1f} s after Redis was back")
    return Finding(figures, late)


def refused_at_once(evidence: Evidence) -> Finding:
    """Whoever was refused was told UNAVAILABLE at once; nobody hung."""
    refused = evidence.lines("refused")
    wrong = [f"key {line['key']} got {line['code']}" for line in refused if line["code"] != "UNAVAILABLE"]
    slow = [
        f"key {line['key']} waited {line['seconds']:.2f} s for its refusal"
        for line in refused
        if line["seconds"] > AT_ONCE
    ]
    longest = max((line["seconds"] for line in refused), default=0.0)
    return Finding({"refused": len(refused), "slowest refusal s": longest}, wrong + slow)


def ok_again(evidence: Evidence) -> Finding:
    """Calls work again soon after PostgreSQL's return, all of them."""
    absences = evidence.named("postgres")
    slowest, late = 0.0, []
    for span, following in pairwise([*absences, Span("the end", float("inf"), float("inf"))]):
        tries = [*evidence.lines("refused"), *(line for found in evidence.answers.values() for line in found)]
        after = [line for line in tries if span.ended <= line["began"] < following.began]
        good = min((line["began"] + line["seconds"] for line in after if line["what"] == "ok"), default=float("inf"))
        bad = max((line["began"] for line in after if line["what"] == "refused"), default=span.ended)
        # A call that the next crash met was well when it began.
        bad = bad if bad + AT_ONCE < following.began else span.ended
        slowest = max(slowest, good - span.ended, bad - span.ended)
        if slowest > OK_AGAIN:
            late.append(f"{slowest:.1f} s after PostgreSQL was back a call was still refused")
    down = max((span.seconds for span in absences), default=0.0)
    return Finding({"crashes": len(absences), "longest absence s": down, "ok again s": slowest}, late)


def nothing_of_ours_restarted(evidence: Evidence) -> Finding:
    """Every process of the services is the one that it was."""
    restarted = [
        f"{role}: {sorted(pids - evidence.after[role])} are gone"
        for role, pids in evidence.before.items()
        if pids - evidence.after[role]
    ]
    return Finding({"restarted": len(restarted)}, restarted)


def watchdog_is_silent(evidence: Evidence) -> Finding:
    """No worker decided that it was deaf."""
    cried = sum(log.read_text(errors="replace").count(DEAF) for log in workers_logs(evidence))
    return Finding({"watchdog": cried}, [f"the watchdog fired {cried} times"] if cried else [])


def workers_logs(evidence: Evidence) -> list[Path]:
    """Returns the logs of both workers."""
    return sorted(evidence.logs.glob("worker*.log"))


def gone_in_time(evidence: Evidence) -> Finding:
    """Every process that was asked to stop was gone soon."""
    stops = evidence.named("gone: ")
    slow = [f"{span.name} took {span.seconds:.1f} s" for span in stops if span.seconds > GONE]
    return Finding({"stops": len(stops), "slowest stop s": max((span.seconds for span in stops), default=0.0)}, slow)


def every_event_is_seen_once_in_order(evidence: Evidence) -> Finding:
    """The watching client got exactly what the log holds of its changes, in the order of positions."""
    seen = [line["event"] for line in evidence.lines("event")]
    changes = [line for line in evidence.lines("sent") if "change" in line]
    held = {line["change"] for line in changes if line["held"]}
    rows = evidence.query(
        "SELECT id, position, actor FROM events WHERE actor = ANY(%s) ORDER BY position NULLS LAST",
        [[line["change"] for line in changes]],
    )
    log = [row["id"] for row in rows]
    missing, twice = set(log) - set(seen), len(seen) - len(set(seen))
    wrong = [f"{len(missing)} events of {len(log)} were never seen"] if missing else []
    wrong += [f"{twice} events were seen twice"] if twice else []
    if not wrong and seen != log:
        wrong.append("the events came in another order than the log's")
    acknowledged = {line["change"] for line in evidence.lines("ok") if "change" in line}
    if lost := acknowledged - {row["actor"] for row in rows}:
        wrong.append(f"{len(lost)} acknowledged changes are not in the log")
    # How many came after one with a higher id: without any, nothing was out of order and nothing was tried.
    late = sum(id_ < highest for id_, highest in zip(log, accumulate(log, max), strict=True))
    if held and not late:
        wrong.append("no change was committed out of order")
    reconnects = len(evidence.lines("connected"))
    return Finding(
        {"lost": len(missing), "twice": twice, "events": len(log), "late": late, "streams": reconnects}, wrong
    )


def nothing_waits_for_a_lease(evidence: Evidence) -> Finding:
    """Running jobs of a stopping worker ended, or were handed back and soon ran elsewhere: no lease ran out."""
    wrong, slowest, released = [], 0.0, 0
    for job, attempts in evidence.attempts.items():
        wrong += [f"job {job}: its attempt was LOST" for attempt in attempts if attempt["state"] == "LOST"]
        for one, following in pairwise(attempts):
            if one["state"] == "RELEASED":
                released += 1
                seconds = (following["start_time"] - one["end_time"]).total_seconds()
                slowest = max(slowest, seconds)
                if seconds > RESUMED:
                    wrong.append(f"job {job} waited {seconds:.1f} s after it was handed back")
    return Finding({"handed back": released, "slowest resume s": slowest}, wrong)


def no_job_is_charged(evidence: Evidence) -> Finding:
    """Every job needed one attempt: those that a fault cut short were not counted."""
    charged = [
        f"job {job} was charged {row['attempt']} attempts: {[each['error'] for each in evidence.attempts.get(job, ())]}"
        for job, row in evidence.jobs.items()
        if row["attempt"] > 1
    ]
    return Finding({"charged": len(charged)}, charged)


def stalled_commit_is_refused(evidence: Evidence) -> Finding:
    """Of each stalled job the first attempt was lost and the second succeeded, blocked for a lease at most."""
    wrong, longest = [], 0.0
    for job, attempts in evidence.attempts.items():
        states = [attempt["state"] for attempt in attempts]
        if states != ["LOST", "SUCCEEDED"]:
            wrong.append(f"job {job}: its attempts are {', '.join(states)}")
            continue
        args = evidence.jobs[job]["args"]
        last = attempts[-1]
        took = (last["end_time"] - last["start_time"]).total_seconds() - float(args["seconds"])
        longest = max(longest, took)
        if took > evidence.lease:
            wrong.append(f"job {job}: the other attempt was blocked for {took:.1f} s, a lease is {evidence.lease} s")
    return Finding({"stalled": len(evidence.attempts), "longest block s": longest}, wrong)


def the_killer_fails_alone(evidence: Evidence) -> Finding:
    """The job that kills its worker is FAILED after its attempts; no other one failed, or was charged for it."""
    wrong, charged = [], 0
    for job, row in evidence.jobs.items():
        if row["kind"] == "probe.crash":
            if (row["state"], row["attempt"]) != ("FAILED", row["max_attempts"]):
                wrong.append(
                    f"the killer {job} is {row['state']} after {row['attempt']} of {row['max_attempts']} attempts"
                )
        elif row["state"] != "SUCCEEDED" or row["attempt"] != 1:
            charged += 1
            wrong.append(f"good job {job} is {row['state']} and was charged {row['attempt']} attempts")
    lost = sum(
        any(attempt["state"] == "LOST" for attempt in evidence.attempts.get(job, ()))
        for job, row in evidence.jobs.items()
        if row["kind"] != "probe.crash"
    )
    return Finding({"charged": charged, "neighbours lost": lost}, wrong)
