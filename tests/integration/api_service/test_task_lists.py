"""ListTasks: filters, orders, pages and counts, as callers meet them."""

from __future__ import annotations

from typing import Any

import grpc
import psutil
import pytest
from taskhub.v1 import task_pb2
from taskhub.v1 import task_service_pb2 as v1

from tests.support.api import Account, Api, refused


def make(api: Api, who: Account, title: str, **fields: Any) -> task_pb2.Task:
    """Makes a task."""
    request = v1.CreateTaskRequest(task=task_pb2.Task(title=title, **fields))
    created = api.tasks.CreateTask(request, metadata=who.metadata)
    assert isinstance(created, task_pb2.Task)
    return created


def listed(api: Api, who: Account, filter_: str = "", order_by: str = "", **arguments: Any) -> list[str]:
    """Follows the page tokens, two tasks a page, and returns all titles."""
    titles: list[str] = []
    request = v1.ListTasksRequest(filter=filter_, order_by=order_by, page_size=2, **arguments)
    while True:
        answer = api.tasks.ListTasks(request, metadata=who.metadata)
        assert len(answer.tasks) <= 2
        titles += [task.title for task in answer.tasks]
        request.page_token = answer.next_page_token
        if not request.page_token:
            return titles


@pytest.fixture
def board(api: Api, alice: Account) -> Account:
    """Somebody with four tasks, from the oldest to the newest, and a stranger's beside them."""
    make(api, alice, "Quarterly report", labels={"team": "finance", "app.io/tier": "gold"}, priority="HIGH")
    make(api, alice, "Pay 100% of the rent", due_time={"seconds": 1_000_000}, labels={"team": "facilities"})
    make(api, alice, "Buy milk", description="For the quarterly report's breakfast", due_time={"seconds": 2_000_000})
    name = make(api, alice, "Report on milk*", priority="LOW").name
    api.tasks.StartTask(v1.StartTaskRequest(name=name), metadata=alice.metadata)
    make(api, api.account(), "Quarterly report of a stranger")
    return alice


REPORT, RENT, MILK, MORE = "Quarterly report", "Pay 100% of the rent", "Buy milk", "Report on milk*"


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ("state = TODO", [MILK, RENT, REPORT]),
        ("state != TODO", [MORE]),
        ("state = TODO OR state = IN_PROGRESS", [MORE, MILK, RENT, REPORT]),
        ("state = TODO AND state = DONE", []),
        ("priority >= HIGH", [REPORT]),
        ("-priority = NORMAL", [MORE, REPORT]),
        ('labels.team = "finance"', [REPORT]),
        ('labels.team = "f*"', [RENT, REPORT]),
        ("labels:team", [RENT, REPORT]),
        ("labels.app.io/tier:gold", [REPORT]),
        ('labels.team != "finance"', [MORE, MILK, RENT]),
        ("due_time < 1970-01-20T00:00:00+01:00", [RENT]),
        ("due_time:*", [MILK, RENT]),
        ("NOT due_time < 1970-01-20T00:00:00Z", [MORE, MILK, REPORT]),
        ("report", [MORE, MILK, REPORT]),
        ('"quarterly report"', [MILK, REPORT]),
        ("title:report -title:milk", [REPORT]),
        ("rep* OR rent", [MORE, MILK, RENT, REPORT]),
        ("milk quarterly OR rent", [MILK]),
        ('title = "*100%*"', [RENT]),
        ('title = "Report on milk\\*"', [MORE]),
        ('title = "Report _n milk*"', []),
        ('title >= "Q"', [MORE, REPORT]),
        ("description:*", [MILK]),
        ("labels:*", [RENT, REPORT]),
        ("-labels:*", [MORE, MILK]),
        ("state = (IN_PROGRESS OR DONE)", [MORE]),
        ("title:(report -milk)", [REPORT]),
        ('labels.team = "finance" OR state = IN_PROGRESS', [MORE, REPORT]),
    ],
)
def test_a_filter_lets_through_what_it_says(api: Api, board: Account, filter_: str, expected: list[str]) -> None:
    assert listed(api, board, filter_) == expected
    count = v1.ListTasksRequest(filter=filter_, page_size=1, include_total_size=True)
    assert api.tasks.ListTasks(count, metadata=board.metadata).total_size == len(expected)


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ("", [MORE, MILK, RENT, REPORT]),
        ("create_time", [REPORT, RENT, MILK, MORE]),
        ("title", [MILK, RENT, REPORT, MORE]),
        ("priority desc, name", [REPORT, RENT, MILK, MORE]),
        ("due_time", [RENT, MILK, REPORT, MORE]),
        ("due_time desc", [MILK, RENT, MORE, REPORT]),
        ("due_time desc, title", [MILK, RENT, REPORT, MORE]),
        ("priority, due_time desc, title desc", [MORE, MILK, RENT, REPORT]),
        ("name desc, title", [MORE, MILK, RENT, REPORT]),
    ],
)
def test_an_order_is_kept_across_pages(api: Api, board: Account, order_by: str, expected: list[str]) -> None:
    assert listed(api, board, "", order_by) == expected
    assert listed(api, board, "priority:LOW OR priority != LOW", order_by) == expected


