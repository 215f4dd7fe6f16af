"""The composition root of one API process: builds the parts, hands them to each other, serves, and drains."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from typing import Any

import grpc
import psycopg
import structlog
from taskhub.v1 import (
    auth_service_pb2_grpc,
    job_service_pb2_grpc,
    service_account_service_pb2_grpc,
    task_service_pb2_grpc,
    user_service_pb2_grpc,
)

from api_service.auth.listener import Listener
from api_service.auth.passwords import Passwords
from api_service.auth.revocations import Revocations
from api_service.auth.service import AuthService
from api_service.auth.servicer import AuthServicer
from api_service.auth.sign_in import SignIn
from api_service.auth.tokens import TokenSigner, TokenVerifier
from api_service.credentials.service import Credentials
from api_service.credentials.servicer import CredentialServicer
from api_service.database import Database
from api_service.events.feed import Feed
from api_service.exchange.service import Exchange
from api_service.exchange.servicer import ExchangeServicer
from api_service.health import Health
from api_service.idempotency import Idempotency
from api_service.interceptors.access_log import AccessLog
from api_service.interceptors.authentication import Authentication
from api_service.interceptors.bounds import Bounds
from api_service.interceptors.chain import Chain
from api_service.interceptors.deadline import Deadline
from api_service.interceptors.errors import Errors
from api_service.interceptors.observation import Observation
from api_service.interceptors.rate_limit import RateLimits
from api_service.interceptors.standard import Standard
from api_service.interceptors.streams import Streams
from api_service.interceptors.unread import CALLERS, GATEWAY, ReadingBounds
from api_service.interceptors.validation import Validation
from api_service.jobs.servicer import JobServicer
from api_service.keys.aging import Aging
from api_service.keys.ring import KeyRing
from api_service.lockouts.service import Lockouts
from api_service.methods import methods
from api_service.metrics import forget_metrics
from api_service.notifier import Notifier
from api_service.origin import Proxies
from api_service.rate_limits.lessor import Lessor
from api_service.service_accounts.servicer import ServiceAccountServicer
from api_service.sessions.service import Sessions
from api_service.sessions.servicer import SessionServicer
from api_service.settings import ApiSettings
from api_service.tasks.files import TaskFiles
from api_service.tasks.servicer import TaskServicer
from api_service.tasks.watch import TaskWatcher, encode_event
from api_service.tls import certificates
from api_service.users.servicer import UserServicer
from shared.crypto import Secrets
from shared.errors import Unavailable
from shared.outbox import CHANNEL as JOBS_CHANNEL
from shared.traces import Tracer

log = structlog.get_logger()

_RETRY_SECONDS = 0.5


#: Seconds in which the goodbye of a server reaches its clients.
_GOAWAY = 0.1

#: Seconds between two looks at whether the parent still lives.
_PARENT_SECONDS = 0.5


async def serve(settings: ApiSettings, index: int, parent: int | None = None) -> None:
    """Runs one process until it is told to stop, or until `parent` is gone.

    grpc.aio belongs to the event loop that it is made in.
    """
    await Server(settings, index).run(parent)


async def _outlive_nobody(parent: int, stopped: asyncio.Event) -> None:
    """Stops once the parent was killed: whoever takes its place could not have the address that we still hold."""
    while os.getppid() == parent:  # noqa: ASYNC110  the kernel sets no event of ours
        await asyncio.sleep(_PARENT_SECONDS)
    log.warning("parent_died", parent=parent)
    stopped.set()


class Server:
    """One process: everything that answers, and the loops beside it."""

    def __init__(self, settings: ApiSettings, index: int) -> None:
        self._settings = settings
        self._index = index
        secrets = Secrets(settings.secret_key.get_secret_value())
        self._tracer = Tracer("taskhub-api", settings.otlp_endpoint)
        access_log = AccessLog(enabled=settings.log_level in ("DEBUG", "INFO"))
        self._observation = Observation(self._tracer, access_log)
        self._database = Database(settings)
        self._jobs = Notifier(self._database, JOBS_CHANNEL)
        self._keys = KeyRing(self._database, secrets)
        self._aging = Aging(settings, self._database, secrets)
        self._revocations = Revocations(self._database, settings.access_token_seconds)
        self._listener = Listener(settings, self._revocations.load, self._keys.load)
        self._passwords = Passwords(settings)
        self._certificates = certificates(settings)
        self._lessor = Lessor(settings.rate_limit_redis)
        self._feed = Feed(settings, self._database, encode_event)
        verifier = TokenVerifier(self._keys, self._revocations, settings)
        self._streams = Streams(verifier)
        rpcs = {method.path: method for method in methods()}
        self._services = sorted({method.service for method in rpcs.values()})
        self._health = Health(self._database, self._services)
        self._standard = Standard(self._health, self._services, reflect=settings.reflection)
        chain = Chain(
            rpcs,
            [
                self._observation,
                Errors(),
                Bounds(),
                Deadline(settings.default_deadline, settings.maximum_deadline, settings.upload_deadline),
                Authentication(verifier),
                RateLimits(settings, self._lessor),
                self._streams,
                Validation(),
            ],
        )
        self._add_servicers(secrets, chain)
        proxies = Proxies(settings.trusted_proxies)
        if settings.backend_address is None:
            self._ports = {settings.grpc_address: self._port(chain, proxies)}
        else:
            # Whoever does not come by the gateway's port comes for himself, on the same network as the gateway or not.
            host, _, port = settings.backend_address.rpartition(":")
            backend_address = f"{host}:{int(port) + index}"
            self._ports = {
                settings.grpc_address: self._port(chain, Proxies()),
                backend_address: self._port(chain, proxies, GATEWAY),
            }

    def _add_servicers(self, secrets: Secrets, chain: Chain) -> None:
        settings = self._settings
        idempotency = Idempotency(self._database, secrets, settings.lock_timeout)
        opening = Sessions(settings, secrets, TokenSigner(self._keys, settings))
        limits = Lockouts(settings, secrets)
        changing = Credentials(settings, secrets, limits)
        auth = AuthServicer(
            AuthService(settings, secrets, changing),
            SignIn(limits, opening),
            opening,
            self._database,
            idempotency,
            self._passwords,
            self._keys,
            self._revocations,
            self._jobs,
        )
        sessions = SessionServicer(self._database, idempotency, secrets, self._revocations)
        credentials = CredentialServicer(
            changing, self._database, idempotency, self._passwords, self._revocations, self._jobs
        )
        exchange = ExchangeServicer(Exchange(TokenSigner(self._keys, settings)), self._database)
        parts = Joined(auth, sessions, credentials, exchange)
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server(parts, chain)
        user_service_pb2_grpc.add_UserServiceServicer_to_server(
            UserServicer(self._database, idempotency, secrets, self._revocations), chain
        )
        service_account_service_pb2_grpc.add_ServiceAccountServiceServicer_to_server(
            ServiceAccountServicer(self._database, idempotency, secrets, self._revocations), chain
        )
        files = TaskFiles(self._database, idempotency, self._jobs, settings.max_import_bytes)
        watcher = TaskWatcher(self._database, self._feed, secrets)
        tasks = TaskServicer(self._database, idempotency, secrets, self._jobs, files, watcher)
        task_service_pb2_grpc.add_TaskServiceServicer_to_server(tasks, chain)
        job_service_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(self._database, secrets), chain)

    def _port(self, chain: Chain, proxies: Proxies, bounds: ReadingBounds = CALLERS) -> grpc.aio.Server:
        server = grpc.aio.server(options=_options(self._settings))
        server.add_generic_rpc_handlers((chain.port(proxies, bounds), self._standard))
        return server

    async def run(self, parent: int | None = None) -> None:
        """Serves until SIGTERM, SIGINT or the end of `parent`, then drains: NOT_SERVING, finish what runs, close."""
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        self._database.open()
        async with contextlib.AsyncExitStack() as stack:
            for loop in (self._health.run, self._jobs.run, self._observation.run, self._lessor.run):
                stack.push_async_callback(_cancel, asyncio.create_task(loop()))
            if parent is not None:
                stack.push_async_callback(_cancel, asyncio.create_task(_outlive_nobody(parent, stopped)))
            if await self._prepared(stopped):
                revoking = (
                    self._keys.run,
                    self._revocations.run,
                    self._revocations.notifier.run,
                    self._listener.run,
                    self._aging.run,
                )
                for loop in (*revoking, self._streams.run, self._feed.run):
                    stack.push_async_callback(_cancel, asyncio.create_task(loop()))
                await self._serve(stopped)
        self._observation.flush()
        self._passwords.close()
        await self._database.close()
        self._tracer.close()
        if parent is not None and os.getppid() != parent:
            forget_metrics()  # which the parent would have done

    async def _prepared(self, stopped: asyncio.Event) -> bool:
        """Waits for the database, which may start after us; returns False if told to stop in the meantime."""
        waited = False
        while not stopped.is_set():
            try:
                await self._keys.load()
                await self._revocations.load()
            except (psycopg.Error, Unavailable) as error:
                if not waited:
                    log.warning("waiting_for_database", error=type(error).__name__)
                waited = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), _RETRY_SECONDS)
            else:
                return True
        return False

    async def _serve(self, stopped: asyncio.Event) -> None:
        settings = self._settings
        for address, server in self._ports.items():
            if address == settings.grpc_address and self._certificates is not None:
                server.add_secure_port(address, self._certificates.credentials())
            else:
                server.add_insecure_port(address)
            await server.start()
        # What exists now stays until the end: no collection has to walk through it again. And a call leaves little that
        # only a collection could find.
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        log.info("serving", address=settings.grpc_address, process=self._index)
        await stopped.wait()
        log.info("draining", process=self._index)
        self._health.drain()
        # stop() cancels calls that arrived and were not yet taken up; first let gateways and clients turn away.
        await asyncio.sleep(settings.drain_delay_seconds)
        stopping = [asyncio.create_task(server.stop(settings.drain_seconds)) for server in self._ports.values()]
        # Once clients have been told to go elsewhere; a stream without an end would hold the process until it is cut.
        await asyncio.sleep(_GOAWAY)
        self._streams.drain()
        await asyncio.gather(*stopping)


class Joined:
    """One service of the contract, served by several parts: each method by the part that has it."""

    def __init__(self, *parts: object) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        """Returns the part's method; a method that no part has ends the start."""
        for part in self._parts:
            if hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(name)


def _options(settings: ApiSettings) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_metadata_size", 16 * 1024),
        # Of each, an answer may wait to be read. Clients of gRPC let further calls wait, Envoy opens more connections.
        ("grpc.max_concurrent_streams", 250),
        ("grpc.max_connection_age_ms", int(settings.max_connection_age * 1000)),
        # Calls on it may end: each has a deadline, or a token that expires. What is left then, nobody reads.
        ("grpc.max_connection_age_grace_ms", int(settings.longest_call * 1000)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
