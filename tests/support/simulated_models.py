"""Pairs of models whose true difference is known, on independent rows or AR(.9) rows, and bounds of simulated rates."""

import math
from functools import lru_cache

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.signal import lfilter
from scipy.stats import beta, norm

from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored

DAY = 86_400.0
ROWS_A_DAY = 48
SHARED = 0.7  # correlation of the two models' noise
RELEVANCE = np.array([2.0, 1.0, 0.0, 0.0, 0.0])
METRICS = {
    "accuracy": get_metric("accuracy", problem="binary"),
    "roc_auc": get_metric("roc_auc", problem="binary"),
    "rmse": get_metric("rmse", problem="regression"),
    "ndcg_at_3": get_metric("ndcg@3", problem="ranking"),
}


def noise(rng, n, *, phi, columns=1):
    """Return two standard normal series (n, columns) with correlation SHARED, AR(phi) down the rows."""
    e = rng.normal(size=(3, n, columns))
    if phi:
        scale = math.sqrt(1 - phi**2)
        e[:, 0] /= scale
        e = lfilter([1.0], [1.0, -phi], e, axis=1) * scale
    shared = math.sqrt(SHARED) * e[0]
    return shared + math.sqrt(1 - SHARED) * e[1], shared + math.sqrt(1 - SHARED) * e[2]


def accuracy_pair(rng, n, *, better_by, phi):
    """Two classifiers that are right with probability 0.8 and 0.8 + better_by."""
    a, b = (z[:, 0] for z in noise(rng, n, phi=phi))
    y = rng.integers(0, 2, n)

    def model(right):
        return Scored(y=y, label=np.where(right, y, 1 - y), classes=(0, 1), positive_class=1)

    return model(a < norm.ppf(0.8)), model(b < norm.ppf(0.8 + better_by))


def roc_auc_pair(rng, n, *, better_by, phi):
    """Two scores with binormal AUC 0.8 and 0.8 + better_by."""
    a, b = (z[:, 0] for z in noise(rng, n, phi=phi))
    y = rng.random(n) < 0.4
    gap, wider = (math.sqrt(2) * norm.ppf(area) for area in (0.8, 0.8 + better_by))
    return (
        Scored(y=y, score=a + gap * y, positive_class=True),
        Scored(y=y, score=b + wider * y, positive_class=True),
    )


def rmse_pair(rng, n, *, better_by, phi):
    """Two regressions with RMSE 1 and 1 - better_by."""
    a, b = (z[:, 0] for z in noise(rng, n, phi=phi))
    y = rng.normal(size=n)
    return Scored(y=y, score=y + a), Scored(y=y, score=y + (1 - better_by) * b)


def ndcg_pair(rng, n, *, better_by, phi):
    """Two rankings of n groups with NDCG@3 0.75 and 0.75 + better_by."""
    a, b = noise(rng, n, phi=phi, columns=len(RELEVANCE))
    y, group = np.tile(RELEVANCE, n), np.repeat(np.arange(n), len(RELEVANCE))
    return (
        Scored(y=y, score=y + ndcg_noise(0.75) * a.ravel(), group=group),
        Scored(y=y, score=y + ndcg_noise(round(0.75 + better_by, 9)) * b.ravel(), group=group),
    )


@lru_cache
def ndcg_noise(wanted):
    """Return the noise that gives a true NDCG@3, by interpolation over 20,000 groups."""
    levels, found = ndcg_curve()
    return float(PchipInterpolator(found, levels)(wanted))


@lru_cache
def ndcg_curve():
    """Return noise levels and their NDCG@3, in rising order of the latter."""
    n = 20_000
    e = np.random.default_rng(5).normal(size=(n, len(RELEVANCE)))
    y, group = np.tile(RELEVANCE, n), np.repeat(np.arange(n), len(RELEVANCE))
    levels = np.linspace(4.0, 0.3, 13)
    found = [METRICS["ndcg_at_3"](Scored(y=y, score=y + s * e.ravel(), group=group)) for s in levels]
    return levels, np.array(found)


PAIRS = {"accuracy": accuracy_pair, "roc_auc": roc_auc_pair, "rmse": rmse_pair, "ndcg_at_3": ndcg_pair}


def upper_bound(hits, trials, *, confidence=0.99):
    """Return the exact (Clopper-Pearson) one-sided upper bound of a rate."""
    return 1.0 if hits == trials else float(beta.ppf(confidence, hits + 1, trials - hits))


def lower_bound(hits, trials, *, confidence=0.99):
    """Return the exact one-sided lower bound of a rate."""
    return 0.0 if hits == 0 else float(beta.ppf(1 - confidence, hits, trials - hits + 1))
