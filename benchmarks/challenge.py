"""Champion against challenger on 100,000 rows: our tests beside a paired bootstrap over scikit-learn's metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from benchmarks.measured import Measured, cpu_seconds
from evergreen.tasks.core.challenge.difference import measure_difference
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored

ROWS = 100_000
LEVEL = 0.05
DRAWS = 10_000
"""Resamples of a full bootstrap, as `evaluation.bootstrap` has them."""


def run(rows: int = ROWS, drawn: int = 100) -> list[Measured]:
    """Compare on so many rows; the peer really draws ``drawn`` resamples, and its time is scaled to DRAWS."""
    rng = np.random.default_rng(7)
    truth = rng.random(rows) < 0.2
    champion = 1 / (1 + np.exp(-rng.normal(1.2 * truth, 1.0)))
    challenger = 1 / (1 + np.exp(-(0.7 * np.log(champion / (1 - champion)) + rng.normal(0.6 * truth, 0.6))))
    return [
        _compare("roc_auc", truth, champion, challenger, peer=roc_auc_score, drawn=drawn),
        _compare("f1", truth, champion > 0.7, challenger > 0.7, peer=f1_score, drawn=drawn),
    ]


def _compare(
    name: str,
    truth: np.ndarray,
    champion: np.ndarray,
    challenger: np.ndarray,
    *,
    peer: Callable[..., float],
    drawn: int,
) -> Measured:
    metric, labels = get_metric(name, problem="binary"), champion.dtype == bool
    sides = [
        Scored(
            y=truth.astype(np.int64),
            score=side.astype(np.float64),
            label=side.astype(np.int64) if labels else None,
            classes=(0, 1),
            positive_class=1,
        )
        for side in (champion, challenger)
    ]

    def ours() -> Any:
        rng = np.random.default_rng(1)
        return measure_difference(metric, *sides, level=LEVEL, blocks=None, rng=rng, draws=DRAWS)

    ours_s, difference = cpu_seconds(ours, repeats=3)
    peer_s, interval = cpu_seconds(lambda: _bootstrap(peer, truth, champion, challenger, drawn))
    return Measured(
        task=f"difference of two {name} on {len(truth):,} paired rows, 95 % interval",
        ours=difference.test,
        peer=f"paired bootstrap of scikit-learn's {peer.__name__}",
        ours_s=ours_s,
        peer_s=peer_s * DRAWS / drawn,
        ours_answer=_shown(difference.interval),
        peer_answer=_shown(interval),
        note=f"the peer drew {drawn} resamples in {peer_s:.1f} CPU s, scaled to {DRAWS:,}; its interval is that of "
        f"the {drawn}. Ours is the least of three runs"
        + (
            ", which need no resampling."
            if difference.test == "delong"
            else f" with {DRAWS:,} resamples each."
        ),
    )


def _bootstrap(
    peer: Callable[..., float], truth: np.ndarray, champion: np.ndarray, challenger: np.ndarray, drawn: int
) -> tuple[float, float]:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(drawn):
        rows = rng.integers(0, len(truth), len(truth))
        found.append(peer(truth[rows], challenger[rows]) - peer(truth[rows], champion[rows]))
    low, high = np.quantile(found, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _shown(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:+.4f}, {interval[1]:+.4f}]"
