"""The evidence of a live test: sufficient statistics by variant, added up batch by batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import combinations, pairwise

import numpy as np

from evergreen.tasks.core.ab_testing.definition import ARMS, BLOCK, ROW, LiveTest
from evergreen.tasks.core.ab_testing.metric import clip_values, live_values
from evergreen.tasks.core.arrays import BoolArray, FloatArray, IntArray, ObjectArray
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.stats.association import JointMoments

SLICE_ROWS = 200_000
"""Most predictions of a slice, ties aside."""


def cut_slices(positions: FloatArray, span: Window, *, most: int = SLICE_ROWS) -> list[Window]:
    """Return neighbouring windows that cover a span, each with at most so many rows, but for ties at its start.

    Parameters
    ----------
    positions : array, shape (n,)
        Ascending positions of the rows; those outside of the span are passed over.
    span : Window
        What to cover.
    most : int
        Most rows of a window; those of one position stay together.

    Examples
    --------
    >>> cut_slices(np.array([0.0, 1.0, 2.0, 2.5, 4.0, 5.0]), Window(0.5, 9.0), most=2)
    [Window(start=0.5, end=2.5), Window(start=2.5, end=5.0), Window(start=5.0, end=9.0)]
    """
    first, last = np.searchsorted(positions, [span.start, span.end])
    cuts = np.unique(positions[first:last][most::most])
    edges = [span.start, *(float(cut) for cut in cuts if cut > span.start), span.end]
    return [Window(start, end) for start, end in pairwise(edges)]


# Sums by unit of randomisation: rows of one entity are not independent, so that the entity counts once.


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitTable:
    """Sums of c numbers for each of u units."""

    names: ObjectArray
    """Shape (u,). Sorted, without repeats."""
    sums: FloatArray
    """Shape (u, c). The first number is how many rows the unit brought (0: none that counts yet)."""

    @classmethod
    def of(cls, names: ObjectArray, values: FloatArray) -> UnitTable:
        """Sum rows ``(n, c)`` by the unit that each belongs to.

        >>> UnitTable.of(np.array(["b", "a", "b"]), np.array([[1.0, 5.0], [1.0, 2.0], [1.0, 1.0]])).sums.tolist()
        [[1.0, 2.0], [2.0, 6.0]]
        """
        units, codes = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        columns = [np.bincount(codes, weights=column, minlength=len(units)) for column in values.T]
        sums = np.array(columns, dtype=np.float64).T.reshape(len(units), values.shape[1])
        return cls(names=units.astype(object), sums=sums)

    def __add__(self, other: UnitTable) -> UnitTable:
        """Return the sums of both; a unit that is in both counts once."""
        if not len(self) or not len(other):
            return self if len(self) else other
        return UnitTable.of(np.append(self.names, other.names), np.vstack([self.sums, other.sums]))

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.names)

    def without(self, names: ObjectArray) -> UnitTable:
        """Return the table without some units."""
        if not len(names):
            return self
        others = ~np.isin(self.names.astype(str), np.asarray(names, dtype=str))
        return UnitTable(names=self.names[others], sums=self.sums[others])

    @property
    def counted(self) -> FloatArray:
        """Sums of the units that brought a row, shape (v, c)."""
        return self.sums[self.sums[:, 0] > 0]

    @property
    def repeats(self) -> bool:
        """Whether a unit brought more than one row."""
        return bool((self.sums[:, 0] > 1).any())


_COLUMNS = 3
"""Numbers a unit of pairs: rows, the control's and the challenger's value; of arms rows and value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmEvidence:
    """Evidence on one arm, or of the pairs of one challenger with the control."""

    singles: JointMoments = field(default_factory=lambda: JointMoments.empty(_COLUMNS))
    """Rows that are units of their own."""
    table: UnitTable = field(
        default_factory=lambda: UnitTable(names=np.empty(0, dtype=object), sums=np.empty((0, _COLUMNS)))
    )
    """Units that may bring more than one row; those without a row that counts are in it too."""
    lost: int = 0
    won: int = 0
    """Pairs that only the control, and only the challenger, has right."""
    counts: Counter[str] = field(default_factory=Counter)
    """``due`` (old enough), ``labelled``, ``counted``, ``undefined``, ``clipped``, ``unpaired`` (no shadow
    answered), ``single_due`` (units of one row that are due)."""

    def __add__(self, other: ArmEvidence) -> ArmEvidence:
        """Return both together."""
        names = [one.name for one in fields(self)]
        return ArmEvidence(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def moments(self, *, without: ObjectArray | None = None) -> JointMoments:
        """Return the moments over all units that count."""
        table = self.table if without is None else self.table.without(without)
        rows = table.counted
        return self.singles + JointMoments.of(rows) if len(rows) else self.singles

    def assigned(self) -> int:
        """Return the units that are due, with or without an outcome."""
        return self.counts["single_due"] + len(self.table)

    def labelled(self) -> int:
        """Return the units of which an outcome counts."""
        return int(self.singles.n) + len(self.table.counted)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """One metric's evidence: by arm (mode ``arms``), or by challenger (mode ``paired``).

    Batches whose rows are disjoint add up to the evidence of all rows.
    """

    arms: Mapping[str, ArmEvidence] = field(default_factory=dict)

    def __add__(self, other: Evidence) -> Evidence:
        """Return the evidence of both batches."""
        both = {name: one + other.arms[name] for name, one in self.arms.items() if name in other.arms}
        return Evidence(arms={**self.arms, **other.arms, **both})

    def arm(self, name: str) -> ArmEvidence:
        """Return an arm's evidence; an empty one when nothing was observed of it."""
        return self.arms.get(name) or ArmEvidence()

    def crossed(self) -> ObjectArray:
        """Return the units that more than one arm answered: their rows count in none."""
        names = [arm.table.names.astype(str) for arm in self.arms.values()]
        shared = [np.intersect1d(one, other) for one, other in combinations(names, 2)]
        return np.unique(np.concatenate(shared)).astype(object) if shared else np.empty(0, object)


# What a live test observed: one value a row (or group) and variant, and when its outcome was known.


_ANSWER_COLUMNS = ("keys", "variants", "units", "positions", "known_at")


@dataclass(frozen=True, kw_only=True, eq=False)
class LoggedAnswers:
    """Logged answers of all variants, one entry an answer, in any order."""

    keys: ObjectArray
    """Shape (n,). Prediction id; a shadow's answer has the id of the row it scored."""
    variants: ObjectArray
    """Shape (n,). Who answered."""
    units: ObjectArray
    """Shape (n,). Unit of randomisation (entity); None where each row stands for itself."""
    positions: FloatArray
    known_at: FloatArray
    """Shape (n,). On the clock: of the prediction, and of when its outcome became known (NaN: not yet)."""
    scored: Scored
    """Answers and outcomes; the outcome of an unlabelled row is not read."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths and positions that are none."""
        for name in _ANSWER_COLUMNS:
            column = getattr(self, name)
            if len(column) != len(self.scored):
                raise DataError(
                    f"Column '{name}' of logged answers has {len(column)} entries for {len(self.scored)} rows. "
                    "Allowed: one entry an answer."
                )
        if not np.isfinite(self.positions).all():
            raise DataError("A logged answer has no position on the clock. Allowed: finite positions only.")

    def take(self, chosen: BoolArray) -> LoggedAnswers:
        """Return the answers of a mask."""
        columns = {name: getattr(self, name)[chosen] for name in _ANSWER_COLUMNS}
        return LoggedAnswers(**columns, scored=self.scored.take(chosen))


@dataclass(frozen=True, kw_only=True, eq=False)
class Observations:
    """One entry a row (or ranking group) and variant, shape (m,)."""

    keys: ObjectArray
    variants: ObjectArray
    units: ObjectArray
    """As of `LoggedAnswers`; of a group, key and unit are its name."""
    rows: IntArray
    """Rows that the entry stands for: 1, or those of the group that the variant answered."""
    positions: FloatArray
    known_at: FloatArray
    """A group is as old as its newest row, and known when its last outcome is."""
    values: FloatArray
    """The metric, greater always better; NaN where it is undefined or the outcome is unknown."""

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.keys)

    def take(self, chosen: BoolArray) -> Observations:
        """Return the entries of a mask."""
        return Observations(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


def observe(answered: LoggedAnswers, metric: Metric) -> Observations:
    """Measure each answer by a metric that can be followed live.

    Raises
    ------
    DataError
        When a variant answered one row (or group) twice.
    """
    ranking = metric.problems == frozenset({"ranking"})
    observed = _by_group(answered, metric) if ranking else _by_row(answered, metric)
    pairs = np.array([f"{v}\x1f{k}" for v, k in zip(observed.variants, observed.keys, strict=True)])
    names, counts = np.unique(pairs, return_counts=True)
    if (counts > 1).any():
        variant, key = str(names[np.argmax(counts)]).split("\x1f", 1)
        raise DataError(
            f"Variant '{variant}' answered '{key}' {counts.max()} times. Allowed: one answer a row; hand in each once."
        )
    return observed


def _by_row(answered: LoggedAnswers, metric: Metric) -> Observations:
    values = np.full(len(answered.scored), np.nan)
    for variant in np.unique(answered.variants.astype(str)):
        places = np.flatnonzero((answered.variants == variant) & np.isfinite(answered.known_at))
        measured, rows = live_values(metric, answered.scored.take(places))
        values[places[rows]] = measured
    values[_unanswered(answered.scored)] = np.nan
    columns = {name: getattr(answered, name) for name in _ANSWER_COLUMNS}
    return Observations(**columns, rows=np.ones(len(values), dtype=np.int64), values=values)


def _by_group(answered: LoggedAnswers, metric: Metric) -> Observations:
    """Put the rows of a group and variant together.

    Groups that say nothing about an order are left out, unless they do in another variant's part of their rows: a
    group of which several variants answered a part each must be known as such.
    """
    scored = answered.scored
    pair = np.array([f"{v}\x1f{g}" for v, g in zip(answered.variants, scored.require("group"), strict=True)])
    _, first, codes = np.unique(pair, return_index=True, return_inverse=True)
    groups = len(first)
    newest, newest_label = np.full(groups, -np.inf), np.full(groups, -np.inf)
    np.maximum.at(newest, codes, answered.positions)
    np.maximum.at(newest_label, codes, np.where(np.isfinite(answered.known_at), answered.known_at, np.inf))
    values = np.full(groups, np.nan)
    whole = np.isfinite(newest_label)
    places = np.flatnonzero(whole[codes])
    if places.size:
        values[whole] = -np.inf  # says nothing, unless measured below
        recoded = Scored(
            y=scored.y[places],
            score=scored.require("score")[places],
            group=codes[places],
            value=None if scored.value is None else scored.value[places],
        )
        measured, rows = live_values(metric, recoded)
        values[codes[places[rows]]] = measured
    values[codes[_unanswered(scored)]] = np.nan
    silent = np.isneginf(values)
    names = scored.require("group")[first].astype(str).astype(object)
    grouped = Observations(
        keys=names,
        variants=answered.variants[first],
        units=names,
        rows=np.bincount(codes, minlength=groups),
        positions=newest,
        known_at=np.where(whole, newest_label, np.nan),
        values=np.where(silent, np.nan, values),
    )
    return grouped.take(~silent | np.isin(names.astype(str), names[~silent].astype(str)))


def _unanswered(scored: Scored) -> BoolArray:
    """Tell which rows have neither a finite score nor a decision: the model failed on them, whatever a metric says."""
    if not len(scored):
        return np.zeros(0, dtype=np.bool_)
    none = np.ones(len(scored), dtype=np.bool_)
    if scored.label is not None:
        blank = (one is None or (isinstance(one, float) and math.isnan(one)) for one in scored.label.tolist())
        none &= np.fromiter(blank, dtype=np.bool_, count=len(scored))
    if scored.score is not None:
        none &= ~np.isfinite(scored.score.astype(np.float64).reshape(len(scored), -1)).all(axis=1)
    return none


# Turn observations into evidence: which of them count, and by which unit they are summed.


def due_predictions(test: LiveTest, positions: FloatArray, *, now: float) -> BoolArray:
    """Tell which predictions are of the test and old enough to count, whether they have an outcome or not.

    From the start to its longest end, and at least so old (``LiveTest.lag``): the same rule in every arm. Of a block
    nothing before it is over.
    """
    return np.asarray((positions >= test.start) & (positions <= test.counted_until(now)), dtype=np.bool_)


def units_of(test: LiveTest, observed: Observations) -> ObjectArray:
    """Return what each observation is summed by; None where it stands for itself."""
    if test.unit == BLOCK:
        numbers = np.floor((observed.positions - test.start) / (test.block or 1.0)).astype(np.int64)
        return np.array([f"{number:012d}" for number in numbers.tolist()], dtype=object)
    return np.full(len(observed), None, dtype=object) if test.unit == ROW else observed.units


def labelled_in_time(test: LiveTest, observed: Observations, *, now: float) -> BoolArray:
    """Tell which outcomes count: known by now, and within the follow-up of their prediction where there is one."""
    with np.errstate(invalid="ignore"):
        in_time = observed.known_at <= now
        if test.follow_up is not None:
            in_time &= observed.known_at - observed.positions <= test.follow_up
    return np.asarray(in_time, dtype=np.bool_)


def gather_evidence(
    observed: Observations, test: LiveTest, *, now: float, clip: tuple[float, float] | None = None
) -> Evidence:
    """Return the evidence of a batch of observations.

    Parameters
    ----------
    observed : Observations
        Of one metric. Each prediction must be handed in once: batches are cut by position, and with a follow-up
        what has been due stays as it is, so that only rows that became due since the last analysis need be read.
        Without a follow-up outcomes trickle in, and all rows must be read at each analysis.
    now : float
        Position on the clock; what became known later does not count.
    clip : (float, float), optional
        Bounds of the metric's values.

    Returns
    -------
    Evidence
        By arm, or by challenger where the test is paired. Variants that are not in the test are left out.
    """
    batch = observed.take(due_predictions(test, observed.positions, now=now))
    rows = {arm.name: batch.take(batch.variants == arm.name) for arm in test.arms}
    control = rows[test.control.name]
    if test.mode == ARMS:
        return Evidence(arms={name: _arm(own, test, now=now, clip=clip) for name, own in rows.items()})
    pairs = {arm.name: _pairs(control, rows[arm.name], test, now=now, clip=clip) for arm in test.challengers}
    return Evidence(arms=pairs)


def _arm(rows: Observations, test: LiveTest, *, now: float, clip: tuple[float, float] | None) -> ArmEvidence:
    labelled = labelled_in_time(test, rows, now=now)
    values = clip_values(rows.values, clip)
    counts = labelled & np.isfinite(values)
    masks = {
        "labelled": labelled,
        "counted": counts,
        "undefined": labelled & ~counts,
        "clipped": counts & (values != rows.values),
    }
    return _sum_up(units_of(test, rows), values, masks)


def _pairs(
    control: Observations,
    shadow: Observations,
    test: LiveTest,
    *,
    now: float,
    clip: tuple[float, float] | None,
) -> ArmEvidence:
    """Put the two answers to each of the control's rows side by side; of a group only where both had all its rows."""
    places = {key: place for place, key in enumerate(shadow.keys.tolist())}
    partners = np.array([places.get(key, -1) for key in control.keys.tolist()], dtype=np.int64)
    paired = partners >= 0
    paired[paired] = shadow.rows[partners[paired]] == control.rows[paired]
    labelled = labelled_in_time(test, control, now=now)
    theirs = np.full(len(control), np.nan)
    theirs[paired] = shadow.values[partners[paired]]
    raw = np.column_stack([control.values, theirs])
    values = clip_values(raw, clip)
    counts = labelled & paired & np.isfinite(values).all(axis=1)
    masks = {
        "unpaired": ~paired,
        "labelled": labelled,
        "counted": counts,
        "undefined": labelled & paired & ~counts,
        "clipped": counts & (values != raw).any(axis=1),
    }
    gains = values[counts, 1] - values[counts, 0]
    lost, won = int((gains < 0).sum()), int((gains > 0).sum())
    return replace(_sum_up(units_of(test, control), values, masks), lost=lost, won=won)


def _sum_up(units: ObjectArray, values: FloatArray, masks: dict[str, BoolArray]) -> ArmEvidence:
    """Sum rows by unit; a row without one stands for itself. What does not count is 0 in the table."""
    counts, columns = masks["counted"], np.column_stack([np.ones(len(units)), values])
    grouped = np.array([unit is not None for unit in units.tolist()], dtype=np.bool_)
    single = columns[counts & ~grouped]
    table = UnitTable.of(units[grouped], np.where(counts[:, None], columns, 0.0)[grouped])
    singles = JointMoments.of(single) if len(single) else JointMoments.empty(columns.shape[1])
    sums = {name: int(mask.sum()) for name, mask in masks.items()}
    sums |= {"due": len(units), "single_due": int((~grouped).sum())}
    return ArmEvidence(
        singles=singles, table=table, counts=Counter({name: n for name, n in sums.items() if n})
    )
