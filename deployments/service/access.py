"""Which clients may send requests, and how often: API keys and rates, before everything but health."""

from __future__ import annotations

import time

from evergreen.deployments.service.errors import RequestProblem, Scope
from evergreen.tasks.core.serving.access import Buckets
from evergreen.tasks.io.serving_keys import WatchedKeys


class Authenticator:
    """Lets requests in.

    Parameters
    ----------
    keys : WatchedKeys
        Who has a key; without any key everybody is let in.
    """

    def __init__(self, keys: WatchedKeys) -> None:
        self.keys = keys

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
            message = "This service needs an API key. Send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
            raise RequestProblem(401, "no_key", message)
        name = self.keys.ring.find(secret, now=time.time())
        if name is None:
            message = (
                "This API key is unknown, revoked or expired. Ask for a new one ('evergreen key create')."
            )
            raise RequestProblem(401, "unknown_key", message)
        return name

    def hold_back(self, buckets: Buckets | None, who: str) -> None:
        """Take a token for a request.

        Raises
        ------
        RequestProblem
            429 when there is none.
        """
        wait = buckets.take(who, now=time.monotonic()) if buckets is not None else 0.0
        if wait:
            limit = f"More than {buckets.rate:g} requests a second"  # type: ignore[union-attr]
            message = f"{limit} (serving.rate_limit). Try again in {wait:.2g} s."
            raise RequestProblem(429, "too_many_requests", message, retry_after=wait)
