"""How a model is served: what a request may hold, what is logged, and how much may wait."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from evergreen.tasks.core.config.section import Count, Section
from evergreen.tasks.core.config.units import Duration, Span

Megabytes = Annotated[float, Field(gt=0.0, le=1024.0)]
Rate = Annotated[float, Field(gt=0.0)]


class ServingConfig(Section):
    """Limits of the prediction service, and what it keeps of its answers."""

    log: Literal["durable", "off"] = "durable"
    """`durable`: a prediction that was answered with 200 is in the log, synced to disk. `off`: nothing is kept."""
    private: Literal["hash", "leave_out"] = "hash"
    """What the log keeps of `data.private` columns: a keyed hash of each value, or nothing. Who a row is about is
    hashed in either case where `data.entity` is private."""
    max_rows: Count = 1000
    """Most rows of one request; more get 413. The log's queue has room for four such requests, and for 10,000 rows at
    least."""
    max_body_mb: Megabytes = 8.0
    """Largest body of a request in megabytes; a larger one gets 413 before it is read."""
    max_waiting: Count = 1024
    """Most requests that wait for an answer at once; further ones get 503 with Retry-After."""
    batch_rows: Count = 512
    """Most rows that waiting requests are joined to for one call of the model."""
    timeout: Duration = Span(10.0, "seconds", "10s")
    """Longest time for a request to arrive, and again for its answer; then 408 or 503."""
    rate_limit: Rate | None = None
    """Requests a second of each API key (without keys: of each client address) in the long run; more get 429."""
    rate_burst: Count = 100
    """Requests a key may send at once before `rate_limit` holds it back."""
    poll: Duration = Span(1.0, "seconds", "1s")
    """How often the registry's aliases are looked at; a moved @champion is served after this, loading and a smoke
    test."""
