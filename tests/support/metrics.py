"""What an API says of itself."""

from __future__ import annotations

import re
import urllib.request

from tests.support.api import Api
from tests.support.servers import PATIENCE


def metric(api: Api, pattern: str) -> float:
    """Returns the value of the one metric that the pattern matches, or -1."""
    with urllib.request.urlopen(f"http://127.0.0.1:{api.metrics_port}/metrics", timeout=PATIENCE) as page:
        found = re.search(rf"^{pattern} (\S+)$", page.read().decode(), re.MULTILINE)
    return float(found[1]) if found else -1.0
