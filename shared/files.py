"""Files of jobs, in SQL: what an import reads and what an export leaves behind, in chunks beside the job.

A chunk is found by the position of its first byte, so that reading can begin anywhere. A file is complete once it has
its size and digest, and is not shown before.
"""

from __future__ import annotations

import uuid
from typing import Any

#: Bytes of a chunk, and so of a message of ReadJobResult.
CHUNK = 256 * 1024

#: How long an upload that no job took over is kept.
ABANDONED_AFTER = "24 hours"

#: Takes the parameters of `new_file`.
INSERT_FILE = """
INSERT INTO job_files (id, job_id, role, name, content_type)
VALUES (%(file_id)s, %(file_job_id)s, %(file_role)s, %(file_name)s, %(file_content_type)s)
"""

INSERT_CHUNK = "INSERT INTO job_file_chunks (file_id, start, data) VALUES (%(file_id)s, %(start)s, %(data)s)"

COMPLETE = "UPDATE job_files SET size = %(size)s, sha256 = %(sha256)s WHERE id = %(file_id)s"

ADOPT = "UPDATE job_files SET job_id = %(job_id)s WHERE id = %(file_id)s AND job_id IS NULL AND size IS NOT NULL"

READ_CHUNKS = """
SELECT start, data FROM job_file_chunks WHERE file_id = %(file_id)s AND start >= %(start)s
ORDER BY start LIMIT %(limit)s
"""

#: The chunk that holds the byte at `offset`.
LOCATE = """
SELECT start, data FROM job_file_chunks WHERE file_id = %(file_id)s AND start <= %(offset)s
ORDER BY start DESC LIMIT 1
"""

READ_INPUT = "SELECT id, size FROM job_files WHERE job_id = %(job_id)s AND role = 'INPUT'"

DELETE_FILE = "DELETE FROM job_files WHERE id = %(file_id)s"

#: Housekeeping: uploads whose call ended before an import took them over.
DELETE_ABANDONED = f"""
DELETE FROM job_files WHERE id IN (
    SELECT id FROM job_files WHERE job_id IS NULL AND create_time < now() - interval '{ABANDONED_AFTER}'
    ORDER BY create_time LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
"""


def new_file(id_: uuid.UUID, *, job_id: uuid.UUID | None, role: str, name: str, content_type: str) -> dict[str, Any]:
    """Returns the parameters of `INSERT_FILE`."""
    return {
        "file_id": id_,
        "file_job_id": job_id,
        "file_role": role,
        "file_name": name,
        "file_content_type": content_type,
    }
