"""A wire to PostgreSQL on which round trips can be counted."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit


class Wire:
    """Passes one connection on to a server, and counts how often its client spoke after having been answered."""

    def __init__(self, database_url: str) -> None:
        server = urlsplit(database_url)
        self._server = (server.hostname, server.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(server._replace(netloc=f"postgres@127.0.0.1:{port}"))
        self.trips = 0

    def run(self) -> None:
        """Serves its one connection until one of both ends closes it."""
        client, _ = self._listener.accept()
        with client, socket.create_connection(self._server) as server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            answered = True
            while True:
                for key, _ in selector.select():
                    if not (data := key.fileobj.recv(65536)):  # type: ignore[union-attr]
                        return
                    self.trips += answered and key.fileobj is client
                    answered = key.fileobj is server
                    key.data.sendall(data)

    def close(self) -> None:
        """Takes no connection any more."""
        self._listener.close()


@contextmanager
def counting(database_url: str) -> Iterator[Wire]:
    """Yields a wire to a database, for one connection."""
    wire = Wire(database_url)
    thread = threading.Thread(target=wire.run)
    thread.start()
    try:
        yield wire
    finally:
        thread.join()
        wire.close()
