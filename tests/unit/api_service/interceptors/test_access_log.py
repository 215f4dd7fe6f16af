from __future__ import annotations

import errno
import io

from api_service.interceptors.access_log import AccessLog


class FullDisk(io.StringIO):
    tried = 0

    def flush(self) -> None:
        self.tried += 1
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_no_call() -> None:
    disk = FullDisk()
    AccessLog(enabled=True, stream=disk).write([])
    assert disk.tried == 1
