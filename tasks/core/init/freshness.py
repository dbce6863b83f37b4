"""Whether fresh models lose less than old ones: measured on history before a policy is proposed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import t
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.config.evaluation import EvaluationConfig
from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.init.windows import DAY, LENGTHS, ProposedKey, seconds
from evergreen.tasks.core.training.estimators import build_preprocessor

# Two quick models, a linear one and small boosted trees, and what each loses row by row.


Kind = Literal["linear", "trees"]
KINDS: tuple[Kind, ...] = ("linear", "trees")
MOST_CATEGORIES = 50
LEAST_LIKELY = 0.001
"""Least probability that is charged: a class that a model never saw costs log 1000, not infinity."""

_TREES = {"max_iter": 50, "learning_rate": 0.1, "max_leaf_nodes": 15, "early_stopping": False}


def encode(frame: pd.DataFrame, kind: Kind, *, numeric: Sequence[str], categorical: Sequence[str]) -> Any:
    """Return features as numbers, shape (n, p); coded once for all rows, without using an outcome.

    Indicators, imputed and scaled numbers for ``linear``; category codes and NaN for ``trees``.
    """
    schema = Schema(target="", numeric=tuple(numeric), categorical=tuple(categorical))
    linear = kind == "linear"
    style = "onehot" if linear else "ordinal"
    steps: Any = build_preprocessor(schema, style=style, impute=linear, max_categories=MOST_CATEGORIES)
    return np.asarray(steps.fit_transform(frame), dtype=np.float64)


def outcome_codes(target: pd.Series, *, problem: str, group: np.ndarray | None = None) -> FloatArray:
    """Return outcomes as numbers whose losses can be averaged, shape (n,).

    Classes are numbered. Numbers are centred and scaled, for a ranking within their group, for only the order there
    counts; a group whose members are all alike is 0.

    >>> outcome_codes(pd.Series([1, 3, 5, 5]), problem="ranking", group=np.array([0, 0, 1, 1])).tolist()
    [-1.0, 1.0, 0.0, 0.0]
    """
    if problem in ("binary", "multiclass"):
        return pd.factorize(target, sort=True)[0].astype(np.float64)
    y = target.to_numpy(dtype=np.float64)
    codes = np.zeros(len(y), dtype=np.int64) if group is None else pd.factorize(group)[0]
    size = np.bincount(codes)
    y = y - (np.bincount(codes, weights=y) / size)[codes]
    spread = np.sqrt(np.bincount(codes, weights=y**2) / size)[codes]
    return np.divide(y, spread, out=np.zeros_like(y), where=spread > 0)


def fit_quick(kind: Kind, x: FloatArray, y: FloatArray, *, classes: bool, coded_from: int) -> Any:
    """Fit a quick model.

    Parameters
    ----------
    x, y : ndarray of shape (n, p) and (n,)
        Features from ``encode``, outcomes from ``outcome_codes``.
    classes : bool
        Whether outcomes are class numbers, at least two of them.
    coded_from : int
        First column of ``x`` that holds category codes (trees).
    """
    if kind == "linear":
        model = LogisticRegression(max_iter=200) if classes else Ridge()
        with warnings.catch_warnings():
            # the last digits of a fit that takes longer change no loss that matters
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(x, y)
    coded = list(range(coded_from, x.shape[1])) or None
    trees = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return trees(categorical_features=coded, random_state=0, **_TREES).fit(x, y)


def row_losses(model: Any, x: FloatArray, y: FloatArray, *, classes: bool) -> FloatArray:
    """Return the loss of each row, shape (n,): the log loss of classes (in nats), the squared error of numbers."""
    if not classes:
        return (model.predict(x) - y) ** 2
    chances = model.predict_proba(x)
    place = np.searchsorted(model.classes_, y).clip(max=len(model.classes_) - 1)
    has_class = model.classes_[place] == y
    right = np.where(has_class, chances[np.arange(len(y)), place], 0.0)
    return -np.log(np.maximum(right, LEAST_LIKELY))


LEVEL = 0.01
"""One-sided level at which fresh models are called better."""
FIRST = 0.35
"""Share of history that each model is trained on, the old one from the first."""
ORIGINS = 4
"""Fresh models; with the old one of each kind they make ten fits."""
FEWEST_ROWS, FEWEST_BLOCKS = 500, 40
"""Rows to train on, and blocks to judge on, below which nothing is concluded."""
FIT_ROWS, FIT_CELLS = 20_000, 1_000_000
"""Most rows, and numbers, that a fit takes: evenly thinned beyond."""
CHUNKS = 400
"""Blocks that history is cut into where the clock counts rows."""
SHORTEST_DEPENDENCE = 7
"""Blocks that are assumed to depend on each other, at least: a week of days."""


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How much less fresh models lose than one of the first part of history."""

    kind: Kind
    """{'linear', 'trees'}: the quick model on which it shows better."""
    gain: float
    """Share of the old model's mean loss that the fresh ones save; negative: they lose more."""
    p_value: float
    """One-sided (`advantage_p`), doubled because two models were tested."""
    blocks: int
    """Days (or equal chunks) with rows that were judged."""

    @property
    def pays(self) -> bool:
        """True when a stream that does not change would show as much once in a hundred times at most."""
        return self.p_value <= LEVEL


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledHistory:
    """Labelled rows in clock order, ready to be trained on."""

    y: FloatArray
    """(n,), outcomes by `outcome_codes`."""
    blocks: IntArray
    """(n,), ascending codes of days or chunks."""
    classes: bool
    """Whether outcomes are classes."""
    origins: tuple[int, ...]
    """Places that cut the judged rows; the old model was trained on the first ``window`` rows."""
    window: int
    """Rows that each model is trained on."""
    ends: tuple[int, ...]
    """Places up to which outcomes were known at each origin."""


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
    """Measure whether models trained on the newest rows lose less than one trained on the first.

    The old model is trained on the first 35 % of rows. At four origins after them a fresh one is trained on as many,
    the newest whose outcomes were known; both answer the rows up to the next origin. What is tested is the mean, over
    blocks, of the old one's loss less the fresh ones'.

    Null: the stream does not change (features and outcomes of a block have one distribution, whenever), so that on
    average over what they were trained on the models lose equally much. Blocks may depend on those near by.

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
        None where it cannot be measured: no feature, fewer than 500 rows to train on or 40 blocks to judge on, or one
        class alone in a window.

    Notes
    -----
    The null is about the stream, so either quick model may deny it, each at half the level (Bonferroni): a change that
    a linear model cannot follow ages trees, and the other way round. A cycle longer than a third of history (the year
    in two years of rows) cannot be distinguished from a change.
    """
    if not (numeric or categorical):
        return None
    groups = None if group is None else frame[group].to_numpy()
    y = outcome_codes(frame[target], problem=problem, group=groups)
    classes = problem in ("binary", "multiclass")
    history = _read_history(y, positions, classes=classes, clock=clock, gap=gap)
    if history is None:
        return None
    results = []
    for kind in KINDS:
        x = encode(frame, kind, numeric=numeric, categorical=categorical)
        results.append(_judge(kind, *_losses(kind, x, history, coded_from=len(numeric)), history))
    best = min(results, key=lambda one: one.p_value)
    return replace(best, p_value=min(1.0, len(results) * best.p_value))


