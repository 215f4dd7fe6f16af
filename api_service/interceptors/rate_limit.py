"""Keeps one caller from taking what is there for all."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from taskhub.v1.options_pb2 import RateLimit as Class

from api_service.call import Call
from api_service.interceptors.steps import Handler
from api_service.methods import Method
from api_service.metrics import RATE_LIMIT_REFUSALS
from api_service.rate_limits.lessor import Lessor
from api_service.rate_limits.limiter import Limiter
from api_service.rate_limits.rate import WINDOW_SECONDS, Rate
from api_service.settings import ApiSettings
from shared.errors import RateLimited

#: Whoever has one address of IPv6 has as a rule all of this network.
_IPV6_PREFIX = 64


class RateLimits:
    """Counts the calls of an account, or of an address where there is no account, by the method's class."""

    def __init__(self, settings: ApiSettings, lessor: Lessor) -> None:
        limits = {
            "read": settings.rate_limit_read,
            "write": settings.rate_limit_write,
            "anonymous": settings.rate_limit_anonymous,
            "sign-in": settings.rate_limit_sign_in,
            "mail": settings.rate_limit_mail,
        }
        self._limiters: Mapping[str, Limiter] = {
            name: Limiter(Rate(name, limit), lessor) for name, limit in limits.items() if limit
        }

    def wrap(self, method: Method, following: Handler) -> Handler:
        """Returns a handler that refuses whoever calls too often."""
        match method.rate:
            case Class.SIGN_IN:
                return self._strict("sign-in", following)
            case Class.MAIL:
                return self._strict("mail", following)
            case Class.READ:
                return self._leased("read", following)
            case _:
                return self._leased("write", following)

    def _leased(self, name: str, following: Handler) -> Handler:
        own, anonymous = self._limiters.get(name), self._limiters.get("anonymous")

        async def handle(request: Any, call: Call) -> Any:
            principal = call.principal_or_none
            limiter = anonymous if principal is None else own
            if limiter is not None:
                wait = limiter.admit(network(call.address) if principal is None else principal.name)
                if wait:
                    raise refusal(limiter.rate, wait)
            return await following(request, call)

        return handle

    def _strict(self, name: str, following: Handler) -> Handler:
        limiter = self._limiters.get(name)
        if limiter is None:
            return following

        async def handle(request: Any, call: Call) -> Any:
            principal = call.principal_or_none
            wait = await limiter.admit_strictly(network(call.address) if principal is None else principal.name)
            if wait:
                raise refusal(limiter.rate, wait)
            return await following(request, call)

        return handle


@lru_cache(maxsize=1024)
def network(address: str) -> str:
    """Returns what stands for one caller: an address, of IPv6 its network."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))


def refusal(rate: Rate, wait: float) -> RateLimited:
    """Returns the error that says how much there is of what, and when it is worth while to come again.

    The header fields are those of draft-ietf-httpapi-ratelimit-headers-10.
    """
    RATE_LIMIT_REFUSALS.labels(rate.name).inc()
    return RateLimited(
        wait,
        {
            "ratelimit-policy": f'"{rate.name}";q={rate.limit};w={WINDOW_SECONDS}',
            "ratelimit": f'"{rate.name}";r=0;t={math.ceil(wait)}',
        },
    )
