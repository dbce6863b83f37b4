"""Synthetic card payments: seeded, reproducible day by day, with drift that is declared here.

Nothing in it comes from a real card. On ``SALE_DAY`` alone digital goods sell more than ever: odd, but no drift. From
``DRIFT_DAY`` on, over ``RAMP_DAYS``, customers buy more digital goods from new devices and a new kind of fraud appears:
small amounts for just those, which a model of the days before does not know. From ``NEXT_DAY`` on another wallet
spreads, so that new devices pay more often still.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

FIRST_DAY = pd.Timestamp("2026-01-01", tz="UTC")
LAST_DAY = 172
DRIFT_DAY = 90
RAMP_DAYS = 8
SALE_DAY = 84
NEXT_DAY = 128
ROWS_PER_DAY = 300
MERCHANTS = ("groceries", "travel", "digital", "electronics", "restaurant", "fuel")
HABITS = np.array([0.30, 0.10, 0.20, 0.10, 0.18, 0.12])
SHIFT = np.array([-0.06, 0.0, 0.12, 0.0, -0.06, 0.0])
SALE = np.array([-0.10, 0.0, 0.24, 0.0, -0.10, -0.04])
"""Shares of the merchants, how they move for good, and how on the day of the sale."""
CHANNELS = ("chip", "online", "contactless")

Array = npt.NDArray[np.float64]


def card_payments(
    start: float | None = None, end: float | None = None, *, seed: int = 7
) -> Iterator[pd.DataFrame]:
    """Yield the payments of ``[start, end)`` day by day; the same window always holds the same rows.

    Parameters
    ----------
    start, end : float or None
        Half-open window in seconds since the epoch (UTC); None is the first or the last moment there is.
    seed : int
        Seed of the whole history.

    Yields
    ------
    DataFrame, shape (300, 12)
        ``payment_id``, ``time``, nine features and ``fraud`` (0 or 1), in time order.
    """
    origin = FIRST_DAY.timestamp()
    first = 0 if start is None else max(int((start - origin) // 86_400), 0)
    last = LAST_DAY if end is None else min(math.ceil((end - origin) / 86_400), LAST_DAY)
    if first >= last:
        yield _one_day(0, seed).iloc[:0]
    for day in range(first, last):
        yield _one_day(day, seed)


def _one_day(day: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([seed, day])
    n = ROWS_PER_DAY
    seconds = np.sort(rng.choice(86_400, size=n, replace=False))
    moved = min(max((day - DRIFT_DAY + 1) / RAMP_DAYS, 0.0), 1.0)
    columns = {
        "payment_id": day * n + np.arange(n),
        "time": FIRST_DAY + pd.to_timedelta(day, unit="D") + pd.to_timedelta(seconds, unit="s"),
        "amount": np.round(rng.lognormal(3.4, 1.1, n), 2),
        "hour": seconds // 3600,
        "merchant": rng.choice(MERCHANTS, size=n, p=HABITS + moved * SHIFT + (day == SALE_DAY) * SALE),
        "channel": rng.choice(CHANNELS, size=n, p=(0.35, 0.35, 0.30)),
        "card_age_days": rng.integers(1, 2500, n),
        "payments_last_hour": rng.poisson(0.6, n),
        "distance_km": np.round(rng.gamma(1.2, 18.0, n), 1),
        "new_device": (rng.random(n) < 0.15 + 0.10 * moved + 0.25 * (day >= NEXT_DAY)).astype(int),
        "country_risk": np.round(rng.beta(2, 6, n), 3),
    }
    frame = pd.DataFrame(columns)
    chance = 1 / (1 + np.exp(-_log_odds(frame, drifted=rng.random(n) < moved)))
    frame["fraud"] = (rng.random(n) < chance).astype(int)
    frame.loc[rng.random(n) < 0.03, "distance_km"] = np.nan
    return frame


def _log_odds(frame: pd.DataFrame, *, drifted: npt.NDArray[np.bool_]) -> Array:
    """Return the log-odds of fraud: additive habits, two interactions, and the new kind where it has appeared."""
    night = frame["hour"].between(0, 5).to_numpy()
    online = (frame["channel"] == "online").to_numpy()
    new_device = frame["new_device"].to_numpy() == 1
    digital = (frame["merchant"] == "digital").to_numpy()
    log_amount = np.log(frame["amount"].to_numpy())
    far = frame["distance_km"].to_numpy() > 60
    base = -4.2 + 0.5 * (log_amount - 3.4) + 2.5 * frame["country_risk"].to_numpy()
    base = base + 0.55 * frame["payments_last_hour"].to_numpy() + 0.7 * night + 0.8 * new_device
    base = base + 2.2 * (far & online) + 1.5 * ((frame["merchant"] == "electronics").to_numpy() & night)
    base = base - 0.0003 * frame["card_age_days"].to_numpy()
    new_kind = 3.0 * (digital & online) - 0.9 * (log_amount - 3.4) + 1.4 * (digital & new_device)
    base = base + drifted * new_kind
    return np.asarray(base, dtype=np.float64)
