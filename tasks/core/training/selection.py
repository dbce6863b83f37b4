"""Compare candidates by cross-validation: the winner, its equals, and which are not eligible."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.errors import ConfigError, unknown_name
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.paired import corrected_resampled_t
from evergreen.tasks.core.stats.resampling import holm
from evergreen.tasks.core.verdict import Outcome, Reason, Verdict

# Selection criteria such as ``accuracy > 0.90 and accuracy_std < 0.05``: a small grammar, never ``eval``.


_MAX_LENGTH = 1_000
_COMPARISONS: dict[type[ast.cmpop], tuple[str, Callable[[float, float], bool]]] = {
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}
_ALLOWED = "comparisons (> >= < <= == !=) of metric names and numbers, joined by and, or, not and parentheses"


FoldScores = Mapping[str, Sequence[float] | FloatArray]
"""Values by fold, shape (folds,), by metric."""


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """Parsed criteria (`parse_criteria`): the ``text`` as written, and the ``names`` of the metrics in it."""

    text: str
    names: frozenset[str]
    _tree: ast.expr = field(repr=False, compare=False)

    def judge(self, values: Mapping[str, float]) -> tuple[Reason, ...]:
        """Judge values by name; a missing or NaN value is a named reason and never met."""
        missing = "was not measured or is not a number, so the criteria cannot be met."
        failed = [
            Reason(code="criterion_undefined", message=f"'{name}' {missing}")
            for name in sorted(self.names)
            if not math.isfinite(values.get(name, math.nan))
        ]
        if failed:
            return tuple(failed)
        if _evaluate(self._tree, values, failed):
            return ()
        whole = Reason(code="criterion_not_met", message=f"The selection criteria '{self.text}' are not met.")
        return tuple(failed) or (whole,)


def parse_criteria(text: str, *, choices: Iterable[str] | None = None, where: str = "") -> Criteria:
    """Parse selection criteria.

    Parameters
    ----------
    text : str
        Comparisons of names and numbers with ``and``, ``or``, ``not`` and parentheses; ``ndcg@3`` is
        read as ``ndcg_at_3``; ``a < b < c`` as usual.
    choices : iterable of str, optional
        Names that are allowed; by default any.
    where : str
        Configuration key, for the error.

    Raises
    ------
    ConfigError
        When the text is anything but such an expression.
    UnknownName
        When it names something that is not ``known``.

    Examples
    --------
    >>> criteria = parse_criteria("accuracy > 0.90 and accuracy_std < 0.05")
    >>> criteria.judge({"accuracy": 0.93, "accuracy_std": 0.01})
    ()
    >>> criteria.judge({"accuracy": 0.85, "accuracy_std": 0.01})[0].message
    'accuracy is 0.85; wanted: accuracy > 0.9.'
    """
    place = f" in {where}" if where else ""
    if not text.strip() or len(text) > _MAX_LENGTH:
        size = f"{len(text)} characters. Allowed: 1 to {_MAX_LENGTH}."
        raise ConfigError(f"The selection criteria{place} have {size}")
    try:
        tree = ast.parse(text.strip().replace("@", "_at_"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        unreadable = f"Cannot read the selection criteria '{text}'{place}. Allowed: {_ALLOWED}."
        raise ConfigError(unreadable) from error
    _refuse_other_nodes(tree, text=text, place=place)
    names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    allowed = None if choices is None else set(choices)
    for name in sorted(names):
        if allowed is not None and name not in allowed:
            raise unknown_name("metric", name, allowed, where=where or "the selection criteria")
    return Criteria(text=text, names=names, _tree=tree)


def _refuse_other_nodes(node: ast.expr, *, text: str, place: str) -> None:
    """Let only conditions of comparisons of names and numbers through."""
    if isinstance(node, ast.BoolOp) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
        for part in node.values if isinstance(node, ast.BoolOp) else [node.operand]:
            _refuse_other_nodes(part, text=text, place=place)
    elif not isinstance(node, ast.Compare) or not all(map(_is_term, [node.left, *node.comparators])):
        shown = ast.unparse(node)
        raise ConfigError(
            f"The selection criteria '{text}'{place} contain '{shown}', which is no comparison. Allowed: {_ALLOWED}."
        )
    elif not all(type(op) in _COMPARISONS for op in node.ops):
        raise ConfigError(f"The selection criteria '{text}'{place} use 'in' or 'is'. Allowed: {_ALLOWED}.")


def _is_term(node: ast.expr) -> bool:
    """Return whether a node is a name, a number, or a number with a sign."""
    if isinstance(node, ast.Name):
        return True
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _evaluate(node: ast.expr, values: Mapping[str, float], failed: list[Reason]) -> bool:
    """Evaluate a condition and collect the comparisons that do not hold."""
    if isinstance(node, ast.BoolOp):
        answers = [_evaluate(part, values, failed) for part in node.values]
        return all(answers) if isinstance(node.op, ast.And) else any(answers)
    if isinstance(node, ast.UnaryOp):
        return not _evaluate(node.operand, values, [])
    if not isinstance(node, ast.Compare):
        raise ConfigError(f"'{ast.unparse(node)}' is no comparison. Allowed: {_ALLOWED}.")
    left = node.left
    for comparison, right in zip(node.ops, node.comparators, strict=True):
        symbol, holds = _COMPARISONS[type(comparison)]
        observed, limit = _number(left, values), _number(right, values)
        if not holds(observed, limit):
            name = ast.unparse(left)
            message = f"{name} is {observed:.6g}; wanted: {name} {symbol} {ast.unparse(right)}."
            unmet = Reason(code="criterion_not_met", message=message, observed=observed, limit=limit)
            failed.append(unmet)
            return False
        left = right
    return True


def _number(node: ast.expr, values: Mapping[str, float]) -> float:
    """Return the value of a name or a number."""
    return float(values[node.id]) if isinstance(node, ast.Name) else float(ast.literal_eval(node))


@dataclass(frozen=True, kw_only=True)
class CandidateResult(Struct):
    """One candidate's row of the comparison."""

    name: str
    """The candidate."""
    mean: float
    std: float
    """Of the deciding metric over folds (``ddof=1``); ``nan`` where a fold is undefined."""
    eligible: bool
    """True when the metric is defined and the criteria are met."""
    behind: float = math.nan
    """How much worse than the winner, in the metric's own unit, >= 0; ``nan`` without a winner."""
    p_value: float = math.nan
    """Two-sided corrected resampled t against the winner, Holm-adjusted; ``nan`` for the winner itself."""
    tied: bool = False
    """True when it cannot be distinguished from the winner at ``level``."""
    reasons: tuple[Reason, ...] = ()
    """Why it is not eligible."""


