"""Whether fresh models lose less than old ones: asked of history before a policy is proposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import t

from tasks.core.metrics.scored import BoolArray, FloatArray, IntArray
from tasks.core.propose.quick_models import KINDS, Kind, encode, fit_quick, outcome_codes, row_losses
from tasks.core.propose.spans import DAY

LEVEL = 0.01
"""One-sided level at which freshness is said to pay."""
FIRST = 0.35
"""Share of history that each model learns from, the old one from the first."""
ORIGINS = 4
"""Fresh models; with the old one of each kind they make ten fits."""
FEWEST_ROWS, FEWEST_BLOCKS = 500, 40
"""Rows to learn from, and blocks to judge on, below which nothing is said."""
FIT_ROWS, FIT_CELLS = 20_000, 1_000_000
"""Most rows, and numbers, that a fit takes: evenly thinned beyond."""
CHUNKS = 400
"""Blocks that history is cut into where the clock counts rows."""
SHORTEST_MEMORY = 7
"""Blocks that are taken to depend on each other, at least: a week of days."""


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How much less fresh models lose than one of the first part of history.

    Attributes
    ----------
    kind : {'linear', 'trees'}
        The quick model on which it shows better.
    gain : float
        Share of the old model's mean loss that the fresh ones save; negative: they lose more.
    p_value : float
        One-sided (`advantage_p`), doubled for having asked two models.
    blocks : int
        Days (or equal chunks) with rows that were judged.
    """

    kind: Kind
    gain: float
    p_value: float
    blocks: int

    @property
    def pays(self) -> bool:
        """True when a stream that does not change would show as much once in a hundred times at most."""
        return self.p_value <= LEVEL


@dataclass(frozen=True, kw_only=True, eq=False)
class Past:
    """Labelled rows in clock order, ready to be learned from.

    Attributes
    ----------
    y : ndarray of shape (n,)
        Outcomes (`tasks.core.propose.quick_models.outcome_codes`).
    blocks : ndarray of shape (n,)
        Ascending codes of days or chunks.
    classes : bool
        Whether outcomes are classes.
    origins : tuple of int
        Places that cut the judged rows; the old model learned from the first ``window`` rows.
    window : int
        Rows that each model learns from.
    ends : tuple of int
        Places up to which outcomes were known at each origin.
    """

    y: FloatArray
    blocks: IntArray
    classes: bool
    origins: tuple[int, ...]
    window: int
    ends: tuple[int, ...]


def measure_freshness(
    frame: pd.DataFrame,
    positions: FloatArray,
    *,
    problem: str,
    target: str,
    numeric: Sequence[str] = (),
    categorical: Sequence[str] = (),
    clock: str = "timestamp",
    group: str | None = None,
    gap: float = 0.0,
) -> Freshness | None:
    """Measure whether models learned from the newest rows lose less than one learned from the first.

    The old model learns from the first 35 % of rows. At four origins after them a fresh one learns from as many rows,
    the newest whose outcomes were known; both answer the rows up to the next origin. What is tested is the mean, over
    blocks, of the old one's loss less the fresh ones'.

    Null: the stream does not change (features and outcomes of a block have one distribution, whenever), so that on
    average over what they learned from the models lose equally much. Blocks may depend on those near by.

    Parameters
    ----------
    frame : DataFrame of shape (n, …)
        Labelled rows in clock order; not changed.
    positions : ndarray of shape (n,)
        Ascending clock positions (seconds, or row numbers).
    problem, target, group : str
        The problem and its columns.
    numeric, categorical : sequence of str
        Features.
    clock : {'timestamp', 'seconds', 'rows'}
        Blocks are days, or 400 equal chunks of rows.
    gap : float
        On the clock: how long before an origin a row must lie for its outcome to be known there.

    Returns
    -------
    Freshness or None
        None where it cannot be told: no feature, fewer than 500 rows to learn from or 40 blocks to judge on, or one
        class alone in a window.

    Notes
    -----
    The null is about the stream, so either quick model may deny it, each at half the level (Bonferroni): a change that
    a linear model cannot follow ages trees, and the other way round. A cycle longer than a third of history (the year
    in two years of rows) cannot be told from a change.
    """
    if not (numeric or categorical):
        return None
    past = _read_past(frame, positions, problem=problem, target=target, clock=clock, group=group, gap=gap)
    if past is None:
        return None
    found = []
    for kind in KINDS:
        x = encode(frame, kind, numeric=numeric, categorical=categorical)
        found.append(_judge(kind, *_losses(kind, x, past, coded_from=len(numeric)), past))
    best = min(found, key=lambda one: one.p_value)
    return replace(best, p_value=min(1.0, len(found) * best.p_value))


