"""Accounts of services: keys, the tokens they are exchanged for, and what ends them."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import time
import uuid
from typing import Any, cast

import grpc
import psycopg
import pytest
from taskhub.v1 import (
    auth_service_pb2,
    service_account_pb2,
    service_account_service_pb2,
    task_pb2,
    task_service_pb2,
    user_service_pb2,
)

from api_service.service_accounts.key import new_secret
from tests.support.api import Account, Api, refusal, refused
from tests.support.servers import PATIENCE, eventually

robots = service_account_service_pb2
Key = service_account_pb2.ServiceAccountKey


def make(api: Api, admin: Account, *scopes: str) -> service_account_pb2.ServiceAccount:
    robot = service_account_pb2.ServiceAccount(display_name=" Robot ", description="Invoices", scopes=scopes)
    request = robots.CreateServiceAccountRequest(service_account=robot)
    made: service_account_pb2.ServiceAccount = api.service_accounts.CreateServiceAccount(
        request, metadata=admin.metadata
    )
    return made


def make_key(api: Api, admin: Account, parent: str, **fields: Any) -> Key:
    request = robots.CreateKeyRequest(parent=parent, key=Key(**fields))
    key: Key = api.service_accounts.CreateKey(request, metadata=admin.metadata)
    return key


def exchange(api: Api, key: str, *scopes: str) -> auth_service_pb2.ExchangeServiceKeyResponse:
    request = auth_service_pb2.ExchangeServiceKeyRequest(key=key, scopes=scopes)
    answer: auth_service_pb2.ExchangeServiceKeyResponse = api.auth.ExchangeServiceKey(request)
    return answer


def bearer(token: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


def refusal_of(api: Api, key: str) -> tuple[Any, ...]:
    found = refused(api.auth.ExchangeServiceKey, auth_service_pb2.ExchangeServiceKeyRequest(key=key))
    return found.code, found.reason, found.message, tuple(found.fields), found.retry_seconds


def kept_out(api: Api, metadata: Any) -> bool:
    """Whether all processes have heard."""
    for _ in range(6):
        channel = api.connect()
        try:
            call: Any = channel.unary_unary("/taskhub.v1.TaskService/ListTasks")
            if refused(call, b"", metadata=metadata).reason != "TOKEN_INVALID":
                return False
        except AssertionError:
            return False
        finally:
            channel.close()
    return True


def update(api: Api, admin: Account, name: str, **fields: Any) -> service_account_pb2.ServiceAccount:
    request = robots.UpdateServiceAccountRequest(
        service_account=service_account_pb2.ServiceAccount(name=name, **fields), update_mask={"paths": list(fields)}
    )
    changed: service_account_pb2.ServiceAccount = api.service_accounts.UpdateServiceAccount(
        request, metadata=admin.metadata
    )
    return changed


def events(api: Api, resource: str) -> list[tuple[Any, ...]]:
    return api.execute("SELECT kind, actor, changes FROM events WHERE resource LIKE %s ORDER BY id", (f"{resource}%",))


def test_a_service_signs_in_with_its_key_and_owns_what_it_makes(api: Api, admin: Account, alice: Account) -> None:
    robot = make(api, admin, "tasks.write", "tasks.read", "tasks.read")
    assert (robot.display_name, list(robot.scopes), robot.disabled) == ("Robot", ["tasks.read", "tasks.write"], False)
    key = make_key(api, admin, robot.name, display_name="production")
    answer = exchange(api, key.secret)
    assert (answer.service_account, list(answer.scopes)) == (robot.name, list(robot.scopes))
    claims = json.loads(base64.urlsafe_b64decode(answer.access_token.split(".")[1] + "=="))
    assert (claims["sub"], claims["sid"]) == (robot.name, key.name.rpartition("/")[2])

    request = task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title="Send the invoices"))
    mine, again = (
        api.tasks.CreateTask(request, metadata=(*bearer(answer.access_token), ("idempotency-key", "x")))
        for _ in range(2)
    )
    assert mine == again
    assert mine.owner == robot.name
    theirs = api.task(alice)
    listed = api.tasks.ListTasks(task_service_pb2.ListTasksRequest(), metadata=bearer(answer.access_token)).tasks
    assert [task.name for task in listed] == [mine.name]
    for name, caller in ((theirs.name, bearer(answer.access_token)), (mine.name, alice.metadata)):
        found = refused(api.tasks.GetTask, task_service_pb2.GetTaskRequest(name=name), metadata=caller)
        assert found.reason == "RESOURCE_NOT_FOUND"


def test_reading_and_writing_everybodys_are_scopes_of_their_own(api: Api, alice: Account) -> None:
    task = api.task(alice)
    reader = api.service_account("tasks.read", "tasks.write", "tasks.read_all")
    assert api.tasks.GetTask(task_service_pb2.GetTaskRequest(name=task.name), metadata=reader.metadata) == task
    start = task_service_pb2.StartTaskRequest(name=task.name)
    assert refused(api.tasks.StartTask, start, metadata=reader.metadata).reason == "RESOURCE_NOT_FOUND"
    writer = api.service_account("tasks.write", "tasks.write_all")
    assert api.tasks.StartTask(start, metadata=writer.metadata).state == task_pb2.Task.IN_PROGRESS
    get = task_service_pb2.GetTaskRequest(name=task.name)
    assert refused(api.tasks.GetTask, get, metadata=writer.metadata).reason == "SCOPE_MISSING"


def test_a_token_can_be_asked_for_less_but_not_for_more(api: Api) -> None:
    robot = api.service_account("tasks.read", "tasks.write")
    narrow = exchange(api, robot.refresh_token, "tasks.read")
    assert list(narrow.scopes) == ["tasks.read"]
    create = task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title="x"))
    assert refused(api.tasks.CreateTask, create, metadata=bearer(narrow.access_token)).reason == "SCOPE_MISSING"
    more = auth_service_pb2.ExchangeServiceKeyRequest(key=robot.refresh_token, scopes=["tasks.read", "admin"])
    found = refused(api.auth.ExchangeServiceKey, more)
    assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["scopes"])


def test_every_key_that_is_no_good_is_refused_alike(api: Api, admin: Account) -> None:
    robot = api.service_account()
    key = robot.refresh_token
    wrong, _ = new_secret(uuid.UUID(bytes=base64.urlsafe_b64decode(key.removeprefix("taskhub_key_") + "==")[:16]))
    unknown, _ = new_secret(uuid.uuid4())
    expired, revoked, disabled, deleted = (api.service_account() for _ in range(4))
    api.execute(
        "UPDATE service_account_keys SET create_time = now() - interval '2 hours', expire_time = now() - interval '1 s'"
        " WHERE service_account_id = %s",
        (expired.id,),
    )
    [listed] = api.service_accounts.ListKeys(robots.ListKeysRequest(parent=revoked.name), metadata=admin.metadata).keys
    api.service_accounts.RevokeKey(robots.RevokeKeyRequest(name=listed.name), metadata=admin.metadata)
    update(api, admin, disabled.name, disabled=True)
    api.service_accounts.DeleteServiceAccount(
        robots.DeleteServiceAccountRequest(name=deleted.name), metadata=admin.metadata
    )
    bad = [key[:-1] + ("A" if key[-1] != "A" else "B"), key.removeprefix("taskhub_key_"), "x", wrong, unknown]
    bad += [account.refresh_token for account in (expired, revoked, disabled, deleted)]
    answers = {refusal_of(api, text) for text in bad}
    assert {answer[:2] for answer in answers} == {(grpc.StatusCode.UNAUTHENTICATED, "SERVICE_KEY_INVALID")}
    assert len(answers) == 1


def test_a_secret_is_shown_once_and_stored_nowhere(api: Api, admin: Account) -> None:
    robot = make(api, admin)
    request = robots.CreateKeyRequest(parent=robot.name)
    first, call = api.service_accounts.CreateKey.with_call(request, metadata=admin.with_key("a"))
    again, replay = api.service_accounts.CreateKey.with_call(request, metadata=admin.with_key("a"))
    assert first.secret
    assert (again.name, again.secret) == (first.name, "")
    assert "idempotency-replayed" not in dict(call.initial_metadata())
    assert dict(replay.initial_metadata())["idempotency-replayed"] == "true"
    dry = robots.CreateKeyRequest(parent=robot.name, validate_only=True)
    assert api.service_accounts.CreateKey(dry, metadata=admin.metadata).secret == ""
    [listed] = api.service_accounts.ListKeys(robots.ListKeysRequest(parent=robot.name), metadata=admin.metadata).keys
    assert (listed.name, listed.secret) == (first.name, "")
    secret = base64.urlsafe_b64decode(first.secret.removeprefix("taskhub_key_") + "==")[16:48]
    exchange(api, first.secret)
    for table in ("service_accounts", "service_account_keys", "idempotency_records", "events", "jobs"):
        for (row,) in api.execute(f"SELECT row_to_json(t)::text FROM {table} t"):
            for form in (first.secret, first.secret.encode().hex(), secret.hex()):
                assert form not in row, table


def test_a_key_takes_anothers_place_without_a_gap(api: Api, admin: Account) -> None:
    robot = make(api, admin, "tasks.read")
    old, new = (make_key(api, admin, robot.name) for _ in range(2))
    tokens = [bearer(exchange(api, key.secret).access_token) for key in (old, new)]
    listing = task_service_pb2.ListTasksRequest()
    for metadata in tokens:
        api.tasks.ListTasks(listing, metadata=metadata)
    revoked = api.service_accounts.RevokeKey(robots.RevokeKeyRequest(name=old.name), metadata=admin.metadata)
    assert revoked.HasField("revoke_time")
    eventually(lambda: kept_out(api, tokens[0]))
    api.tasks.ListTasks(listing, metadata=tokens[1])
    assert exchange(api, new.secret).access_token
    again = api.service_accounts.RevokeKey(robots.RevokeKeyRequest(name=old.name), metadata=admin.metadata)
    assert again == revoked


def test_a_key_is_revoked_by_the_clock_of_the_database(api: Api, admin: Account) -> None:
    """The list of what is over goes by it: with a clock that is slow the tokens would have come back to life."""
    key = make_key(api, admin, make(api, admin).name)
    api.service_accounts.RevokeKey(robots.RevokeKeyRequest(name=key.name), metadata=admin.metadata)
    alike = api.execute(
        "SELECT revoke_time = event.create_time FROM service_account_keys key, events event "
        "WHERE key.id = %s AND resource = %s AND kind = 'key.revoked'",
        (key.name.rpartition("/")[2], key.name),
    )
    assert alike == [(True,)]


@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_an_account_that_ends_takes_its_tokens_along(api: Api, admin: Account, how: str) -> None:
    robot = api.service_account("tasks.read", "tasks.write")
    task = api.task(robot)
    if how == "disabled":
        update(api, admin, robot.name, disabled=True)
    else:
        request = robots.DeleteServiceAccountRequest(name=robot.name)
        gone = api.service_accounts.DeleteServiceAccount(request, metadata=admin.metadata)
        shown = api.tasks.GetTask(task_service_pb2.GetTaskRequest(name=task.name), metadata=admin.metadata)
        assert shown.purge_time == gone.purge_time
    eventually(lambda: kept_out(api, robot.metadata))
    for_it = task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title="x", assignee=robot.name))
    assert refused(api.tasks.CreateTask, for_it, metadata=admin.metadata).fields == ["task.assignee"]
    if how == "disabled":
        update(api, admin, robot.name, disabled=False)
        assert exchange(api, robot.refresh_token).access_token


def test_tokens_from_before_it_was_disabled_stay_dead_when_it_is_enabled_again(api: Api, admin: Account) -> None:
    robot = api.service_account("tasks.read")
    for _ in range(2):  # the second time those of the first stay dead as well
        late = bearer(exchange(api, robot.refresh_token).access_token)
        update(api, admin, robot.name, disabled=True)
        update(api, admin, robot.name, disabled=False)
        fresh = bearer(exchange(api, robot.refresh_token).access_token)
        eventually(lambda late=late: kept_out(api, late))  # type: ignore[misc]
        assert kept_out(api, robot.metadata)
        api.tasks.ListTasks(task_service_pb2.ListTasksRequest(), metadata=fresh)


def test_an_account_is_disabled_by_the_clock_of_the_database(api: Api, admin: Account) -> None:
    """The list of what is over goes by it: with a clock that is slow the tokens would have come back to life."""
    robot = make(api, admin)
    update(api, admin, robot.name, disabled=True)
    update(api, admin, robot.name, description="since then", disabled=True)
    alike = api.execute(
        "SELECT disable_time = event.create_time FROM service_accounts account, events event "
        "WHERE 'serviceAccounts/' || account.id = %s AND resource = %s AND changes ? 'disabled'",
        (robot.name, robot.name),
    )
    assert alike == [(True,)]


def test_other_scopes_come_with_the_next_exchange(api: Api, admin: Account) -> None:
    robot = api.service_account("tasks.read")
    changed = update(api, admin, robot.name, scopes=["jobs.read"])
    assert list(changed.scopes) == ["jobs.read"]
    assert list(exchange(api, robot.refresh_token).scopes) == ["jobs.read"]
    none = update(api, admin, robot.name, scopes=[])
    assert list(none.scopes) == []
    assert [change for kind, _, change in events(api, robot.name) if kind == "serviceaccount.updated"] == [
        {"scopes": [["tasks.read"], ["jobs.read"]]},
        {"scopes": [["jobs.read"], []]},
    ]


def test_a_scope_that_is_taken_away_ends_the_tokens_that_hold_it(api: Api, admin: Account) -> None:
    robot = api.service_account("tasks.read")
    update(api, admin, robot.name, scopes=["tasks.read", "admin"])
    api.tasks.ListTasks(task_service_pb2.ListTasksRequest(), metadata=robot.metadata)  # nothing was taken yet
    powerful = bearer(exchange(api, robot.refresh_token).access_token)
    update(api, admin, robot.name, scopes=["tasks.read"])
    eventually(lambda: kept_out(api, powerful))
    fresh = bearer(exchange(api, robot.refresh_token).access_token)
    api.tasks.ListTasks(task_service_pb2.ListTasksRequest(), metadata=fresh)


def test_a_token_does_not_outlive_its_key(api: Api, admin: Account) -> None:
    expire = int(time.time()) + 120
    key = make_key(api, admin, make(api, admin).name, expire_time={"seconds": expire})
    assert exchange(api, key.secret).access_expire_time.seconds == expire
    past = robots.CreateKeyRequest(parent=key.name.partition("/keys/")[0], key=Key(expire_time={"seconds": 1}))
    found = refused(api.service_accounts.CreateKey, past, metadata=admin.metadata)
    assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["key.expire_time"])


def test_an_account_has_only_so_many_keys_even_if_they_are_made_at_once(api: Api, admin: Account) -> None:
    robot = make(api, admin)
    made = [make_key(api, admin, robot.name) for _ in range(9)]
    request = robots.CreateKeyRequest(parent=robot.name)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(api.database_url) as connection, concurrent.futures.ThreadPoolExecutor(4) as pool:
        connection.execute("SELECT 1 FROM service_accounts WHERE id = %s FOR UPDATE", (robot.name.rpartition("/")[2],))
        create = api.service_accounts.CreateKey.with_call
        calls = [pool.submit(create, request, metadata=admin.metadata) for _ in range(4)]
        eventually(lambda: len(api.execute(waiting)) == len(calls))
        connection.commit()
        reasons = [refusal(cast("Any", error)).reason for call in calls if (error := call.exception(PATIENCE))]
    assert reasons == ["KEY_LIMIT_REACHED"] * 3
    api.service_accounts.RevokeKey(robots.RevokeKeyRequest(name=made[0].name), metadata=admin.metadata)
    make_key(api, admin, robot.name)


def test_use_is_noted_once_a_minute_and_so_is_the_use_of_a_key_that_ended(api: Api, admin: Account) -> None:
    robot = api.service_account()
    [key] = api.service_accounts.ListKeys(robots.ListKeysRequest(parent=robot.name), metadata=admin.metadata).keys
    assert key.HasField("last_use_time")
    exchange(api, robot.refresh_token)
    api.service_accounts.RevokeKey(robots.RevokeKeyRequest(name=key.name), metadata=admin.metadata)
    for _ in range(2):
        refusal_of(api, robot.refresh_token)
    assert [kind for kind, _, _ in events(api, key.name)] == ["key.exchanged", "key.revoked", "key.refused"]
    api.execute(
        "UPDATE service_account_keys SET last_refuse_time = now() - interval '61 s' WHERE id = %s",
        (key.name.rpartition("/")[2],),
    )
    refusal_of(api, robot.refresh_token)
    assert [kind for kind, _, _ in events(api, key.name)][-2:] == ["key.refused"] * 2
    [[context]] = api.execute("SELECT DISTINCT context ->> 'address' FROM events WHERE resource = %s", (key.name,))
    assert context == "127.0.0.1"


def test_a_wrong_secret_is_in_the_audit_and_nobodys(api: Api) -> None:
    robot = api.service_account()
    key = base64.urlsafe_b64decode(robot.refresh_token.removeprefix("taskhub_key_") + "==")
    wrong, _ = new_secret(uuid.UUID(bytes=key[:16]))
    for _ in range(2):  # once a minute
        refusal_of(api, wrong)
    told = api.execute(
        "SELECT actor, changes, context ->> 'address' FROM events WHERE owner_id = %s AND kind = 'key.refused'",
        (robot.id,),
    )
    assert told == [("anonymous", {"reason": [None, "secret_wrong"]}, "127.0.0.1")]
    assert exchange(api, robot.refresh_token).access_token


def test_a_service_is_no_user_but_administers_if_it_was_given_that(api: Api, alice: Account) -> None:
    root = api.service_account("admin")
    get = user_service_pb2.GetUserRequest
    assert refused(api.users.GetUser, get(name="users/me"), metadata=root.metadata).reason == "RESOURCE_NOT_FOUND"
    assert api.users.GetUser(get(name=alice.name), metadata=root.metadata).email == alice.email
    robot = api.service_account("tasks.read")
    assert refused(api.users.GetUser, get(name=alice.name), metadata=robot.metadata).reason == "RESOURCE_NOT_FOUND"


def test_a_deleted_account_is_shown_only_where_it_is_asked_for(api: Api, admin: Account) -> None:
    robot = make(api, admin)
    delete = robots.DeleteServiceAccountRequest(name=robot.name, etag=robot.etag)
    gone = api.service_accounts.DeleteServiceAccount(delete, metadata=admin.metadata)

    def listed(**arguments: Any) -> list[str]:
        request = robots.ListServiceAccountsRequest(page_size=1000, **arguments)
        answer = api.service_accounts.ListServiceAccounts(request, metadata=admin.metadata)
        return [account.name for account in answer.service_accounts]

    assert robot.name not in listed()
    assert robot.name in listed(show_deleted=True)
    get = robots.GetServiceAccountRequest(name=robot.name)
    assert api.service_accounts.GetServiceAccount(get, metadata=admin.metadata) == gone
    for call, request in (
        (api.service_accounts.DeleteServiceAccount, robots.DeleteServiceAccountRequest(name=robot.name)),
        (api.service_accounts.CreateKey, robots.CreateKeyRequest(parent=robot.name)),
        (
            api.service_accounts.UpdateServiceAccount,
            robots.UpdateServiceAccountRequest(
                service_account=service_account_pb2.ServiceAccount(name=robot.name, display_name="x")
            ),
        ),
    ):
        assert refused(call, request, metadata=admin.metadata).reason == "RESOURCE_NOT_FOUND"


def test_a_stale_etag_and_an_empty_name_change_nothing(api: Api, admin: Account) -> None:
    robot = make(api, admin)
    assert update(api, admin, robot.name, description="").etag != robot.etag
    stale = service_account_pb2.ServiceAccount(name=robot.name, display_name="x", etag=robot.etag)
    request = robots.UpdateServiceAccountRequest(service_account=stale)
    found = refused(api.service_accounts.UpdateServiceAccount, request, metadata=admin.metadata)
    assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    nameless = robots.UpdateServiceAccountRequest(
        service_account=service_account_pb2.ServiceAccount(name=robot.name), update_mask={"paths": ["*"]}
    )
    found = refused(api.service_accounts.UpdateServiceAccount, nameless, metadata=admin.metadata)
    assert found.fields == ["service_account.display_name"]


def test_keys_are_listed_newest_first_a_page_at_a_time(api: Api, admin: Account) -> None:
    robot = make(api, admin)
    made = [make_key(api, admin, robot.name).name for _ in range(3)]
    found: list[str] = []
    token = ""
    while not found or token:
        request = robots.ListKeysRequest(parent=robot.name, page_size=2, page_token=token)
        answer = api.service_accounts.ListKeys(request, metadata=admin.metadata)
        found += [key.name for key in answer.keys]
        token = answer.next_page_token
    assert found == made[::-1]


def test_a_text_that_postgresql_cannot_hold_is_refused(api: Api, admin: Account) -> None:
    account = service_account_pb2.ServiceAccount(name=make(api, admin).name, description="a\0b")
    request = robots.UpdateServiceAccountRequest(service_account=account)
    found = refused(api.service_accounts.UpdateServiceAccount, request, metadata=admin.metadata)
    assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["service_account.description"])
