"""Writing new tasks: one round trip, unless there is something to look at before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from api_service.call import Call
from api_service.database import Connection, Database
from api_service.idempotency import Idempotency
from api_service.notifier import Notifier
from api_service.tasks import service
from api_service.tasks.task import Task


class Creation:
    """Creates one task or many. Ids, times and etags are made before, and the answer with them."""

    def __init__(self, database: Database, idempotency: Idempotency, jobs: Notifier) -> None:
        self._database = database
        self._idempotency = idempotency
        self._jobs = jobs

    async def run(
        self, request: Any, call: Call, tasks: Sequence[Task], paths: Sequence[str], answer: Message
    ) -> Message | bytes:
        """Returns the answer, or what the first call with the same key was answered."""
        if not all(service.stands_alone(call.principal, task) for task in tasks):
            return await self._checked(request, call, tasks, paths, answer)
        record = self._idempotency.record(call, request)
        if request.validate_only:
            return answer
        if record is None:
            async with self._database.connection() as connection:
                await service.create_all(connection, call.principal, tasks)
            return answer
        response = answer.SerializeToString()
        async with self._idempotency.turn(call, record):
            async with self._database.connection() as connection, self._idempotency.claiming(call):
                first = await service.create_once(connection, call.principal, tasks, record.parameters(response))
            return response if first else await self._idempotency.replay(call, record)

    async def _checked(
        self, request: Any, call: Call, tasks: Sequence[Task], paths: Sequence[str], answer: Message
    ) -> Message | bytes:
        async def work(connection: Connection) -> Message:
            await service.check_all(connection, call.principal, tasks, paths)
            await service.create_all(connection, call.principal, tasks)
            return answer

        result = await self._idempotency.run(call, request, work, dry_run=request.validate_only)
        self._jobs.wake()
        return result
