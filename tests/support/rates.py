"""Exact binomial bounds for simulated rates."""

from scipy.stats import beta


def upper_bound(hits, trials, *, confidence=0.99):
    """Return the exact (Clopper-Pearson) one-sided upper bound of a rate."""
    return 1.0 if hits == trials else float(beta.ppf(confidence, hits + 1, trials - hits))


def lower_bound(hits, trials, *, confidence=0.99):
    """Return the exact one-sided lower bound of a rate."""
    return 0.0 if hits == 0 else float(beta.ppf(1 - confidence, hits, trials - hits + 1))
