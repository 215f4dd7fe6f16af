"""What Prometheus reads. All processes of one worker write to one directory, which the supervisor serves."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

FINISHED = Counter("taskhub_jobs_finished", "Attempts that ended, by how they did.", ["kind", "outcome"])
DURATION = Histogram(
    "taskhub_job_duration_seconds",
    "From the claim to the end of the attempt.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
START_LATENCY = Histogram(
    "taskhub_job_start_latency_seconds",
    "From the time a job was due to its claim.",
    ["queue"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300, 3600),
)
HINTS = Counter("taskhub_hints_sent", "Broker messages that name a queue with due work.", ["queue"])
BACKLOG = Gauge(
    "taskhub_jobs", "Jobs that are not done, by state.", ["queue", "state"], multiprocess_mode="livemostrecent"
)
SEQUENCED = Counter("taskhub_events_sequenced", "Events that were given their position.")
TICK = Gauge("taskhub_loop_tick_timestamp_seconds", "When a loop last turned.", ["loop"], multiprocess_mode="livemax")
