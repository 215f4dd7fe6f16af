from __future__ import annotations

import errno
import io

from api_service.interceptors.access_log import AccessLog


class FullDisk(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_no_call() -> None:
    AccessLog(enabled=True, stream=FullDisk()).write([])
