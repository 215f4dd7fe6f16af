"""The attempts at a job. One that did not succeed is a row of `job_attempts`, written when it ended.

The one that runs, or that succeeded, is the job's own row: nearly all jobs succeed at once, and a row more for each was
a third of what a completion cost.
"""

from __future__ import annotations

#: All attempts, in the columns of `job_attempts`; a condition on `job_id` reaches the indexes behind.
ATTEMPTS = """
SELECT job_id, claim_token, attempt, state, worker, start_time, end_time, error FROM job_attempts
UNION ALL
SELECT id, claim_token, attempt, state, worker, start_time, end_time, NULL FROM jobs
WHERE state IN ('RUNNING', 'SUCCEEDED') AND worker IS NOT NULL
"""
