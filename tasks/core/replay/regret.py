"""Policies against each other in hindsight: regret, the Pareto front of quality and retrainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Regret:
    """How much worse than the best policy of a run.

    Attributes
    ----------
    absolute : float
        In the metric's unit, >= 0; NaN for a policy without a mean.
    relative : float
        As a share of the best mean; NaN where that is 0.
    """

    absolute: float
    relative: float


def measure_regret(means: Mapping[str, float], *, sign: int) -> dict[str, Regret]:
    """Return each policy's regret against the best of them in hindsight.

    Parameters
    ----------
    means : mapping of str to float
        Mean metric by policy; NaN where it is undefined.
    sign : {1, -1}
        Direction in which the metric is better.

    Examples
    --------
    >>> found = measure_regret({"never": 0.8, "every": 1.0}, sign=1)
    >>> round(found["never"].absolute, 3), round(found["never"].relative, 3), found["every"].absolute
    (0.2, 0.2, 0.0)
    """
    known = [mean for mean in means.values() if math.isfinite(mean)]
    best = max(known, key=lambda mean: sign * mean, default=math.nan)
    return {name: _regret(mean, best, sign) for name, mean in means.items()}


def pareto_front(points: Sequence[tuple[float, float]], *, sign: int) -> tuple[int, ...]:
    """Return the places of the points that no other one beats in both quality and cost, cheapest first.

    Parameters
    ----------
    points : sequence of (quality, cost)
        A mean metric and a number of retrainings; points with NaN are on no front.
    sign : {1, -1}
        Direction in which quality is better; less cost always is.

    Notes
    -----
    Of points that are equal in both, the first listed is kept.

    Examples
    --------
    >>> pareto_front([(0.80, 0), (0.85, 10), (0.84, 12), (0.86, 30)], sign=1)
    (0, 1, 3)
    """
    known = [place for place, point in enumerate(points) if all(map(math.isfinite, point))]
    ordered = sorted(known, key=lambda place: (points[place][1], -sign * points[place][0], place))
    front: list[int] = []
    for place in ordered:
        if not front or sign * (points[place][0] - points[front[-1]][0]) > 0:
            front.append(place)
    return tuple(front)


def gap_to_best(points: Sequence[tuple[float, float]], *, sign: int) -> tuple[float, ...]:
    """Return how far each point's quality is behind the best one's, in the metric's unit, >= 0.

    >>> [round(gap, 3) for gap in gap_to_best([(12.0, 0), (10.0, 9)], sign=-1)]
    [2.0, 0.0]
    """
    means = {str(place): quality for place, (quality, _) in enumerate(points)}
    return tuple(one.absolute for one in measure_regret(means, sign=sign).values())


def _regret(mean: float, best: float, sign: int) -> Regret:
    behind = max(0.0, sign * (best - mean)) if math.isfinite(mean) else math.nan
    return Regret(absolute=behind, relative=behind / abs(best) if best else math.nan)
