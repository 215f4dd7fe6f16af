"""The schema refuses what the rules refuse: for each constraint a row that breaks it and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

U, S, T, J, V, A = (f"00000000-0000-7000-8000-00000000000{n}" for n in range(1, 7))
MISSING = "00000000-0000-7000-8000-0000000000ff"
H = "'\\x" + "00" * 32 + "'"

ROWS = f"""
INSERT INTO users (id, email, password_hash) VALUES ('{U}', 'a@example.com', 'x');
INSERT INTO users (id, email, password_hash) VALUES ('{V}', 'v@example.com', 'x');
INSERT INTO service_accounts (id, display_name, scopes) VALUES ('{A}', 'Robot', '{{}}');
INSERT INTO service_account_keys (id, service_account_id, secret_hash) VALUES ('{U}', '{A}', {H});
INSERT INTO sessions (id, user_id, expire_time) VALUES ('{S}', '{U}', now() + interval '1 day');
INSERT INTO tasks (id, owner_id, title) VALUES ('{T}', '{U}', 'x');
INSERT INTO jobs (id, kind, queue, max_attempts) VALUES ('{J}', 'email', 'email', 3);
INSERT INTO job_attempts (job_id, claim_token, attempt, worker) VALUES ('{J}', 1, 1, 'w');
INSERT INTO job_steps (job_id, name) VALUES ('{J}', 'charge');
INSERT INTO job_files (id, job_id, role, name, content_type) VALUES ('{T}', '{J}', 'RESULT', 'x.csv', 'text/csv');
INSERT INTO job_file_chunks (file_id, start, data) VALUES ('{T}', 0, 'x');
INSERT INTO import_keys (owner_id, key, task_id) VALUES ('{U}', 'k', '{T}');
INSERT INTO events (kind, resource, actor, position) VALUES ('task.created', 'tasks/1', 'users/1', 7);
INSERT INTO idempotency_records (principal, method, key, fingerprint, expire_time)
    VALUES ('p', 'm', 'k', {H}, now() + interval '2 days');
INSERT INTO signing_keys (kid, public_key, sealed_private_key, sign_from_time) VALUES ('1', {H}, '', now());
INSERT INTO refresh_tokens (token_hash, session_id, expire_time) VALUES ({H}, '{S}', now());
INSERT INTO registrations (id, email, password_hash, expire_time)
    VALUES ('{U}', 'a@example.com', 'x', now() + interval '1 day');