@dataclass(frozen=True, kw_only=True)
class CandidateComparison:
    """The table, best first, the winner, and the verdict (INSUFFICIENT without a winner)."""

    metric: str
    level: float
    winner: str | None
    candidates: tuple[CandidateResult, ...]
    verdict: Verdict


def compare_candidates(
    fold_scores: Mapping[str, FoldScores],
    *,
    metric: Metric,
    train_size: int,
    test_size: int,
    level: float = 0.05,
    criteria: Criteria | None = None,
) -> CandidateComparison:
    """Compare candidates on the same folds.

    The winner is the eligible candidate with the best mean; the others are tested against it by the
    corrected resampled t-test with Holm's adjustment. The plain t-test would call folds that share their
    training rows independent.

    Parameters
    ----------
    fold_scores : mapping of str to mapping of str to array, shape (folds,)
        Candidate → metric → value by fold; every candidate on the same folds.
    metric : Metric
        The metric that decides; must be among the measured ones.
    train_size, test_size : int
        Typical rows of a fold's training and test part.
    level : float
        Level at which a candidate counts as different from the winner.
    criteria : Criteria, optional
        What a candidate must meet, on the mean of each metric and on its ``<metric>_std``.

    Returns
    -------
    CandidateComparison
    """
    rows = [_candidate(name, scores, metric, criteria) for name, scores in fold_scores.items()]
    winner = max((row for row in rows if row.eligible), key=lambda row: metric.sign * row.mean, default=None)
    if winner is None:
        verdict = _no_winner(rows)
    else:
        values = {
            row.name: np.asarray(fold_scores[row.name][metric.name], dtype=np.float64)
            for row in rows
            if math.isfinite(row.mean)
        }
        best = values.pop(winner.name)
        raw = [
            corrected_resampled_t(best - other, train_size=train_size, test_size=test_size).p_value
            for other in values.values()
        ]
        adjusted = dict(zip(values, holm(raw).tolist(), strict=True))
        rows = [_against(winner, row, adjusted, metric, level) for row in rows]
        verdict = Verdict(outcome=Outcome.PASS, reasons=(_chosen(winner, rows, metric),))
    name, ranked = winner.name if winner else None, _ranked(rows, metric)
    return CandidateComparison(
        metric=metric.name, level=level, winner=name, candidates=ranked, verdict=verdict
    )