def test_a_list_shows_what_get_shows(api: Api, alice: Account, bob: Account) -> None:
    parent = make(api, alice, "Whole").name
    plain, full = (
        make(api, alice, "Part"),
        make(
            api, alice, "Part", description="All of it", labels={"a": "1", "b": 'é"\\'}, priority="URGENT",
            due_time={"seconds": 1, "nanos": 999_999_000}, remind_time={"seconds": 253402300799},
            assignee=bob.name, parent_task=parent,
        ),
    )  # fmt: skip
    api.tasks.CompleteTask(v1.CompleteTaskRequest(name=full.name), metadata=alice.metadata)
    api.tasks.DeleteTask(v1.DeleteTaskRequest(name=full.name), metadata=alice.metadata)
    request = v1.ListTasksRequest(filter="title = Part", order_by="name", show_deleted=True)
    shown = api.tasks.ListTasks(request, metadata=alice.metadata).tasks
    got = [api.tasks.GetTask(v1.GetTaskRequest(name=each.name), metadata=alice.metadata) for each in (plain, full)]
    assert list(shown) == got
    assert {field.name for field, _ in got[1].ListFields()} == set(task_pb2.Task.DESCRIPTOR.fields_by_name)


def test_the_filter_of_an_administrator_reaches_everybody(api: Api, board: Account, admin: Account) -> None:
    stranger = "Quarterly report of a stranger"
    assert listed(api, admin, f'owner = "{board.name}" quarterly') == [MILK, REPORT]
    assert listed(api, admin, f'title = "{stranger}"')[0] == stranger


