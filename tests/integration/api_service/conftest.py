"""One API with two processes for the whole session; every test makes accounts of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from api_service.loop import Loop
from tests.support.api import Account, Api
from tests.support.servers import Postgres, Processes


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What runs in the tests' own process runs in the event loop that an API process has."""
    return {"ours": Loop}


@pytest.fixture(scope="session")
def api(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API in front of a fresh database."""
    processes = Processes(tmp_path_factory.mktemp("api"))
    with postgres.clone() as url:
        # All tests call from one address, and many with a wrong password.
        api = Api(processes, url, TASKHUB_LOCKOUT_ADDRESS_FAILURES="100000")
        yield api
        api.close()
        processes.stop()


@pytest.fixture
def alice(api: Api) -> Account:
    return api.account()


@pytest.fixture
def bob(api: Api) -> Account:
    return api.account()


@pytest.fixture
def admin(api: Api) -> Account:
    return api.account("ADMIN")
