"""The rules of rotation: what an operator does to the signing keys. Never commits.

A planned change is without an outage for everybody, those who verify offline included: a key is published long before
it signs, and stays published after it has signed for the last time, until the last of its tokens has expired and every
cache has let it go. A revocation is at once, and costs the tokens that the key has signed.
"""

from __future__ import annotations

from api_service.database import Connection
from api_service.keys import queries
from api_service.keys.ring import REFRESH_SECONDS, SecretKeyMismatchError, make_key, open_key
from shared.crypto import Secrets
from shared.events import OPERATOR, SIGNING_KEY_REVOKED, SIGNING_KEY_ROTATED, new_event

#: How long the published key set may be cached; GetJwks says so, and the gateway hands it on.
JWKS_CACHE_SECONDS = 300

#: Between publishing a key and signing with it. Twice the cache time: a verifier may keep for five minutes what a proxy
#: before it has kept for five.
PUBLISH_AHEAD_SECONDS = 2 * (JWKS_CACHE_SECONDS + REFRESH_SECONDS)


class KeyUnknownError(Exception):
    """There is no signing key with this id."""


async def rotate(connection: Connection, secrets: Secrets, token_seconds: int) -> str:
    """Publishes a key that takes over in some minutes; the older ones end with the last of their tokens."""
    await queries.lock_signing_keys(connection)
    await queries.delete_expired_signing_keys(connection)
    for row in await queries.signing_keys(connection):
        if open_key(secrets, row) is None:  # whoever holds another secret key would make one that nobody can use
            raise SecretKeyMismatchError
    new = await make_key(connection, secrets, signs_in=PUBLISH_AHEAD_SECONDS)
    stay = token_seconds + JWKS_CACHE_SECONDS + 2 * REFRESH_SECONDS
    await queries.expire_signing_keys(connection, before=new.kid, seconds=stay)
    await _note(connection, SIGNING_KEY_ROTATED, new.kid)
    return new.kid


async def rotate_if_older(connection: Connection, secrets: Secrets, token_seconds: int, age: float) -> str | None:
    """Rotates where the newest key was made so many seconds ago; returns the id of the new one, or None.

    Asks before it locks, and once more under the lock: many may ask, and one at a time makes a key.
    """
    if not await queries.all_older(connection, age):
        return None
    await queries.lock_signing_keys(connection)
    if not await queries.all_older(connection, age):
        return None
    return await rotate(connection, secrets, token_seconds)


async def revoke(connection: Connection, secrets: Secrets, kid: str) -> None:
    """Forgets a key whose private part somebody else may have. Raises KeyUnknownError.

    Every process refuses its tokens within two seconds, and sessions go on with their refresh tokens. If it signed, or
    was to sign, the next one signs in its place, and where there is none a new one does.
    """
    await queries.lock_signing_keys(connection)
    rows = await queries.signing_keys(connection)
    signing = [row for row in rows if row.signs_in <= 0][-1:]
    revoked = next((row for row in rows if row.kid == kid), None)
    if revoked is None:
        raise KeyUnknownError
    await queries.delete_signing_keys(connection, [kid])
    if revoked in signing or revoked.signs_in > 0:
        later = rows[rows.index(revoked) + 1 :]
        if later:
            await queries.sign_earlier(connection, later[0].kid, revoked.signs_in)
        else:
            await make_key(connection, secrets, signs_in=revoked.signs_in)
    await _note(connection, SIGNING_KEY_REVOKED, kid)


async def revoke_all(connection: Connection, secrets: Secrets) -> None:
    """Forgets every key and begins anew: also the way on after the secret key itself was changed."""
    await queries.lock_signing_keys(connection)
    kids = [row.kid for row in await queries.signing_keys(connection)]
    await queries.delete_signing_keys(connection, kids)
    await make_key(connection, secrets, signs_in=0)
    for kid in kids:
        await _note(connection, SIGNING_KEY_REVOKED, kid)


async def _note(connection: Connection, kind: str, kid: str) -> None:
    event = new_event(kind, f"signingKeys/{kid}", OPERATOR, owner_id=None, changes={})
    await queries.append_event(connection, event)
    await queries.tell(connection)
