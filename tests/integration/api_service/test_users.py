"""Looking after accounts: one's own, and as an administrator everybody's."""

from __future__ import annotations

import concurrent.futures
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import psycopg
import pytest
from taskhub.v1 import auth_service_pb2, task_service_pb2, user_pb2, user_service_pb2

from api_service.accounts.service import AT_ONCE
from shared.crypto import Secrets
from tests.support.api import PASSWORD, SECRET, Account, Api, refused
from tests.support.servers import PATIENCE, Postgres, Processes, eventually

users = user_service_pb2
ME = "users/me"


@pytest.fixture(scope="module")
def lonely(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API where nobody administers but whom the test makes an administrator."""
    processes = Processes(tmp_path_factory.mktemp("lonely"))
    with postgres.clone() as url:
        api = Api(processes, url)
        yield api
        api.close()
        processes.stop()


def events(api: Api, resource: str) -> list[tuple[Any, ...]]:
    return api.execute("SELECT kind, actor, changes FROM events WHERE resource = %s ORDER BY id", (resource,))


def let_in(api: Api, account: Account) -> bool:
    try:
        api.users.GetUser(users.GetUserRequest(name=ME), metadata=account.metadata)
    except grpc.RpcError:
        return False
    return True


def kept_out(api: Api, account: Account) -> bool:
    """Whether every process has heard; one connection is answered by one of them."""
    channels = [api.connect() for _ in range(6)]
    try:
        calls: list[Any] = [channel.unary_unary("/taskhub.v1.UserService/GetUser") for channel in channels]
        request = users.GetUserRequest(name=ME).SerializeToString()
        found = [refused(call, request, metadata=account.metadata).reason for call in calls]
    except AssertionError:
        return False
    finally:
        for channel in channels:
            channel.close()
    return set(found) == {"TOKEN_INVALID"}


def login(api: Api, account: Account, password: str = PASSWORD) -> Any:
    return refused(api.auth.Login, auth_service_pb2.LoginRequest(email=account.email, password=password))


def test_a_new_name_is_trimmed_and_changes_the_etag(api: Api, alice: Account) -> None:
    before = api.users.GetUser(users.GetUserRequest(name=ME), metadata=alice.metadata)
    change = user_pb2.User(name=ME, display_name=" Ada ", etag=before.etag)
    after = api.users.UpdateUser(users.UpdateUserRequest(user=change), metadata=alice.metadata)
    assert (after.name, after.display_name, after.state) == (alice.name, "Ada", user_pb2.User.ACTIVE)
    assert after.etag != before.etag
    stale = refused(api.users.UpdateUser, users.UpdateUserRequest(user=change), metadata=alice.metadata)
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


def test_the_same_name_again_leaves_no_event_and_a_cleared_one_is_absent(api: Api, alice: Account) -> None:
    named = users.UpdateUserRequest(user=user_pb2.User(name=ME, display_name="Ada"))
    first, second = (api.users.UpdateUser(named, metadata=alice.metadata) for _ in range(2))
    assert first == second
    cleared = users.UpdateUserRequest(user=user_pb2.User(name=ME), update_mask={"paths": ["*"]})
    assert not api.users.UpdateUser(cleared, metadata=alice.metadata).HasField("display_name")
    assert [kind for kind, _, _ in events(api, alice.name)] == ["user.updated"] * 2


def test_the_log_knows_who_and_from_where_but_no_name(api: Api, alice: Account, admin: Account) -> None:
    change = user_pb2.User(name=alice.name, display_name="Ada")
    api.users.UpdateUser(users.UpdateUserRequest(user=change), metadata=admin.metadata)
    assert events(api, alice.name) == [("user.updated", admin.name, {"display_name": [None, None]})]
    [[context]] = api.execute("SELECT context FROM events WHERE resource = %s", (alice.name,))
    assert context["address"] == "127.0.0.1"
    assert "grpc-python" in context["user_agent"]


@pytest.mark.parametrize("paths", [["email"], ["role"], ["nothing"], ["display_name", "*"], []])
def test_a_mask_of_anything_else_is_refused(api: Api, alice: Account, paths: list[str]) -> None:
    request = users.UpdateUserRequest(user=user_pb2.User(name=ME, email="b@example.com"), update_mask={"paths": paths})
    found = refused(api.users.UpdateUser, request, metadata=alice.metadata)
    assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["update_mask"])


def test_a_deleted_account_is_nobodys_any_more(api: Api, alice: Account, admin: Account) -> None:
    api.users.UpdateUser(
        users.UpdateUserRequest(user=user_pb2.User(name=ME, display_name="Ada Lovelace")),
        metadata=alice.with_key("named"),
    )
    task = api.task(alice)
    api.execute(
        "INSERT INTO registrations (id, email, password_hash, expire_time) VALUES (%s, %s, 'x', now() + '1 hour')",
        (uuid.uuid4(), alice.email),
    )
    gone = api.users.DeleteUser(users.DeleteUserRequest(name=ME), metadata=alice.with_key("deleted"))
    assert (gone.state, gone.email, gone.HasField("display_name")) == (user_pb2.User.DELETED, "", False)
    assert gone.purge_time.ToDatetime() > gone.delete_time.ToDatetime()

    assert login(api, alice).reason == "CREDENTIALS_INVALID"
    refresh = auth_service_pb2.RefreshTokenRequest(refresh_token=alice.refresh_token)
    assert refused(api.auth.RefreshToken, refresh).reason == "REFRESH_TOKEN_INVALID"
    eventually(lambda: kept_out(api, alice))
    shown = api.tasks.GetTask(task_service_pb2.GetTaskRequest(name=task.name), metadata=admin.metadata)
    assert shown.purge_time == gone.purge_time
    for table in ("users", "registrations", "sessions", "idempotency_records", "events", "jobs"):
        rows = api.execute(f"SELECT row_to_json(t)::text FROM {table} t")
        for secret in (alice.email, "Lovelace"):
            assert not [row for (row,) in rows if secret in row or secret.encode().hex() in row], table
    assert events(api, task.name)[-1][0] == "task.deleted"


def test_what_a_deleted_account_was_to_do_is_nobodys(api: Api, alice: Account, bob: Account) -> None:
    task = api.task(bob, assignee=alice.name)
    api.users.DeleteUser(users.DeleteUserRequest(name=ME), metadata=alice.metadata)
    shown = api.tasks.GetTask(task_service_pb2.GetTaskRequest(name=task.name), metadata=bob.metadata)
    assert (shown.assignee, shown.HasField("delete_time")) == ("", False)
    assert shown.etag != task.etag
    assert events(api, task.name)[-1] == ("task.updated", alice.name, {"assignee": [alice.name, None]})


def test_the_address_of_a_deleted_account_can_be_registered_again(api: Api, alice: Account) -> None:
    api.users.DeleteUser(users.DeleteUserRequest(name=alice.name), metadata=alice.metadata)
    api.auth.Register(auth_service_pb2.RegisterRequest(email=alice.email, password=PASSWORD))
    [[id_]] = api.execute("SELECT id FROM registrations WHERE email = %s", (alice.email,))
    token = Secrets(SECRET).link_token("verify-email", id_)
    again = api.auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=token)).user
    assert again != alice.name
    assert api.auth.Login(auth_service_pb2.LoginRequest(email=alice.email, password=PASSWORD)).user == again


def test_deleting_twice_is_not_found_but_the_same_call_again_is_replayed(
    api: Api, alice: Account, admin: Account
) -> None:
    request = users.DeleteUserRequest(name=alice.name)
    first, second = (api.users.DeleteUser(request, metadata=admin.with_key("x")) for _ in range(2))
    assert first == second
    for call in (api.users.DeleteUser, api.users.DisableUser, api.users.EnableUser):
        found = refused(call, users.DeleteUserRequest(name=alice.name), metadata=admin.metadata)
        assert found.reason == "RESOURCE_NOT_FOUND"
    assert api.users.GetUser(users.GetUserRequest(name=alice.name), metadata=admin.metadata) == first


def test_a_disabled_account_is_kept_out_until_it_is_enabled(api: Api, alice: Account, admin: Account) -> None:
    wrong = login(api, alice, "not the password")
    disabled = api.users.DisableUser(users.DisableUserRequest(name=alice.name), metadata=admin.metadata)
    assert disabled.state == user_pb2.User.DISABLED
    found = login(api, alice)
    assert (found.code, found.reason, found.message) == (wrong.code, wrong.reason, wrong.message)
    refresh = auth_service_pb2.RefreshTokenRequest(refresh_token=alice.refresh_token)
    assert refused(api.auth.RefreshToken, refresh).reason == "REFRESH_TOKEN_INVALID"
    eventually(lambda: kept_out(api, alice))
    again = api.users.DisableUser(users.DisableUserRequest(name=alice.name), metadata=admin.metadata)
    assert again == disabled
    enabled = api.users.EnableUser(users.EnableUserRequest(name=alice.name), metadata=admin.metadata)
    assert (enabled.state, enabled.HasField("disable_time")) == (user_pb2.User.ACTIVE, False)
    assert let_in(api, api.sign_in(alice.id, alice.email))
    kinds = [kind for kind, *_ in events(api, alice.name) if kind != "session.refused"]
    assert kinds[-2:] == ["user.disabled", "user.enabled"]


def test_a_sign_in_that_races_with_disabling_opens_no_session(api: Api, alice: Account) -> None:
    with psycopg.connect(api.database_url) as connection, concurrent.futures.ThreadPoolExecutor() as pool:
        connection.execute("UPDATE users SET disable_time = now() WHERE id = %s", (alice.id,))
        signing_in = pool.submit(login, api, alice)  # its first look at the account finds it as it was
        eventually(lambda: api.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'") != [])
        connection.execute("UPDATE sessions SET revoke_time = now() WHERE user_id = %s", (alice.id,))
        connection.commit()
        assert signing_in.result(PATIENCE).reason == "CREDENTIALS_INVALID"
    assert api.execute("SELECT 1 FROM sessions WHERE user_id = %s AND revoke_time IS NULL", (alice.id,)) == []


def test_a_promotion_comes_with_the_next_refresh_and_a_demotion_ends_the_sessions(
    api: Api, alice: Account, admin: Account
) -> None:
    promote = users.SetUserRoleRequest(name=alice.name, role="ADMIN")
    assert api.users.SetUserRole(promote, metadata=admin.metadata).role == user_pb2.User.ADMIN
    refresh = auth_service_pb2.RefreshTokenRequest(refresh_token=alice.refresh_token)
    access = api.auth.RefreshToken(refresh).tokens.access_token
    promoted = Account(alice.id, alice.email, (("authorization", f"Bearer {access}"),), "")
    assert api.users.ListUsers(users.ListUsersRequest(page_size=1), metadata=promoted.metadata).users
    demote = users.SetUserRoleRequest(name=alice.name, role="MEMBER")
    api.users.SetUserRole(demote, metadata=admin.metadata)
    eventually(lambda: kept_out(api, promoted))
    assert [changes for _, _, changes in events(api, alice.name)][-2:] == [
        {"role": ["MEMBER", "ADMIN"]},
        {"role": ["ADMIN", "MEMBER"]},
    ]


def test_the_last_administrator_stays(lonely: Api) -> None:
    last, disabled = lonely.account("ADMIN"), lonely.account("ADMIN")
    lonely.users.DisableUser(users.DisableUserRequest(name=disabled.name), metadata=last.metadata)
    for call, request in (
        (lonely.users.SetUserRole, users.SetUserRoleRequest(name=last.name, role="MEMBER")),
        (lonely.users.DisableUser, users.DisableUserRequest(name=last.name)),
        (lonely.users.DeleteUser, users.DeleteUserRequest(name=last.name)),
    ):
        found = refused(call, request, metadata=last.metadata)
        assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LAST_ADMIN")
    lonely.execute("UPDATE users SET role = 'MEMBER', version = version + 1")


def test_two_administrators_who_take_each_other_away_leave_one(lonely: Api) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for _ in range(10):
            pair = [lonely.account("ADMIN") for _ in range(2)]
            calls = [
                pool.submit(
                    lonely.users.SetUserRole.with_call,
                    users.SetUserRoleRequest(name=victim.name, role="MEMBER"),
                    metadata=caller.metadata,
                )
                for caller, victim in (pair, pair[::-1])
            ]
            outcomes = [call.exception(10) for call in calls]
            assert [outcome is None for outcome in outcomes].count(True) == 1
            assert lonely.execute("UPDATE users SET role = 'MEMBER' WHERE role = 'ADMIN' RETURNING 1") == [(1,)]


def test_what_members_do_to_their_accounts_holds_no_administrator_up(api: Api, alice: Account, admin: Account) -> None:
    rename = users.UpdateUserRequest(user=user_pb2.User(name=ME, display_name="Alice"))
    with psycopg.connect(api.database_url) as connection:
        connection.execute("SELECT FROM users WHERE id = %s FOR UPDATE", (admin.id,))
        assert api.users.UpdateUser(rename, metadata=alice.metadata).display_name == "Alice"
        api.users.DeleteUser(users.DeleteUserRequest(name=ME), metadata=alice.metadata)


def test_accounts_are_listed_newest_first_a_page_at_a_time(lonely: Api) -> None:
    admin = lonely.account("ADMIN")
    for _ in range(3):
        lonely.account()
    everybody = sorted((str(id_) for (id_,) in lonely.execute("SELECT id FROM users")), reverse=True)
    found: list[str] = []
    token = ""
    while not found or token:
        request = users.ListUsersRequest(page_size=2, page_token=token)
        answer = lonely.users.ListUsers(request, metadata=admin.metadata)
        found += [user.name.removeprefix("users/") for user in answer.users]
        token = answer.next_page_token
    assert found == everybody


def test_accounts_are_listed_by_address_and_state(api: Api, alice: Account, bob: Account, admin: Account) -> None:
    def listed(**arguments: Any) -> list[str]:
        request = users.ListUsersRequest(page_size=1000, **arguments)
        return [user.name for user in api.users.ListUsers(request, metadata=admin.metadata).users]

    api.users.DeleteUser(users.DeleteUserRequest(name=alice.name), metadata=admin.metadata)
    api.users.DisableUser(users.DisableUserRequest(name=bob.name), metadata=admin.metadata)
    assert listed(email=bob.email.upper()) == [bob.name]
    assert bob.name in listed(state="DISABLED")
    assert bob.name not in listed(state="ACTIVE")
    assert alice.name not in listed()
    assert alice.name in listed(show_deleted=True)
    assert alice.name in listed(show_deleted=True, state="DELETED")
    assert listed(state="DELETED") == []


def test_the_owner_of_very_many_tasks_waits_for_no_more_than_some(api: Api, alice: Account) -> None:
    api.execute(
        "INSERT INTO tasks (id, owner_id, title) SELECT gen_random_uuid(), %s, 'x' FROM generate_series(1, %s)",
        (alice.id, AT_ONCE + 20),
    )
    api.users.DeleteUser(user_service_pb2.DeleteUserRequest(name="users/me"), metadata=alice.metadata)
    left = "SELECT count(*) FROM tasks WHERE owner_id = %s AND delete_time IS NULL"
    assert api.execute(left, (alice.id,)) == [(20,)]
    assert api.execute("SELECT count(*) FROM events WHERE owner_id = %s AND kind = 'task.deleted'", (alice.id,)) == [
        (AT_ONCE,)
    ]
    # The rest is housekeeping's, which does not wait for its hour.
    assert api.execute("SELECT 1 FROM jobs WHERE args ->> 'account' = %s AND schedule_time <= now()", (str(alice.id),))
