"""The log as it grows, read once for all streams of this process.

Positions are what makes this safe: a reader who remembers one has seen everything before it, whatever commits late
(worker_service/sequencer.py gives them). One connection of its own listens and reads, and only while somebody watches.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psycopg
import structlog
from psycopg import AsyncConnection

from api_service.database import Connection, Database
from api_service.events import queries
from api_service.events.entry import Entry, Interest
from api_service.events.queries import EventRow
from api_service.events.window import Window
from api_service.settings import ApiSettings
from shared.errors import ResumeTokenExpired, StreamsExhausted, TaskHubError, Unavailable
from shared.events import CHANNEL

log = structlog.get_logger()

#: Seconds between two looks at the log that no NOTIFY has asked for: a lost one, or a pooler that delivers none.
_POLL = 0.25
#: Seconds between two tries to connect, and which a look may take.
_RETRY, _HANGING = 0.5, 5.0
#: Seconds for which the log is followed after the last stream has come or gone: clients reconnect.
_LINGER = 30.0
#: Events that are read at once; positions that are read again at the start, so that those who resume find them here.
_BATCH, _BEFORE = 500, 1000
#: Events that a stream takes at once, and streams that may read the database at the same time.
_TAKE, _CATCHING_UP = 64, 2


class Subscription:
    """One stream's place in the log."""

    def __init__(
        self, feed: Feed, interest: Interest, position: int, interval: float, end: Callable[[TaskHubError], None]
    ) -> None:
        self.position = position
        self.interest = interest
        self.end = end
        self.due = 0.0
        self._feed = feed
        self._interval = interval
        self._waiter: asyncio.Future[bool] | None = None

    async def take(self) -> list[Entry]:
        """Returns the next events, or none when there have been none for the interval. Moves on past all of them."""
        while True:
            entries = await self._feed.after(self.position)
            if entries:
                self.position = entries[-1].position
                found = [entry for entry in entries if self.interest.concerns(entry)]
                if found:
                    return found
            elif not await self._wait():
                return []

    async def _wait(self) -> bool:
        self._waiter = asyncio.get_running_loop().create_future()
        self.due = time.monotonic() + self._interval
        try:
            with self._feed.waiting(self):
                return await self._waiter
        finally:
            self._waiter = None

    def wake(self, position: int, *, found: bool) -> None:
        """Ends the wait, of a stream that has nothing to see up to `position`."""
        if self._waiter is not None and not self._waiter.done():
            self.position = max(self.position, position)
            self._waiter.set_result(found)


class Feed:
    """Follows the log while there are streams, and tells each what it wants to know."""

    def __init__(self, settings: ApiSettings, database: Database, encode: Callable[[EventRow], bytes]) -> None:
        self._dsn = settings.direct_dsn
        self._limit = settings.watch_streams
        #: A new stream waits for the feed's connection as any call does for one.
        self._patience = settings.database_pool_timeout
        self._database = database
        self._encode = encode
        self._window = Window()
        self._streams: set[Subscription] = set()
        self._waiting: dict[object, set[Subscription]] = defaultdict(set)
        self._wanted = asyncio.Event()
        self._live = asyncio.Event()
        self._catching_up = asyncio.Semaphore(_CATCHING_UP)
        self._left = -_LINGER

    @asynccontextmanager
    async def subscribe(
        self, interest: Interest, position: int | None, interval: float, end: Callable[[TaskHubError], None]
    ) -> AsyncIterator[Subscription]:
        """Follows the log from after `position`, or from now on; `end` is called when that is over.

        Raises ResumeTokenExpired where events after `position` are gone, Unavailable without a database, and
        StreamsExhausted.
        """
        await self._started()
        if position is None:
            position = self._window.head
        elif not self._window.floor <= position <= self._window.head:
            await self._check(position)
        if len(self._streams) >= self._limit:
            raise StreamsExhausted
        subscription = Subscription(self, interest, position, interval, end)
        self._streams.add(subscription)
        try:
            yield subscription
        finally:
            self._streams.discard(subscription)
            self._left = time.monotonic()

    async def after(self, position: int) -> list[Entry]:
        """Returns the next events after a position: from memory, or from the database for those who are far behind."""
        if self._window.holds(position):
            return self._window.after(position, _TAKE)
        async with self._catching_up, self._database.connection() as connection:
            return self._entries(await queries.after(connection, position, _BATCH))

    @contextmanager
    def waiting(self, subscription: Subscription) -> Iterator[None]:
        """Wakes a stream, which has seen all there is, as soon as there is something for it."""
        group = self._waiting[subscription.interest.reader]
        group.add(subscription)
        try:
            yield
        finally:
            group.discard(subscription)
            if not group:
                self._waiting.pop(subscription.interest.reader, None)

    async def run(self) -> None:
        """Follows the log, whenever somebody wants to know, until it is cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self._follow()
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("feed_lost_database", error=type(error).__name__, streams=len(self._streams))
                for subscription in self._streams:
                    subscription.end(Unavailable())
                await asyncio.sleep(_RETRY)
            finally:
                self._live.clear()

    async def _started(self) -> None:
        self._left = time.monotonic()
        self._wanted.set()
        try:
            async with asyncio.timeout(self._patience):
                await self._live.wait()
        except TimeoutError:
            raise Unavailable from None

    async def _check(self, position: int) -> None:
        """Refuses a position that the database cannot go on from: events are purged, or it is an older copy."""
        async with self._database.connection() as connection:
            purged, head = await queries.bounds(connection)
        if not purged <= position <= head:
            raise ResumeTokenExpired

    async def _follow(self) -> None:
        options = f"-c statement_timeout={int(_HANGING * 1000)} -c timezone=UTC"
        async with await AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=2, options=options, application_name="taskhub-feed"
        ) as connection:
            # Behind a pooler it may be refused, or heard by nobody: then the looks in between are all there is.
            with suppress(psycopg.errors.FeatureNotSupported):
                await connection.execute(f"LISTEN {CHANNEL}")
            purged, head = await queries.bounds(connection)
            self._window = Window(max(purged, head - _BEFORE))
            await self._read(connection)
            self._live.set()
            log.info("feed_follows", position=self._window.head)
            beat = time.monotonic()
            while self._streams or time.monotonic() < self._left + _LINGER:
                async for _ in connection.notifies(timeout=_POLL, stop_after=1):
                    pass
                async with asyncio.timeout(_HANGING):
                    await self._read(connection)
                if time.monotonic() >= beat:
                    beat = time.monotonic() + _POLL
                    self._beat()
            self._wanted.clear()

    async def _read(self, connection: Connection) -> None:
        while True:
            rows = await queries.after(connection, self._window.head, _BATCH)
            for entry in self._entries(rows):
                self._window.append(entry)
                self._offer(entry)
            if len(rows) < _BATCH:
                return

    def _entries(self, rows: Iterable[EventRow]) -> list[Entry]:
        return [Entry(row, self._encode) for row in rows]

    def _offer(self, entry: Entry) -> None:
        for reader in (*entry.readers, None):
            for subscription in self._waiting.get(reader, ()):
                if subscription.position < entry.position and subscription.interest.concerns(entry):
                    subscription.wake(entry.position - 1, found=True)

    def _beat(self) -> None:
        now = time.monotonic()
        for group in self._waiting.values():
            for subscription in group:
                if subscription.due <= now:
                    subscription.wake(self._window.head, found=False)
