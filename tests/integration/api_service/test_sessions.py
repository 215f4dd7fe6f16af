"""Sessions: refreshed, listed, ended."""

from __future__ import annotations

import grpc
import pytest
from taskhub.v1 import auth_service_pb2, user_service_pb2

from tests.support.api import Account, Api, refused
from tests.support.servers import eventually

ME = user_service_pb2.GetUserRequest(name="users/me")


def refresh(token: str) -> auth_service_pb2.RefreshTokenRequest:
    return auth_service_pb2.RefreshTokenRequest(refresh_token=token)


def sessions(api: Api, account: Account, **fields: object) -> auth_service_pb2.ListSessionsResponse:
    request = auth_service_pb2.ListSessionsRequest(**fields)  # type: ignore[arg-type]
    answer = api.auth.ListSessions(request, metadata=account.metadata)
    assert isinstance(answer, auth_service_pb2.ListSessionsResponse)
    return answer


def reasons(api: Api, account: Account) -> list[tuple[str, str]]:
    rows = api.execute(
        "SELECT actor, changes->'reason'->>1 FROM events WHERE owner_id = %s AND kind = 'session.revoked' ORDER BY id",
        (account.id,),
    )
    return [(row[0], row[1]) for row in rows]


def use_time_ago(api: Api, account: Account, seconds: int) -> None:
    api.execute(
        "UPDATE refresh_tokens SET use_time = use_time - make_interval(secs => %s) "
        "WHERE use_time IS NOT NULL AND session_id IN (SELECT id FROM sessions WHERE user_id = %s)",
        (seconds, account.id),
    )


def test_two_refreshes_that_race_go_on_as_one_session(api: Api, alice: Account) -> None:
    first = api.auth.RefreshToken(refresh(alice.refresh_token)).tokens
    second = api.auth.RefreshToken(refresh(alice.refresh_token)).tokens
    assert first.refresh_token == second.refresh_token
    assert api.auth.RefreshToken(refresh(first.refresh_token)).tokens.access_token
    assert len(sessions(api, alice).sessions) == 1


def test_a_refresh_token_that_comes_back_late_ends_the_whole_family(api: Api, alice: Account) -> None:
    """X4."""
    tokens = api.auth.RefreshToken(refresh(alice.refresh_token)).tokens
    newest = api.auth.RefreshToken(refresh(tokens.refresh_token)).tokens
    use_time_ago(api, alice, 60)
    for token in (alice.refresh_token, tokens.refresh_token, newest.refresh_token):
        found = refused(api.auth.RefreshToken, refresh(token))
        assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")
    assert reasons(api, alice) == [("anonymous", "refresh_token_reused")]
    bearer = [("authorization", f"Bearer {newest.access_token}")]
    eventually(lambda: refused(api.users.GetUser, ME, metadata=bearer).reason == "TOKEN_INVALID")


def test_who_steals_a_token_within_the_grace_time_is_found_out_at_its_next_use(api: Api, alice: Account) -> None:
    owners = api.auth.RefreshToken(refresh(alice.refresh_token)).tokens
    thiefs = api.auth.RefreshToken(refresh(alice.refresh_token)).tokens
    api.auth.RefreshToken(refresh(owners.refresh_token))
    use_time_ago(api, alice, 60)
    assert refused(api.auth.RefreshToken, refresh(thiefs.refresh_token)).reason == "REFRESH_TOKEN_INVALID"
    assert reasons(api, alice) == [("anonymous", "refresh_token_reused")]


def test_no_refresh_token_is_stored(api: Api, alice: Account) -> None:
    successor = api.auth.RefreshToken(refresh(alice.refresh_token)).tokens.refresh_token
    stored = str(api.execute("SELECT refresh_tokens::text FROM refresh_tokens"))
    assert alice.refresh_token not in stored
    assert successor not in stored


@pytest.mark.parametrize("column", ["idle_expire_time", "expire_time"])
def test_a_session_ends_when_it_is_idle_and_when_it_is_old(api: Api, alice: Account, column: str) -> None:
    api.execute(
        f"UPDATE sessions SET create_time = now() - '91 days'::interval, {column} = now() - '1 s'::interval "
        "WHERE user_id = %s",
        (alice.id,),
    )
    assert refused(api.auth.RefreshToken, refresh(alice.refresh_token)).reason == "REFRESH_TOKEN_INVALID"
    assert len(sessions(api, alice).sessions) == 0


