"""The idempotency record, in SQL: what both services need to claim a key, store an answer and read it again."""

from __future__ import annotations

#: How long a record is kept. The contract promises at least 24 hours.
RETENTION = "48 hours"

#: Claims a key: one row if it was free, none if another call has it. A call that holds it in a transaction still open
#: is waited for on the unique index, up to the session's `lock_timeout`.
CLAIM = f"""
INSERT INTO idempotency_records (principal, method, key, fingerprint, response, expire_time)
VALUES (%(idem_principal)s, %(idem_method)s, %(idem_key)s, %(idem_fingerprint)s, %(idem_response)s,
        now() + interval '{RETENTION}')
ON CONFLICT (principal, method, key) DO UPDATE
    SET fingerprint = EXCLUDED.fingerprint, response = EXCLUDED.response,
        create_time = EXCLUDED.create_time, expire_time = EXCLUDED.expire_time
    WHERE idempotency_records.expire_time <= now()
RETURNING true AS claimed
"""

STORE = """
UPDATE idempotency_records SET response = %(idem_response)s
WHERE principal = %(idem_principal)s AND method = %(idem_method)s AND key = %(idem_key)s
"""

READ = """
SELECT fingerprint, response FROM idempotency_records
WHERE principal = %(idem_principal)s AND method = %(idem_method)s AND key = %(idem_key)s AND expire_time > now()
"""