def advantage_p(differences: FloatArray, *, judged: int, learned: int) -> float:
    """Return the one-sided p-value of a mean difference of losses over time.

    Measures how surely the first of two losses is the larger. Null: mean 0 over blocks *and* over the rows that the
    models happened to learn from. A block may depend on its neighbours: Bartlett weights up to n^(1/3) blocks, a week
    at least, and never less variance than independent blocks have. One old model is judged on all blocks, so its luck
    does not average out: the variance is raised by 1 + judged / learned, as for folds that share training rows.

    Parameters
    ----------
    differences : ndarray of shape (n,)
        Mean difference of each block, in time order.
    judged, learned : int
        Rows judged on, and rows that each model learned from.

    Returns
    -------
    float
        From t with n - 1 degrees of freedom; 1 when there is no difference at all, or fewer than two blocks.

    References
    ----------
    Diebold & Mariano (1995); Newey & West (1987); Nadeau & Bengio (2003).

    Examples
    --------
    >>> round(advantage_p(np.tile([0.9, 1.1], 50), judged=100, learned=100), 6)
    0.0
    >>> advantage_p(np.zeros(50), judged=100, learned=100)
    1.0
    """
    n = len(differences)
    if n < 2 or not np.any(differences):
        return 1.0
    centred = differences - differences.mean()
    reach = min(max(SHORTEST_MEMORY, int(n ** (1 / 3))), n - 1)
    own = float(centred @ centred) / n
    near = [(1 - k / (reach + 1)) * float(centred[k:] @ centred[:-k]) / n for k in range(1, reach + 1)]
    error = np.sqrt(max(own + 2 * sum(near), own) / (n - 1) * (1 + judged / learned))
    if error == 0:
        return 0.0 if differences.mean() > 0 else 1.0
    return float(t.sf(differences.mean() / error, n - 1))


def _read_past(
    frame: pd.DataFrame,
    positions: FloatArray,
    *,
    problem: str,
    target: str,
    clock: str,
    group: str | None,
    gap: float,
) -> Past | None:
    n, window, classes = len(frame), int(FIRST * len(frame)), problem in ("binary", "multiclass")
    cuts = np.linspace(window, n, ORIGINS + 2)[1:].astype(np.int64)
    # rows of one moment stay together
    if window < FEWEST_ROWS:
        return None
    origins = (*(int(np.searchsorted(positions, positions[cut])) for cut in cuts[:-1]), n)
    day = np.floor(positions / DAY) if clock != "rows" else np.arange(n) * CHUNKS // n
    blocks = np.unique(day, return_inverse=True)[1]
    ends = tuple(int(np.searchsorted(positions, positions[at] - gap)) for at in origins[:-1])
    y = outcome_codes(
        frame[target], problem=problem, group=None if group is None else frame[group].to_numpy()
    )
    seen = [y[max(end - window, 0) : end] for end in (window, *ends)]
    if classes and any(len(np.unique(part)) < 2 for part in seen):
        return None
    if min(ends) < window or len(np.unique(blocks[origins[0] :])) < FEWEST_BLOCKS:
        return None
    return Past(y=y, blocks=blocks, classes=classes, origins=origins, window=window, ends=ends)


def _losses(kind: Kind, x: FloatArray, past: Past, *, coded_from: int) -> tuple[FloatArray, FloatArray]:
    """Return what the old model and the fresh ones lose on each judged row."""
    step = max(1, -(-past.window // min(FIT_ROWS, max(FIT_CELLS // x.shape[1], FEWEST_ROWS))))

    def learn(end: int) -> object:
        taken = slice(end - past.window, end, step)
        return fit_quick(kind, x[taken], past.y[taken], classes=past.classes, coded_from=coded_from)

    def lose(model: object, rows: slice) -> FloatArray:
        return row_losses(model, x[rows], past.y[rows], classes=past.classes)

    old = learn(past.window)
    spans = [slice(begin, end) for begin, end in zip(past.origins, past.origins[1:], strict=False)]
    fresh = [lose(learn(end), span) for end, span in zip(past.ends, spans, strict=True)]
    return lose(old, slice(past.origins[0], past.origins[-1])), np.concatenate(fresh)


def _judge(kind: Kind, stale: FloatArray, fresh: FloatArray, past: Past) -> Freshness:
    blocks = past.blocks[past.origins[0] :]
    blocks = blocks - blocks[0]
    count = np.bincount(blocks)
    held: BoolArray = count > 0
    means = np.bincount(blocks, weights=stale - fresh)[held] / count[held]
    return Freshness(
        kind=kind,
        gain=float((stale.mean() - fresh.mean()) / stale.mean()) if stale.mean() > 0 else 0.0,
        p_value=advantage_p(means, judged=len(stale), learned=past.window),
        blocks=int(held.sum()),
    )