@pytest.mark.parametrize(
    ("filter_", "position"),
    [
        ("sate = TODO", 1),
        ("state = OPEN", 9),
        ("state < DONE", 1),
        ("report AND (", 13),
        ("due_time > yesterday", 12),
        ('due_time = "2026-02-30T00:00:00Z"', 12),
        ('due_time = "9999-12-31T23:59:59-14:00"', 12),
        ("title.x = y", 1),
        ("labels.a < b", 1),
        ("labels = a", 1),
        ("parent_task = users/me", 15),
        ("state = TODO and title = a", 14),
        ("state = (TODO OR LATER)", 18),
        ("report(now)", 1),
        ("*", 1),
        ('"open', 1),
        ("(" * 17, 17),
        ("a " * 65, 1),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_with_the_place(
    api: Api, alice: Account, filter_: str, position: int
) -> None:
    found = refused(api.tasks.ListTasks, v1.ListTasksRequest(filter=filter_), metadata=alice.metadata)
    assert (found.code, found.reason, found.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "FILTER_INVALID",
        ["filter"],
    )
    assert found.message.endswith(f"(at character {position})")


def test_users_me_is_whoever_asks(api: Api, alice: Account, bob: Account, admin: Account) -> None:
    make(api, alice, "for bob", assignee=bob.name)
    make(api, alice, "for nobody")
    make(api, bob, "for alice", assignee=alice.name)
    make(api, admin, "an administrator's")
    assert listed(api, bob, "assignee = users/me") == ["for bob"]
    assert listed(api, bob, 'NOT assignee = ("users/me" OR users/me)') == ["for alice"]
    assert listed(api, alice, "owner = users/me") == ["for nobody", "for bob"]
    assert listed(api, alice, "owner != users/me state = TODO") == ["for alice"]
    assert listed(api, admin, "owner = users/me") == ["an administrator's"]


@pytest.mark.parametrize("order_by", ["state", "title down", "title,", "title, title desc", "a,b,c,d", ","])
def test_an_order_that_makes_no_sense_is_refused(api: Api, alice: Account, order_by: str) -> None:
    found = refused(api.tasks.ListTasks, v1.ListTasksRequest(order_by=order_by), metadata=alice.metadata)
    assert (found.reason, found.fields) == ("ORDER_INVALID", ["order_by"])


def test_a_page_token_is_bound_to_filter_and_order(api: Api, board: Account) -> None:
    first = v1.ListTasksRequest(page_size=1, filter="report", order_by="title")
    token = api.tasks.ListTasks(first, metadata=board.metadata).next_page_token
    for filter_, order_by in (("milk", "title"), ("report", "")):
        request = v1.ListTasksRequest(page_token=token, filter=filter_, order_by=order_by)
        assert refused(api.tasks.ListTasks, request, metadata=board.metadata).reason == "PAGE_TOKEN_INVALID"


def test_deleted_tasks_take_their_place_among_the_others(api: Api, board: Account) -> None:
    answer = api.tasks.ListTasks(v1.ListTasksRequest(filter='title = "Buy milk"'), metadata=board.metadata)
    api.tasks.DeleteTask(v1.DeleteTaskRequest(name=answer.tasks[0].name), metadata=board.metadata)
    assert listed(api, board) == [MORE, RENT, REPORT]
    assert listed(api, board, show_deleted=True) == [MORE, MILK, RENT, REPORT]
    assert listed(api, board, "delete_time:* state = TODO", show_deleted=True) == [MILK]


def test_a_page_is_no_larger_than_a_client_takes(api: Api, alice: Account) -> None:
    api.execute(
        "INSERT INTO tasks (id, owner_id, title, description)"
        " SELECT gen_random_uuid(), %s, 'Long', repeat('\N{GRINNING FACE}', 10000) FROM generate_series(1, 110)",
        (alice.id,),
    )
    # 4.4 MB in all; the channel has its default limit of 4 MiB.
    names, token, pages = list[str](), "", 0
    while pages == 0 or token:
        request = v1.ListTasksRequest(page_size=1000, page_token=token)
        answer = api.tasks.ListTasks(request, metadata=alice.metadata)
        names, token, pages = names + [task.name for task in answer.tasks], answer.next_page_token, pages + 1
    assert (len(names), len(set(names)), pages) == (110, 110, 2)


def test_a_page_of_a_history_is_no_larger_than_a_client_takes(api: Api, alice: Account) -> None:
    task = make(api, alice, "Rewritten")
    api.execute(
        "INSERT INTO events (kind, resource, actor, owner_id, changes)"
        " SELECT 'task.updated', %s, %s, %s, jsonb_build_object('description', jsonb_build_array("
        " repeat('\N{GRINNING FACE}', 10000), repeat('x', 10000))) FROM generate_series(1, 110)",
        (task.name, alice.name, alice.id),
    )
    names, token, pages = list[str](), "", 0
    while pages == 0 or token:
        request = v1.ListTaskEventsRequest(parent=task.name, page_size=1000, page_token=token)
        answer = api.tasks.ListTaskEvents(request, metadata=alice.metadata)
        names, token, pages = names + [event.name for event in answer.events], answer.next_page_token, pages + 1
    assert (len(names), len(set(names)), pages) == (111, 111, 2)


def test_counting_stops(api: Api, alice: Account) -> None:
    api.execute(
        "INSERT INTO tasks (id, owner_id, title) SELECT gen_random_uuid(), %s, 'Many' FROM generate_series(1, 10002)",
        (alice.id,),
    )
    answer = api.tasks.ListTasks(v1.ListTasksRequest(include_total_size=True), metadata=alice.metadata)
    assert (answer.total_size, answer.total_size_exceeded) == (10_000, True)
    answer = api.tasks.ListTasks(v1.ListTasksRequest(), metadata=alice.metadata)
    assert (answer.total_size, answer.total_size_exceeded) == (0, False)


def test_a_long_filter_costs_little(api: Api, alice: Account) -> None:
    def used() -> float:
        """Returns the seconds of CPU of all servers so far: no machine is too slow for them."""
        return sum(server.cpu_times().user for server in psutil.Process(api.process.pid).children())

    nested = "(NOT " * 16 + "a" + ")" * 16
    before = used()
    for filter_ in (nested, " OR ".join(f"title = {'*a' * 8}{n}" for n in range(64))):
        api.tasks.ListTasks(v1.ListTasksRequest(filter=filter_), metadata=alice.metadata)
    assert used() - before < 5
