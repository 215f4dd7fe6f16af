"""Puts one stack together, in the order in which its parts need each other."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from devstack import postgres, process, redis, services
from devstack.datadir import DataDir, write_private
from devstack.ports import Ports
from devstack.schema import Applied
from devstack.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from devstack.ports import Address
    from devstack.settings import StackSettings

#: The stack has its own of these; one from the environment would point the services somewhere else.
OURS = frozenset(
    {
        "TASKHUB_DATABASE_URL",
        "TASKHUB_DATABASE_DIRECT_URL",
        "TASKHUB_BROKER_URL",
        "TASKHUB_BACKEND_ADDRESS",
        "TASKHUB_TRUSTED_PROXIES",
    }
)


#: What depends on others stops before them.
STOPS = ("initdb", "migrations", "gateway", "envoy", "api", "worker", "mailbox", "redis", "postgres")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything of one stack listens."""

    grpc: Address
    rest: Address
    metrics: Address
    worker_metrics: Address
    mailbox: Address
    smtp: Address
    backend: Address
    postgres: Address
    redis: Address

    @classmethod
    def choose(cls, settings: StackSettings, ports: Ports) -> Addresses:
        """Takes what the settings name, which must be free, and picks the rest."""
        worker_metrics, mailbox = settings.worker_metrics_address, settings.mailbox_address
        return cls(
            grpc=ports.claim(settings.grpc_address, "TASKHUB_GRPC_ADDRESS"),
            rest=ports.claim(settings.rest_address, "TASKHUB_REST_ADDRESS"),
            metrics=ports.claim(settings.metrics_address, "TASKHUB_METRICS_ADDRESS"),
            worker_metrics=ports.claim(worker_metrics, "TASKHUB_WORKER_METRICS_ADDRESS")
            if worker_metrics
            else ports.choose("worker_metrics", prefer=9465),
            mailbox=ports.claim(mailbox, "TASKHUB_MAILBOX_ADDRESS")
            if mailbox
            else ports.choose("mailbox", prefer=8025),
            smtp=ports.choose("smtp"),
            backend=ports.choose("backend", run=settings.api_processes),
            postgres=ports.choose("postgres"),
            redis=ports.choose("redis"),
        )


class Stack:
    """One stack in one data folder. `say` gets each line that a person should see."""

    def __init__(self, settings: StackSettings, say: Callable[[str], None]) -> None:
        self.data = DataDir(settings.data_dir)
        self.data.lock()
        self._say = say
        self._clear_away()
        self.addresses = Addresses.choose(settings, Ports(self.data.path / "ports.json"))
        self._processes = settings.api_processes
        self._passwords = {name: self.data.secret(f"{name}.password") for name in ("postgres", "redis")}
        self.supervisor = Supervisor(self.data, say, self._describe)

    @property
    def environment(self) -> dict[str, str]:
        """What the services are told beside the environment of the stack itself."""
        at = self.addresses
        database = postgres.url(at.postgres, self._passwords["postgres"])
        told = {
            "TASKHUB_DATABASE_URL": database,
            "TASKHUB_BROKER_URL": redis.url(at.redis, self._passwords["redis"]),
            "TASKHUB_GRPC_ADDRESS": str(at.grpc),
            "TASKHUB_REST_ADDRESS": str(at.rest),
            "TASKHUB_METRICS_ADDRESS": str(at.metrics),
            "TASKHUB_WORKER_METRICS_ADDRESS": str(at.worker_metrics),
            "TASKHUB_BACKEND_ADDRESS": str(at.backend),
            "TASKHUB_TRUSTED_PROXIES": at.backend.host,
            "TASKHUB_API_PROCESSES": str(self._processes),
            "PYTHONUNBUFFERED": "1",
        }
        unless_set = {
            "TASKHUB_SECRET_KEY": self.data.secret("secret.key"),
            "TASKHUB_SMTP_URL": f"smtp://{at.smtp}",
            "TASKHUB_LINK_BASE_URL": f"http://{at.rest.reachable}",
        }
        return {**unless_set, **{name: os.environ[name] for name in unless_set if os.environ.get(name)}, **told}

    async def start(self) -> None:
        """Brings everything up, what does not depend on each other side by side; raises StackError if a part fails."""
        for name in OURS & os.environ.keys():
            self._say(f"{name} is set and not used: this stack has its own")
        try:
            async with asyncio.TaskGroup() as group:
                for part in (self._database(), self._redis(), self._mailbox(), self._gateway_configuration()):
                    group.create_task(part)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        # One after the other: Envoy looks again only after a while if it finds no API, and the worker would slow down
        # on a small machine what a person waits for.
        await self.supervisor.start(services.api(self.addresses.grpc, self.addresses.backend, self.environment))
        await self.supervisor.start(services.gateway(self._envoy, self.addresses.rest))
        await self.supervisor.start(services.worker(self._is_consumed, self.environment))
        self._describe()

    async def stop(self) -> None:
        """Stops everything in order, and takes the description away."""
        await self.supervisor.stop(STOPS)
        (self.data.path / "stack.json").unlink(missing_ok=True)
        self.data.unlock()

    async def _database(self) -> None:
        at, password = self.addresses.postgres, self._passwords["postgres"]
        cluster = await postgres.initialise(self.supervisor, self.data, password)
        await self.supervisor.start(postgres.child(cluster, at, password))
        await postgres.ensure_database(at, password)
        url, applied = (
            postgres.url(at, password),
            Applied(self.data.path / "migrated", services.ROOT / "migrations/versions"),
        )
        if not await applied.is_current(url):
            await self.supervisor.run(services.migrations(self.environment))
            await applied.remember(url)

    async def _redis(self) -> None:
        at, password = self.addresses.redis, self._passwords["redis"]
        await self.supervisor.start(redis.child(self.data.folder("redis"), at, password))

    async def _mailbox(self) -> None:
        at = self.addresses
        await self.supervisor.start(services.mailbox(self.data.folder("mail"), at.smtp, at.mailbox))

    async def _gateway_configuration(self) -> None:
        at = self.addresses
        await self.supervisor.run(services.gateway_configuration(at.rest, at.backend, self._processes, self._envoy))

    async def _is_consumed(self) -> bool:
        return await redis.is_consumed(self.addresses.redis, self._passwords["redis"])

    @property
    def _envoy(self) -> Path:
        return self.data.folder("envoy") / "envoy.yaml"

    def _clear_away(self) -> None:
        """Ends what a killed supervisor of this folder left behind, so that its ports are free again."""
        left = process.marked(process.mark(self.data.path))
        if left:
            self._say(f"an earlier run left processes {', '.join(str(each.pid) for each in left)}; ending them")
        process.end(left, grace=1)
        postgres.clear_away(self.data.path / "postgres")

    def _describe(self) -> None:
        """Writes what tests and tools need to know; the file is there exactly while the stack is up."""
        description = {
            "pid": os.getpid(),
            "data_dir": str(self.data.path),
            "addresses": {each.name: str(getattr(self.addresses, each.name)) for each in fields(Addresses)},
            "environment": self.environment,
            "children": self.supervisor.pids,
        }
        write_private(self.data.path / "stack.json", json.dumps(description, indent=2) + "\n")
