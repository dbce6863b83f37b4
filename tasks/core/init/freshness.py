"""Whether fresh models lose less than old ones: asked of history before a policy is proposed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import t
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from evergreen.tasks.core.arrays import BoolArray, FloatArray, IntArray
from evergreen.tasks.core.config.evaluation import EvaluationConfig
from evergreen.tasks.core.config.units import Span, parse_span
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
    """Return features as numbers, shape (n, p); coded once for all rows, which looks at no outcome.

    Indicators, imputed and scaled numbers for ``linear``; category codes and NaN for ``trees``.
    """
    schema = Schema(target="", numeric=tuple(numeric), categorical=tuple(categorical))
    style = "onehot" if kind == "linear" else "ordinal"
    steps: Any = build_preprocessor(
        schema, style=style, impute=kind == "linear", max_categories=MOST_CATEGORIES
    )
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
            # the last digits of a fit that takes longer change no loss that is looked at
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
    known = model.classes_[place] == y
    right = np.where(known, chances[np.arange(len(y)), place], 0.0)
    return -np.log(np.maximum(right, LEAST_LIKELY))


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
SHORTEST_DEPENDENCE = 7
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
class LabelledHistory:
    """Labelled rows in clock order, ready to be learned from.

    Attributes
    ----------
    y : ndarray of shape (n,)
        Outcomes (`evergreen.tasks.core.init.freshness.outcome_codes`).
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
    past = _read_history(frame, positions, problem=problem, target=target, clock=clock, group=group, gap=gap)
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
    reach = min(max(SHORTEST_DEPENDENCE, int(n ** (1 / 3))), n - 1)
    own = float(centred @ centred) / n
    near = [(1 - k / (reach + 1)) * float(centred[k:] @ centred[:-k]) / n for k in range(1, reach + 1)]
    error = np.sqrt(max(own + 2 * sum(near), own) / (n - 1) * (1 + judged / learned))
    if error == 0:
        return 0.0 if differences.mean() > 0 else 1.0
    return float(t.sf(differences.mean() / error, n - 1))


def _read_history(
    frame: pd.DataFrame,
    positions: FloatArray,
    *,
    problem: str,
    target: str,
    clock: str,
    group: str | None,
    gap: float,
) -> LabelledHistory | None:
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
    return LabelledHistory(y=y, blocks=blocks, classes=classes, origins=origins, window=window, ends=ends)


def _losses(
    kind: Kind, x: FloatArray, past: LabelledHistory, *, coded_from: int
) -> tuple[FloatArray, FloatArray]:
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


def _judge(kind: Kind, stale: FloatArray, fresh: FloatArray, past: LabelledHistory) -> Freshness:
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


# How often a model is retrained, and which challenger takes over: three looks apart, and by what history says.


WINDOWS_APART = 3
"""Looks of monitoring that a champion is judged by before it may be followed."""
LONGEST = 0.2
"""A longer share of history between two retrainings is hardly ever come to."""


def propose_pace(
    windows: Sequence[ProposedKey], positions: FloatArray | None, *, clock: str
) -> tuple[ProposedKey, ...]:
    """Propose ``retraining.cooldown`` and ``retraining.every``.

    A champion is judged by monitoring's windows, and drift by three of them: what is retrained more often is not
    judged. Where a window counts rows on a clock of time, the median time that so many rows took stands for it.

    Parameters
    ----------
    windows : sequence of Entry
        What was proposed for the other keys (`evergreen.tasks.core.init.windows.propose_windows`).
    positions : ndarray of shape (n,) or None
        Ascending clock positions of all rows; without a clock nothing is proposed.
    clock : {'timestamp', 'seconds', 'rows'}
        Unit of the positions.
    """
    chosen = {entry.key: entry.value for entry in windows}
    if positions is None or "monitoring.window" not in chosen:
        return ()
    look = parse_span(chosen["monitoring.window"])
    why = f"{WINDOWS_APART} windows of monitoring: a champion that is replaced earlier was hardly judged"
    if clock == "rows":
        return (
            ProposedKey(key="retraining.every", value=f"{int(WINDOWS_APART * look.amount)} rows", why=why),
        )
    pace = _threefold(look) if look.unit == "seconds" else _time_of(int(look.amount), positions)
    if pace is None or seconds(pace) > LONGEST * (positions[-1] - positions[0]):
        pace = chosen.get("evaluation.validation_window")
        why = f"{WINDOWS_APART} windows would take too long; so each challenger is judged on rows of its own"
    if pace is None:
        return ()
    return (
        ProposedKey(key="retraining.cooldown", value=pace, why=why),
        ProposedKey(
            key="retraining.every",
            value=pace,
            why="the newest rows are learned as soon as the cooldown is over",
        ),
    )


def propose_succession(found: Freshness | None) -> tuple[ProposedKey, ...]:
    """Propose ``evaluation.policy``, ``margin`` and ``retraining.back_off`` where freshness surely pays.

    Where it does not, nothing: the default lets a challenger win by being better alone, so that equals do not.
    """
    if found is None or not found.pays:
        return ()
    margin = EvaluationConfig().min_improvement
    p = "p < .001" if found.p_value < 0.001 else f"p = {found.p_value:.3f}".replace("0.", ".")
    measured = (
        f"measured on {found.blocks} blocks of history, fresh models lose {found.gain:.0%} less than one of its first "
        f"third ({p}): a newer one that is not worse takes over"
    )
    return (
        ProposedKey(key="evaluation.policy", value="non_inferiority", why=measured),
        ProposedKey(
            key="evaluation.margin",
            value=margin,
            why="not worse: by less than min_improvement, the least difference that counts",
        ),
        ProposedKey(
            key="retraining.back_off",
            value=1.0,
            why="models age here: a challenger that was refused is no reason to wait longer for the next",
        ),
    )


def _threefold(look: Span) -> str:
    number, unit = look.text[:-1], look.text[-1]
    return f"{WINDOWS_APART * int(number)}{unit}"


def _time_of(rows: int, positions: FloatArray) -> str | None:
    """Return the shortest proposed length that three times the median time of so many rows fits in."""
    if rows >= len(positions):
        return None
    wanted = WINDOWS_APART * float(np.median(positions[rows:] - positions[:-rows]))
    return next((text for text in LENGTHS if seconds(text) >= wanted), None)
