"""Do rows arrive as usual: how long a feed may be silent, and how thin it may be.

A feed is silent when its newest row is older than the longest of

- five windows;
- g ln(T / (a g)), where g is the usual gap between rows and T 90 days: rows that come independently of each other
  (Poisson) exceed it on average a = 0.1 times in 90 days, whatever their rate;
- one and a half times the longest silence of the reference: nights and weekends are no alarm.

So a stationary feed raises at most one false alarm in 900 days; a feed with a season that the reference did not see may
raise one a season. ``alerts.max_silence`` overrides the rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.health.report import Check, Condition, check, duration
from tasks.core.metrics.scored import FloatArray

FALSE_ALARMS = 0.1
"""False alarms of silence that a stationary feed raises in 90 days, at most."""
_SPAN = 90 * 86400.0
_WINDOWS = 5
_LONGEST = 1.5
_MIN_WINDOWS = 20
_THIN = 0.5


@dataclass(frozen=True, kw_only=True)
class UsualFeed:
    """How rows arrived in the reference.

    Attributes
    ----------
    gap : float
        Mean time between rows, in seconds.
    window : float
        Usual length of a window, in seconds.
    longest : float
        Longest silence, in seconds; at most one window too long, since windows are all that is kept.
    fewest : float | None
        Fewest rows in five windows in a row; None where windows are numbers of rows, or there are fewer than twenty.
    """

    gap: float
    window: float
    longest: float
    fewest: float | None = None

    def most_silence(self) -> float:
        """Return the silence, in seconds, from which on it is an alarm."""
        poisson = self.gap * math.log(max(_SPAN / (FALSE_ALARMS * self.gap), math.e))
        return max(_WINDOWS * self.window, poisson, _LONGEST * self.longest)


def usual_feed(starts: FloatArray, rows: FloatArray, *, length: float | None) -> UsualFeed | None:
    """Return how rows arrived in the reference's windows; None where fewer than two say anything.

    Parameters
    ----------
    starts, rows : array, shape (w,)
        Start in seconds and rows of the reference's windows, in time order; empty ones may be left out.
    length : float, optional
        Length of a window in seconds; None: windows are numbers of rows.
    """
    filled = rows > 0
    starts, rows = starts[filled], rows[filled]
    if len(starts) < 2 or starts[-1] <= starts[0]:
        return None
    steps = np.diff(starts)
    gap = float((starts[-1] - starts[0]) / rows[:-1].sum())
    if length is None:
        return UsualFeed(gap=gap, window=float(np.median(steps)), longest=float(steps.max()))
    return UsualFeed(
        gap=gap, window=length, longest=float(steps.max()), fewest=_fewest(starts, rows, length=length)
    )


def _fewest(starts: FloatArray, rows: FloatArray, *, length: float) -> float | None:
    """Return the fewest rows in five windows in a row, windows without a row included."""
    places = np.rint((starts - starts[0]) / length).astype(np.int64)
    counts = np.zeros(int(places[-1]) + 1)
    np.add.at(counts, places, rows)
    if len(counts) < _MIN_WINDOWS:
        return None
    return float(np.convolve(counts, np.ones(_WINDOWS), mode="valid").min())


def judge_silence(
    newest: float | None,
    now: float | None,
    *,
    usual: UsualFeed | None,
    limit: float | None,
    known_lag: float | None = None,
) -> Check:
    """Judge whether rows still arrive.

    Parameters
    ----------
    newest : float or None
        Position of the newest row, in seconds; None: there is none.
    now : float or None
        As-of moment on the same clock; None: the check does not apply (an explicit end, or a clock of rows).
    usual : UsualFeed or None
        How rows arrived in the reference.
    limit : float or None
        ``alerts.max_silence`` in seconds; None: the rule above.
    known_lag : float or None
        How old the newest row was when the champion was trained: beyond the limit the data are historical, and
        their silence says nothing.
    """
    most = limit if limit is not None else usual.most_silence() if usual else None
    if now is None:
        return _no("the run was given its end, or the clock does not tell the time")
    if most is None:
        return _no("nothing is known of the usual gap between rows; set alerts.max_silence")
    if limit is None and known_lag is not None and known_lag > most:
        return _no(
            f"the newest row was {duration(known_lag)} old when the champion was trained: historical data"
        )
    if newest is None:
        return check("feed", Condition.FAILED, "No row has arrived at all.", observed=0.0, limit=most, n=0)
    silence = max(now - newest, 0.0)
    said = f"The newest row is {duration(silence)} old; at most {duration(most)} is usual."
    condition = Condition.FAILED if silence > most else Condition.OK
    remedy = " Look at what delivers the data." if condition is Condition.FAILED else ""
    return check("feed", condition, said + remedy, observed=silence, limit=most)


def _no(why: str) -> Check:
    return check("feed", Condition.NOT_APPLICABLE, f"Not judged: {why}.")


def judge_rate(counts: Sequence[int], *, usual: UsualFeed | None) -> Check:
    """Judge whether the newest windows hold as many rows as usual.

    Five windows with less than half of the fewest rows that five windows of the reference had warn. With at
    least twenty reference windows a stationary or seasonal feed comes there only by becoming thinner.

    Parameters
    ----------
    counts : sequence of int
        Rows of the newest windows, newest last, empty ones included.
    usual : UsualFeed or None
        How rows arrived in the reference.
    """
    newest = counts[-_WINDOWS:]
    if usual is None or usual.fewest is None or len(newest) < _WINDOWS:
        message = "Not judged: it needs windows of a duration, five of them, and twenty of the reference."
        return check("rate", Condition.NOT_APPLICABLE, message)
    rows, limit = sum(newest), _THIN * usual.fewest
    said = f"{rows} rows in the last {_WINDOWS} windows; the fewest in the reference were {usual.fewest:.0f}."
    condition = Condition.WARNING if rows < limit else Condition.OK
    return check("rate", condition, said, observed=float(rows), limit=limit, n=_WINDOWS)