def test_a_refresh_extends_the_idle_life_and_never_the_absolute_one(api: Api, alice: Account) -> None:
    api.execute(
        "UPDATE sessions SET idle_expire_time = now() + '1 hour'::interval, expire_time = now() + '2 hours'::interval, "
        "use_time = now() - '1 hour'::interval WHERE user_id = %s",
        (alice.id,),
    )
    before = sessions(api, alice).sessions[0]
    answer = api.auth.RefreshToken(refresh(alice.refresh_token)).tokens
    after = sessions(api, alice).sessions[0]
    assert after.expire_time.seconds - before.expire_time.seconds == pytest.approx(3600, abs=1)
    assert answer.refresh_expire_time == after.expire_time
    assert after.last_use_time.seconds - before.last_use_time.seconds == pytest.approx(3600, abs=60)


def test_an_access_token_does_not_outlive_its_session(api: Api, alice: Account) -> None:
    """What is over is ended by nothing later: a change of the password would have missed it."""
    api.execute("UPDATE sessions SET expire_time = now() + '1 minute'::interval WHERE user_id = %s", (alice.id,))
    tokens = api.auth.RefreshToken(refresh(alice.refresh_token)).tokens
    assert tokens.access_expire_time.seconds == tokens.refresh_expire_time.seconds


def test_the_owner_sees_where_each_session_comes_from(api: Api, alice: Account, bob: Account) -> None:
    api.sign_in(alice.id, alice.email)
    found = list(sessions(api, alice).sessions)
    assert [session.current for session in found] == [False, True]
    assert {session.user for session in found} == {alice.name}
    assert {session.address for session in found} == {"127.0.0.1"}
    assert all(session.user_agent.startswith("grpc-python") for session in found)
    assert not {session.name for session in found} & {session.name for session in sessions(api, bob).sessions}


def test_pages_of_sessions_show_each_once(api: Api, alice: Account) -> None:
    for _ in range(4):
        api.sign_in(alice.id, alice.email)
    names: list[str] = []
    token = ""
    while True:
        page = sessions(api, alice, page_size=2, page_token=token)
        names += [session.name for session in page.sessions]
        token = page.next_page_token
        if not token:
            break
    assert len(names) == len(set(names)) == 5
    assert names == sorted(names, reverse=True)


def test_a_revoked_session_is_over_and_the_others_are_not(api: Api, alice: Account) -> None:
    other = api.sign_in(alice.id, alice.email)
    [name] = [session.name for session in sessions(api, alice).sessions if not session.current]
    for _ in range(2):  # one that is over stays so
        api.auth.RevokeSession(auth_service_pb2.RevokeSessionRequest(name=name), metadata=alice.metadata)
    assert refused(api.auth.RefreshToken, refresh(other.refresh_token)).reason == "REFRESH_TOKEN_INVALID"
    eventually(lambda: refused(api.users.GetUser, ME, metadata=other.metadata).reason == "TOKEN_INVALID")
    assert api.auth.RefreshToken(refresh(alice.refresh_token)).tokens.access_token
    assert reasons(api, alice) == [(alice.name, "revoked")]


@pytest.mark.parametrize("keep_current", [True, False])
def test_all_sessions_end_or_all_others(api: Api, alice: Account, bob: Account, *, keep_current: bool) -> None:
    others = [api.sign_in(alice.id, alice.email) for _ in range(2)]
    request = auth_service_pb2.RevokeAllSessionsRequest(keep_current=keep_current)
    answer = api.auth.RevokeAllSessions(request, metadata=alice.metadata)
    assert answer.revoked_count == 2 + (not keep_current)
    for other in others:
        assert refused(api.auth.RefreshToken, refresh(other.refresh_token)).reason == "REFRESH_TOKEN_INVALID"
    if keep_current:
        assert [session.current for session in sessions(api, alice).sessions] == [True]
    else:
        assert refused(api.auth.RefreshToken, refresh(alice.refresh_token)).reason == "REFRESH_TOKEN_INVALID"
    assert api.auth.RefreshToken(refresh(bob.refresh_token)).tokens.access_token
