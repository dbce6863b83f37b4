"""Which clients may send requests, and how often: API keys and rates, before everything but health."""

from __future__ import annotations

import time
from collections.abc import Callable

from evergreen.deployments.service.errors import RequestProblem, Scope
from evergreen.tasks.core.serving.access import Buckets
from evergreen.tasks.io.serving_keys import WatchedKeys


class Authenticator:
    """Lets requests in.

    Parameters
    ----------
    keys : WatchedKeys
        Who has a key; without any key everybody is let in.
    clock, monotonic : callable
        The time in seconds since the epoch, and one that never goes back.
    """

    def __init__(
        self,
        keys: WatchedKeys,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = keys
        self._clock, self._monotonic = clock, monotonic

    def admit(self, secret: bytes | None, scope: Scope) -> str:
        """Return the client: the name of its key; its address where the service has no keys.

        Raises
        ------
        RequestProblem
            401 without a key, or with an unknown one.
        """
        if not self.keys.guarded:
            client = scope.get("client")
            return client[0] if client else "local"
        if secret is None:
            raise RequestProblem(
                401,
                "no_key",
                "This service needs an API key. Send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.",
            )
        name = self.keys.ring.find(secret, now=self._clock())
        if name is None:
            raise RequestProblem(
                401,
                "unknown_key",
                "This API key is not known, was revoked, or has expired. Ask for a new one ('evergreen key create').",
            )
        return name

    def hold_back(self, buckets: Buckets | None, who: str) -> None:
        """Take a token for a request.

        Raises
        ------
        RequestProblem
            429 when there is none.
        """
        wait = buckets.take(who, now=self._monotonic()) if buckets is not None else 0.0
        if wait:
            raise RequestProblem(
                429,
                "too_many_requests",
                f"More than {buckets.rate:g} requests a second (serving.rate_limit). "  # type: ignore[union-attr]
                f"Try again in {wait:.2g} s.",
                retry_after=wait,
            )
