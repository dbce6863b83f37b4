"""Token buckets: a steady rate in the long run, a burst at once."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST = 10_000


@dataclass
class Buckets:
    """One bucket a name; a name that was never seen has a full one.

    Parameters
    ----------
    rate : float
        Tokens a second that flow in, > 0.
    burst : int
        Tokens a full bucket holds, >= 1.

    Examples
    --------
    >>> buckets = Buckets(rate=2.0, burst=1)
    >>> buckets.take("web", now=0.0), buckets.take("web", now=0.0), buckets.take("web", now=0.5)
    (0.0, 0.5, 0.0)
    """

    rate: float
    burst: int
    _filled: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)

    def take(self, name: str, *, now: float) -> float:
        """Take a token; return 0, or the seconds after which there is one again (then none was taken)."""
        tokens, since = self._filled.get(name, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + max(now - since, 0.0) * self.rate)
        if tokens < 1.0:
            self._filled[name] = (tokens, now)
            return (1.0 - tokens) / self.rate
        if name not in self._filled and len(self._filled) >= _MOST:
            self._forget_full(now)
        self._filled[name] = (tokens - 1.0, now)
        return 0.0

    def _forget_full(self, now: float) -> None:
        """Forget buckets that have filled up again, so that many names do not fill the memory."""
        self._filled = {
            name: (tokens, since)
            for name, (tokens, since) in self._filled.items()
            if tokens + (now - since) * self.rate < self.burst
        }