def summarise_folds(scores: FoldScores) -> dict[str, float]:
    """Return each metric's mean over folds and its standard deviation as ``<metric>_std`` (``ddof=1``).

    >>> summarise_folds({"accuracy": [0.5, 0.7, 0.9]})["accuracy_std"].__round__(6)
    0.2
    """
    summary: dict[str, float] = {}
    for name, values in scores.items():
        folds = np.asarray(values, dtype=np.float64)
        summary[name] = float(folds.mean()) if folds.size else math.nan
        summary[f"{name}_std"] = float(folds.std(ddof=1)) if folds.size > 1 else math.nan
    return summary


def _candidate(name: str, scores: FoldScores, metric: Metric, criteria: Criteria | None) -> CandidateResult:
    """Summarise one candidate and judge whether it may win."""
    summary = summarise_folds(scores)
    mean, std = (summary.get(key, math.nan) for key in (metric.name, f"{metric.name}_std"))
    reasons: tuple[Reason, ...] = ()
    if not math.isfinite(mean):
        why = "is undefined in at least one fold (one class only, or a failed fit)."
        reasons = (Reason(code="metric_undefined", message=f"{metric.name} of '{name}' {why}"),)
    elif criteria is not None:
        reasons = criteria.judge(summary)
    return CandidateResult(name=name, mean=mean, std=std, eligible=not reasons, reasons=reasons)


def _against(
    winner: CandidateResult, row: CandidateResult, adjusted: Mapping[str, float], metric: Metric, level: float
) -> CandidateResult:
    """Add how far a candidate is behind the winner; ``adjusted`` are the p-values of the others, by name."""
    return replace(
        row,
        behind=metric.sign * (winner.mean - row.mean),
        p_value=adjusted.get(row.name, math.nan),
        tied=row.eligible and row.name in adjusted and not adjusted[row.name] <= level,
    )


def _ranked(rows: list[CandidateResult], metric: Metric) -> tuple[CandidateResult, ...]:
    """Sort: eligible first, best first, undefined last."""

    def place(row: CandidateResult) -> tuple[bool, float]:
        return not row.eligible, -metric.sign * row.mean if math.isfinite(row.mean) else math.inf

    return tuple(sorted(rows, key=place))


def _chosen(winner: CandidateResult, table: list[CandidateResult], metric: Metric) -> Reason:
    """Return the reason that names the winner and those that cannot be distinguished from it."""
    ties = [row.name for row in table if row.tied and row.name != winner.name]
    rest = f" Not distinguishable from it: {', '.join(ties)}." if ties else ""
    message = f"'{winner.name}' has the best {metric.name}: {winner.mean:.4f} ± {winner.std:.4f}.{rest}"
    return Reason(code="best_candidate", message=message, observed=winner.mean)


def _no_winner(rows: list[CandidateResult]) -> Verdict:
    """Return the verdict that says why no candidate may win."""
    message = (
        "No candidate meets the selection criteria with a defined metric. Loosen the criteria, or add rows or "
        "candidates."
    )
    first = Reason(code="no_eligible_candidate", message=message, observed=0, limit=1)
    reasons = (first, *(reason for row in rows for reason in row.reasons))
    return Verdict(outcome=Outcome.INSUFFICIENT, reasons=reasons)