def advantage_p(differences: FloatArray, *, judged: int, learned: int) -> float:
    """Return the one-sided p-value of a mean difference of losses over time.

    A small one says that the first of two losses is the larger. Null: mean 0 over blocks *and* over the rows that the
    models happened to be trained on. A block may depend on its neighbours: Bartlett weights to n^(1/3) blocks, a week
    at least, and never less variance than independent blocks have. One old model is judged on all blocks, so its luck
    does not average out: the variance is raised by 1 + judged / learned, as for folds that share training rows.

    Parameters
    ----------
    differences : ndarray of shape (n,)
        Mean difference of each block, in time order.
    judged, learned : int
        Rows judged on, and rows that each model was trained on.

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
    reach = min(max(SHORTEST_DEPENDENCE, int(n ** (1 / 3))), n - 1)
    own = float(centred @ centred) / n
    near = [(1 - k / (reach + 1)) * float(centred[k:] @ centred[:-k]) / n for k in range(1, reach + 1)]
    error = np.sqrt(max(own + 2 * sum(near), own) / (n - 1) * (1 + judged / learned))
    if error == 0:
        return 0.0 if differences.mean() > 0 else 1.0
    return float(t.sf(differences.mean() / error, n - 1))


def _read_history(
    y: FloatArray, positions: FloatArray, *, classes: bool, clock: str, gap: float
) -> LabelledHistory | None:
    n, window = len(y), int(FIRST * len(y))
    cuts = np.linspace(window, n, ORIGINS + 2)[1:].astype(np.int64)
    # rows of one moment stay together
    if window < FEWEST_ROWS:
        return None
    origins = (*(int(np.searchsorted(positions, positions[cut])) for cut in cuts[:-1]), n)
    day = np.floor(positions / DAY) if clock != "rows" else np.arange(n) * CHUNKS // n
    blocks = np.unique(day, return_inverse=True)[1]
    ends = tuple(int(np.searchsorted(positions, positions[at] - gap)) for at in origins[:-1])
    training = [y[max(end - window, 0) : end] for end in (window, *ends)]
    if classes and any(len(np.unique(part)) < 2 for part in training):
        return None
    if min(ends) < window or len(np.unique(blocks[origins[0] :])) < FEWEST_BLOCKS:
        return None
    return LabelledHistory(y=y, blocks=blocks, classes=classes, origins=origins, window=window, ends=ends)


def _losses(
    kind: Kind, x: FloatArray, history: LabelledHistory, *, coded_from: int
) -> tuple[FloatArray, FloatArray]:
    """Return what the old model and the fresh ones lose on each judged row."""
    y, classes, origins = history.y, history.classes, history.origins
    step = max(1, -(-history.window // min(FIT_ROWS, max(FIT_CELLS // x.shape[1], FEWEST_ROWS))))

    def learn(end: int) -> object:
        rows = slice(end - history.window, end, step)
        return fit_quick(kind, x[rows], y[rows], classes=classes, coded_from=coded_from)

    def lose(model: object, begin: int, end: int) -> FloatArray:
        return row_losses(model, x[begin:end], y[begin:end], classes=classes)

    old = lose(learn(history.window), origins[0], origins[-1])
    fresh = [lose(learn(end), *span) for end, span in zip(history.ends, pairwise(origins), strict=True)]
    return old, np.concatenate(fresh)


def _judge(kind: Kind, stale: FloatArray, fresh: FloatArray, history: LabelledHistory) -> Freshness:
    blocks = np.unique(history.blocks[history.origins[0] :], return_inverse=True)[1]
    means = np.bincount(blocks, weights=stale - fresh) / np.bincount(blocks)
    return Freshness(
        kind=kind,
        gain=float((stale.mean() - fresh.mean()) / stale.mean()) if stale.mean() > 0 else 0.0,
        p_value=advantage_p(means, judged=len(stale), learned=history.window),
        blocks=len(means),
    )


# How often a model is retrained, and which challenger takes over: every three windows, and by what history shows.


CHAMPION_WINDOWS = 3
"""Windows of monitoring that a champion is judged by before it may be replaced."""
LONGEST = 0.2
"""A wait longer than this share of history is not proposed."""


def propose_pace(
    windows: Sequence[ProposedKey], positions: FloatArray | None, *, clock: str
) -> tuple[ProposedKey, ...]:
    """Propose ``retraining.cooldown`` and ``retraining.every``.

    A champion is judged by monitoring's windows, and drift by three of them: what is retrained more often is not
    judged. Where a window counts rows on a clock of time, the median time that so many rows took stands for it.

    Parameters
    ----------
    windows : sequence of ProposedKey
        What was proposed for the other keys (`evergreen.tasks.core.init.windows.propose_windows`).
    positions : ndarray of shape (n,) or None
        Ascending clock positions of all rows; without a clock nothing is proposed.
    clock : {'timestamp', 'seconds', 'rows'}
        Unit of the positions.
    """
    chosen = {entry.key: entry.value for entry in windows}
    if positions is None or "monitoring.window" not in chosen:
        return ()
    window = parse_span(chosen["monitoring.window"])
    why = f"{CHAMPION_WINDOWS} windows of monitoring: a champion that is replaced earlier was hardly judged"
    if clock == "rows":
        return (ProposedKey("retraining.every", f"{int(CHAMPION_WINDOWS * window.amount)} rows", why),)
    if window.unit == "seconds":
        pace: str | None = f"{CHAMPION_WINDOWS * int(window.text[:-1])}{window.text[-1]}"
    else:
        pace = _time_of(int(window.amount), positions)
    if pace is None or seconds(pace) > LONGEST * (positions[-1] - positions[0]):
        pace = chosen.get("evaluation.validation_window")
        why = (
            f"{CHAMPION_WINDOWS} windows would take too long; so each challenger is judged on rows of its own"
        )
    if pace is None:
        return ()
    every = "the newest rows are learned as soon as the cooldown is over"
    return ProposedKey("retraining.cooldown", pace, why), ProposedKey("retraining.every", pace, every)


def propose_succession(freshness: Freshness | None) -> tuple[ProposedKey, ...]:
    """Propose ``evaluation.policy``, ``margin`` and ``retraining.back_off`` where fresh models lose less.

    Where it does not, nothing: the default lets a challenger win by being better alone, so that equals do not.
    """
    if freshness is None or not freshness.pays:
        return ()
    margin = EvaluationConfig().min_improvement
    p = "p < .001" if freshness.p_value < 0.001 else f"p = {freshness.p_value:.3f}".replace("0.", ".")
    measured = (
        f"measured on {freshness.blocks} blocks of history, fresh models lose {freshness.gain:.0%} less than one of "
        f"its first third ({p}): a newer one that is not worse takes over"
    )
    not_worse = "not worse: by less than min_improvement, the least difference that counts"
    no_wait = "models age here: a challenger that was refused is no reason to wait longer for the next"
    return (
        ProposedKey("evaluation.policy", "non_inferiority", measured),
        ProposedKey("evaluation.margin", margin, not_worse),
        ProposedKey("retraining.back_off", 1.0, no_wait),
    )


def _time_of(rows: int, positions: FloatArray) -> str | None:
    """Return the shortest proposed length that three times the median time of so many rows fits in."""
    if rows >= len(positions):
        return None
    wanted = CHAMPION_WINDOWS * float(np.median(positions[rows:] - positions[:-rows]))
    return next((text for text in LENGTHS if seconds(text) >= wanted), None)