INSERT INTO links (id, purpose, user_id, expire_time) VALUES ('{U}', 'reset-password', '{U}', now() + interval '1 day');
INSERT INTO lockouts (subject, failures) VALUES ({H}, 1);
INSERT INTO devices (user_id, fingerprint) VALUES ('{U}', {H});
"""

#: By constraint, a statement that breaks it.
BROKEN: dict[str, str] = {
    "principals_kind_check": "UPDATE principals SET kind = 'robots'",
    "principals_id_key": f"""
        SET CONSTRAINTS ALL IMMEDIATE;
        ALTER TABLE principals DROP CONSTRAINT principals_pkey CASCADE;
        INSERT INTO principals (id, kind) VALUES ('{V}', 'users')
    """,
    "users_id_fkey": f"SET CONSTRAINTS ALL IMMEDIATE; UPDATE users SET id = '{MISSING}' WHERE id = '{V}'",
    "users_email_check": "UPDATE users SET email = 'A@example.com'",
    "users_display_name_check": "UPDATE users SET display_name = repeat('x', 101)",
    "users_role_check": "UPDATE users SET role = 'ROOT'",
    "users_version_check": "UPDATE users SET version = 0",
    "users_delete_time_check": "UPDATE users SET delete_time = now(), purge_time = now(), email = NULL",
    "users_purge_time_check": "UPDATE users SET purge_time = now()",
    "users_email_key": f"INSERT INTO users (id, email, password_hash) VALUES ('{J}', 'a@example.com', 'x')",
    "users_password_version_check": "UPDATE users SET password_version = 0",
    "registrations_address_check": "UPDATE registrations SET address = repeat('x', 46)",
    "registrations_user_agent_check": "UPDATE registrations SET user_agent = repeat('x', 257)",
    "sessions_address_check": "UPDATE sessions SET address = repeat('x', 46)",
    "sessions_user_agent_check": "UPDATE sessions SET user_agent = repeat('x', 257)",
    "links_address_check": "UPDATE links SET address = repeat('x', 46)",
    "links_user_agent_check": "UPDATE links SET user_agent = repeat('x', 257)",
    "links_purpose_check": "UPDATE links SET purpose = 'verify-email'",
    "links_target_check": "UPDATE links SET purpose = 'change-email'",
    "links_expire_time_check": "UPDATE links SET expire_time = create_time",
    "links_user_id_fkey": f"UPDATE links SET user_id = '{MISSING}'",
    "lockouts_subject_check": "UPDATE lockouts SET subject = 'short'",
    "lockouts_failures_check": "UPDATE lockouts SET failures = 0",
    "devices_fingerprint_check": "UPDATE devices SET fingerprint = 'short'",
    "devices_user_id_fkey": f"UPDATE devices SET user_id = '{MISSING}'",
    "service_accounts_id_fkey": f"SET CONSTRAINTS ALL IMMEDIATE; DELETE FROM service_account_keys;"
    f"UPDATE service_accounts SET id = '{MISSING}'",
    "service_accounts_display_name_check": "UPDATE service_accounts SET display_name = ''",
    "service_accounts_description_check": "UPDATE service_accounts SET description = repeat('x', 1001)",
    "service_accounts_scopes_check": "UPDATE service_accounts SET scopes = array_fill('x'::text, ARRAY[33])",
    "service_accounts_token_generation_check": "UPDATE service_accounts SET token_generation = -1",
    "service_accounts_version_check": "UPDATE service_accounts SET version = 0",
    "service_accounts_purge_time_check": "UPDATE service_accounts SET delete_time = now()",
    "service_account_keys_service_account_id_fkey": f"UPDATE service_account_keys SET service_account_id = '{MISSING}'",
    "service_account_keys_display_name_check": "UPDATE service_account_keys SET display_name = repeat('x', 101)",
    "service_account_keys_secret_hash_check": "UPDATE service_account_keys SET secret_hash = 'short'",
    "service_account_keys_expire_time_check": "UPDATE service_account_keys SET expire_time = create_time",
    "registrations_email_check": "UPDATE registrations SET email = 'A@example.com'",
    "registrations_display_name_check": "UPDATE registrations SET display_name = repeat('x', 101)",
    "registrations_expire_time_check": "UPDATE registrations SET expire_time = create_time",
    "sessions_expire_time_check": "UPDATE sessions SET expire_time = create_time",
    "sessions_user_id_fkey": f"UPDATE sessions SET user_id = '{MISSING}'",
    "refresh_tokens_token_hash_check": "UPDATE refresh_tokens SET token_hash = 'short'",
    "refresh_tokens_session_id_fkey": f"UPDATE refresh_tokens SET session_id = '{MISSING}'",
    "signing_keys_public_key_check": "UPDATE signing_keys SET public_key = 'short'",
    "idempotency_records_key_check": "UPDATE idempotency_records SET key = repeat('x', 256)",
    "idempotency_records_fingerprint_check": "UPDATE idempotency_records SET fingerprint = 'short'",
    "idempotency_records_expire_time_check": "UPDATE idempotency_records SET expire_time = create_time",
    "tasks_owner_id_fkey": "UPDATE tasks SET owner_kind = 'serviceAccounts'",
    "tasks_title_check": "UPDATE tasks SET title = ''",
    "tasks_description_check": "UPDATE tasks SET description = repeat('x', 10001)",
    "tasks_state_check": "UPDATE tasks SET state = 'LOST'",
    "tasks_priority_check": "UPDATE tasks SET priority = 5",
    "tasks_labels_check": "UPDATE tasks SET labels = '[]'",
    "tasks_version_check": "UPDATE tasks SET version = 0",
    "tasks_complete_time_check": "UPDATE tasks SET complete_time = now()",
    "tasks_purge_time_check": "UPDATE tasks SET delete_time = now()",
    "tasks_assignee_check": f"UPDATE tasks SET assignee_id = '{U}'",
    "tasks_assignee_id_fkey": f"UPDATE tasks SET assignee_id = '{U}', assignee_kind = 'serviceAccounts'",
    "tasks_parent_id_check": "UPDATE tasks SET parent_id = id",
    "tasks_parent_id_fkey": f"UPDATE tasks SET parent_id = '{MISSING}'",
    "event_counter_purged_check": "UPDATE event_counter SET purged = position + 1",
    "events_kind_check": "UPDATE events SET kind = 'Task Created'",
    "events_context_check": "UPDATE events SET context = '[]'",
    "events_subject_check": "UPDATE events SET subject = '[]'",
    "events_position_check": "UPDATE events SET position = 0",
    "events_position_key": "INSERT INTO events (kind, resource, actor, position) VALUES ('a.b', 'x', 'y', 7)",
    "event_counter_only_row_check": "INSERT INTO event_counter (only_row, position) VALUES (false, 1)",
    "jobs_kind_check": "UPDATE jobs SET kind = 'E Mail'",
    "jobs_queue_check": "UPDATE jobs SET queue = ''",
    "jobs_args_check": "UPDATE jobs SET args = '[]'",
    "jobs_priority_check": "UPDATE jobs SET priority = 101",
    "jobs_state_check": "UPDATE jobs SET state = 'LOST'",
    "jobs_max_attempts_check": "UPDATE jobs SET max_attempts = 101",
    "jobs_attempt_check": "UPDATE jobs SET attempt = 4",
    "jobs_lease_expire_time_check": "UPDATE jobs SET state = 'RUNNING'",
    "jobs_end_time_check": "UPDATE jobs SET end_time = now()",
    "jobs_owner_id_fkey": f"UPDATE jobs SET owner_id = '{U}', owner_kind = 'serviceAccounts'",
    "jobs_task_id_fkey": f"UPDATE jobs SET task_id = '{MISSING}'",
    "jobs_progress_fraction_check": "UPDATE jobs SET progress_fraction = 1.1",
    "jobs_progress_note_check": "UPDATE jobs SET progress_note = repeat('x', 201)",
    "job_steps_name_check": "UPDATE job_steps SET name = ''",
    "job_steps_job_id_fkey": f"UPDATE job_steps SET job_id = '{MISSING}'",
    "job_files_role_check": "UPDATE job_files SET role = 'DRAFT'",
    "job_files_name_check": "UPDATE job_files SET name = ''",
    "job_files_content_type_check": "UPDATE job_files SET content_type = ''",
    "job_files_size_check": f"UPDATE job_files SET size = -1, sha256 = {H}",
    "job_files_sha256_check": "UPDATE job_files SET size = 1, sha256 = 'short'",
    "job_files_complete_check": "UPDATE job_files SET size = 1",
    "job_files_job_id_check": "UPDATE job_files SET job_id = NULL",
    "job_files_job_id_fkey": f"UPDATE job_files SET job_id = '{MISSING}'",
    "job_files_job_id_key": "INSERT INTO job_files (id, job_id, role, name, content_type) "
    f"VALUES ('{MISSING}', '{J}', 'RESULT', 'y.csv', 'text/csv')",
    "job_file_chunks_start_check": "UPDATE job_file_chunks SET start = -1",
    "job_file_chunks_data_check": "UPDATE job_file_chunks SET data = ''",
    "job_file_chunks_file_id_fkey": f"UPDATE job_file_chunks SET file_id = '{MISSING}'",
    "import_keys_key_check": "UPDATE import_keys SET key = ''",
    "import_keys_task_id_fkey": f"UPDATE import_keys SET task_id = '{MISSING}'",
    "job_attempts_job_id_fkey": f"UPDATE job_attempts SET job_id = '{MISSING}'",
    "job_attempts_attempt_check": "UPDATE job_attempts SET attempt = 0",
    "job_attempts_state_check": "UPDATE job_attempts SET state = 'GONE', end_time = now()",
    "job_attempts_end_time_check": "UPDATE job_attempts SET end_time = now()",
}


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url) as opened:
        opened.execute(ROWS.encode())
        yield opened
        opened.rollback()


def test_every_constraint_is_tried(connection: psycopg.Connection[Any]) -> None:
    rows = connection.execute(
        "SELECT conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid "
        "WHERE contype IN ('c', 'f', 'u') AND relnamespace = 'public'::regnamespace"
    ).fetchall()
    assert {row[0] for row in rows} == set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_a_row_that_breaks_it_is_refused_by_name(connection: psycopg.Connection[Any], name: str) -> None:
    with pytest.raises(psycopg.IntegrityError) as refused:
        connection.execute(BROKEN[name].encode())
    assert refused.value.diag.constraint_name == name
