"""Celery as a transport of hints: a message names a queue, and PostgreSQL says what is to be done in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Exchange, Queue

#: The one Celery task. Its only argument is the name of a queue.
RUN = "worker_service.run"

#: A dead Redis is noticed in two seconds, a frozen one in five. `socket_timeout` must exceed the second that a blocking
#: read waits in vain.
REDIS = {"socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 10}


class PatientConnection(Connection):
    """Tries the broker once a second for as long as it is away; kombu's own pauses grow to half a minute."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Returns self once the broker answers."""
        pauses = {"interval_start": 1, "interval_step": 0, "interval_max": 1}
        return super().ensure_connection(*args, **{**pauses, **kwargs})  # type: ignore[no-untyped-call]


class PatientAMQP(AMQP):  # type: ignore[misc] # celery has no types
    """Makes Celery use the connection above."""

    Connection = PatientConnection


def make_app(broker_url: str, queues: Iterable[str]) -> Celery:
    """Returns the Celery application; it connects when it is used."""
    app = Celery("taskhub", broker=broker_url, amqp=PatientAMQP)
    app.conf.update(
        # Hints may get lost and may come twice: acknowledging early costs nothing, and late has leaked pool slots.
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        result_serializer="json",
        task_create_missing_queues=False,
        # The default exchange needs no binding, so that nothing is missing after FLUSHALL.
        task_queues=[Queue(name, Exchange(""), routing_key=name) for name in queues],
        task_default_queue=next(iter(queues)),
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry=True,
        # Also where it refuses: full, or read-only after a failover. Celery would end, with all that it runs.
        broker_channel_error_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=REDIS if broker_url.startswith(("redis", "rediss", "sentinel")) else {},
    )
    return app
