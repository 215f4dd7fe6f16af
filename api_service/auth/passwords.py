"""Argon2id, off the event loop, only so many at once and only so many waiting: a login storm starves no other call."""

from __future__ import annotations

import asyncio
import secrets
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from api_service.settings import ApiSettings
from shared.errors import PasswordsBusy

T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords; what waits for a thread waits without holding anything."""

    def __init__(self, settings: ApiSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._threads = ThreadPoolExecutor(settings.password_threads, thread_name_prefix="argon2")
        self._room = settings.password_threads + settings.password_queue
        self._begun = 0
        self._lock = threading.Lock()
        # Somebody's password, nobody's account: an unknown address costs as much time as a known one.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Returns the encoded hash, with its parameters and salt. Raises PasswordsBusy."""
        return await self._run(self._hasher.hash, _written(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one; takes as long where there is no account (`stored` is None).

        Raises PasswordsBusy.
        """
        right = await self._run(self._check, stored or self._nobody, _written(password))
        return right and stored is not None

    def needs_rehash(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _check(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        with self._lock:
            if self._begun >= self._room:
                raise PasswordsBusy
            self._begun += 1
        future = self._threads.submit(work, *arguments)
        # Also of a call that was cancelled: one that waits gives its place up, one that runs keeps it until the end.
        future.add_done_callback(self._ended)
        return await asyncio.wrap_future(future)

    def _ended(self, _: Future[T]) -> None:
        with self._lock:
            self._begun -= 1

    def close(self) -> None:
        """Lets the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _written(password: str) -> str:
    """Returns the one way in which Unicode writes a password, whatever keyboard it came from (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)
