"""Exact tests of counts at any time: discordant pairs (McNemar), and whether a split is the one declared."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import scipy

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.stats.sequential import SCALE, Bounds, critical_value

CONCENTRATION = 15.0
"""Of the mixture over the share of discordant pairs won: looks for shares some .09 away from a half."""
_FOCUS = 100.0  # of the mixture over splits: looks for shares a few hundredths away from those declared
_STEPS = 60  # halvings of a bracket


def mixture_concentration(min_improvement: float, *, discordance: float = 0.1) -> float:
    """Return the concentration that finds a given improvement with the fewest rows.

    Parameters
    ----------
    min_improvement : float
        Difference of the shares right, > 0.
    discordance : float
        Expected share of rows on which exactly one of the two is right.

    Notes
    -----
    The standard deviation of Beta(a, a), 1 / sqrt(8 a + 4), is set to 0.9 (`SCALE`) times the distance of the
    share won from a half, ``min_improvement / (2 discordance)``.

    >>> round(mixture_concentration(0.02), 2)
    14.93
    """
    distance = 0.9 * min(min_improvement / (2 * discordance), 0.5)
    return max((1 / (4 * distance * distance) - 1) / 2, 0.5)


def log_mcnemar_e_value(b: Any, c: Any, *, concentration: float = CONCENTRATION) -> FloatArray:
    """Return the log of `mcnemar_e_value`, shape (…)."""
    return _log_share_e_value(*_counts(b, c), 0.5, concentration)


def mcnemar_e_value(b: Any, c: Any, *, concentration: float = CONCENTRATION) -> Any:
    """Test paired discordances at any time: the e-value against 'either is equally often the one that is right'.

    Under the null each discordant pair is won by either side with probability 1/2, given the past, so that the
    e-value is a martingale with mean 1: it ever reaches 1 / alpha with probability at most alpha (Ville 1939),
    exactly, at any sample size and after any number of analyses. Pairs must be independent: rows of one entity are
    not, and want `compare_pairs` by entity. At one analysis fixed beforehand `mcnemar` needs fewer pairs.

    Parameters
    ----------
    b, c : array of int, shape (…)
        Rows on which only the first, and only the second, is right, as of each analysis.
    concentration : float
        ``a`` of the mixing Beta(a, a), > 0; fixed before the first analysis (`mixture_concentration`).

    Returns
    -------
    float or array, shape (…)
        1 without discordant pairs.

    Raises
    ------
    DataError
        On negative counts.

    Notes
    -----
    The beta-binomial mixture of Robbins (1970): B(a + b, a + c) / B(a, a) * 2^(b + c).

    Examples
    --------
    With a = 1 it is 2^m / ((m + 1) C(m, c)): for 0 and 3 of 3, 8 / 4.

    >>> round(mcnemar_e_value(0, 3, concentration=1.0), 9)
    2.0
    """
    value = np.exp(np.minimum(log_mcnemar_e_value(b, c, concentration=concentration), 700.0))
    return float(value) if value.ndim == 0 else value


def win_share_sequence(b: Any, c: Any, *, alpha: float, concentration: float = CONCENTRATION) -> Bounds:
    """Return the exact confidence sequence of the share of discordant pairs that the second wins.

    All shares p whose own mixture e-value stays below 1 / alpha; it excludes 1/2 exactly where `mcnemar_e_value`
    reaches 1 / alpha.

    >>> low, high = win_share_sequence(10, 40, alpha=0.05)
    >>> round(float(low), 3), round(float(high), 3)
    (0.542, 0.952)
    """
    lost, won = np.broadcast_arrays(*_counts(b, c))
    top = math.log(1 / alpha)
    centre = np.divide(won, won + lost, out=np.full(won.shape, 0.5), where=won + lost > 0)

    def edge(outer: float) -> FloatArray:
        inside, outside = centre.copy(), np.full(centre.shape, outer)
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            is_inside = _log_share_e_value(lost, won, middle, concentration) < top
            inside, outside = np.where(is_inside, middle, inside), np.where(is_inside, outside, middle)
        return np.asarray(inside)

    return Bounds(edge(0.0), edge(1.0))


def log_split_e_value(counts: Any, shares: Any, *, focus: float = _FOCUS) -> FloatArray:
    """Return the log e-value against 'units fall into the arms by the declared shares' (sample-ratio mismatch).

    Under the null each unit falls into an arm with the declared probability, whatever came before; the e-value
    reaches 1 / level ever with probability at most ``level``, after any number of analyses.

    Parameters
    ----------
    counts : array, shape (…, k)
        *Units of randomisation* (entities, not their rows) in each arm.
    shares : array, shape (k,)
        Declared shares, > 0; they are scaled to sum to 1.
    focus : float
        Concentration of the mixture about the declared shares.

    Returns
    -------
    array, shape (…)
        0 without units.

    Raises
    ------
    DataError
        On negative counts, other lengths, or shares that are not positive.

    Notes
    -----
    The Dirichlet-multinomial mixture of Lindon & Malek (2022), *Anytime-valid inference for multinomial count data*.

    Examples
    --------
    >>> bool(log_split_e_value([900, 100], [0.9, 0.1]) < 0), bool(log_split_e_value([800, 200], [0.9, 0.1]) > 20)
    (True, True)
    """
    n, p = np.asarray(counts, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if n.shape[-1:] != p.shape or not (p > 0).all() or not (n >= 0).all():
        raise DataError(
            f"Counts of shape {n.shape} and shares {p.tolist()} are no split. "
            "Allowed: one count >= 0 and one share > 0 an arm."
        )
    p = p / p.sum()
    prior = focus * p
    log_gamma = scipy.special.gammaln
    mixed = log_gamma(prior + n).sum(-1) - log_gamma(prior).sum()
    mixed = mixed + log_gamma(focus) - log_gamma(focus + n.sum(-1))
    return np.asarray(mixed - (n * np.log(p)).sum(-1))


def _log_share_e_value(lost: FloatArray, won: FloatArray, share: Any, a: float) -> FloatArray:
    """Return the log of the mixture likelihood over the likelihood of a share won."""
    p = np.asarray(share, dtype=np.float64)
    mixed = scipy.special.betaln(a + won, a + lost) - scipy.special.betaln(a, a)
    return np.asarray(mixed - scipy.special.xlogy(won, p) - scipy.special.xlog1py(lost, -p))


def _counts(b: Any, c: Any) -> tuple[FloatArray, FloatArray]:
    lost, won = np.asarray(b, dtype=np.float64), np.asarray(c, dtype=np.float64)
    if not (lost >= 0).all() or not (won >= 0).all():
        raise DataError(f"Discordant counts are {b} and {c}. Allowed: counts from 0 on.")
    return lost, won


# How much information a test that is analysed all the time needs to find an effect.


_ANALYSES, _CELLS, _MOST = 800, 1_201, 40.0


@lru_cache(maxsize=64)
def needed_information(*, alpha: float, power: float, ratio: float = SCALE) -> float:
    """Return the information, in units of 1 / effect², at which an effect has been found with a given probability.

    Parameters
    ----------
    alpha : float
        Two-sided level of the confidence sequence.
    power : float
        Wanted probability that the sequence has excluded 0, on the effect's side, by then; in (0, 1).
    ratio : float
        Scale of the mixture over the effect.

    Returns
    -------
    float
        Multiply by the variance of one unit's influence over effect² for the number of units. A test at one fixed
        analysis needs (z + z')², 7.85 at .05 and 80 %; this is 1.65 times as much, to analyse at any time.

    Notes
    -----
    The estimate times the information is a Brownian motion with drift; its density between the bounds is carried
    from analysis to analysis by numerical integration (Armitage, McPherson & Rowe 1969) over 800 of them.

    Examples
    --------
    >>> round(needed_information(alpha=0.05, power=0.8), 1)
    12.9
    """
    most = _MOST
    while True:
        information, crossed = crossing_curve(alpha=alpha, ratio=ratio, most=most)
        if crossed[-1] > power:
            return float(np.interp(power, crossed, information))
        most *= 2


def crossing_curve(
    *, alpha: float, ratio: float = SCALE, most: float = _MOST, effect: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """Return at each of 800 analyses the information and the probability that the upper bound was crossed by then.

    Parameters
    ----------
    most : float
        Information at the last analysis, in units of 1 / planned effect².
    effect : float
        True effect in units of the planned one; 0 gives half of the false winners.
    """
    information = np.linspace(0.0, most, _ANALYSES + 1)[1:]
    step = most / _ANALYSES
    bounds = critical_value(information, alpha=alpha, scale=ratio) * np.sqrt(information)
    place = np.linspace(-1.02, 1.02, _CELLS) * bounds.max()
    width = place[1] - place[0]
    reach = int(np.ceil(6 * np.sqrt(step) / width)) + int(np.ceil(abs(effect) * step / width))
    kernel = np.exp(-((np.arange(-reach, reach + 1) * width - effect * step) ** 2) / (2 * step))
    kernel /= kernel.sum()
    density = np.zeros(_CELLS)
    density[_CELLS // 2] = 1.0
    crossed = np.zeros(_ANALYSES)
    for step_number, bound in enumerate(bounds):
        density = np.convolve(density, kernel, "same")
        above = place >= bound
        crossed[step_number] = density[above].sum()
        density[above | (place <= -bound)] = 0.0
    return information, np.cumsum(crossed)
