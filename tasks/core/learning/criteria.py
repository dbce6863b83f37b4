"""Selection criteria such as ``accuracy > 0.90 and accuracy_std < 0.05``: a small grammar, never ``eval``."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tasks.core.errors import ConfigError, unknown_name
from tasks.core.verdict import Reason

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


@dataclass(frozen=True, kw_only=True)
class CriteriaResult:
    """Whether values meet the criteria, and one reason for each comparison that does not hold."""

    met: bool
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """Parsed criteria; see `parse_criteria`.

    Attributes
    ----------
    text : str
        As it was written.
    names : frozenset of str
        Metric names it asks for.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr = field(repr=False, compare=False)

    def judge(self, values: Mapping[str, float]) -> CriteriaResult:
        """Judge values by name; a missing or NaN value is a named reason and never met."""
        unknown = [name for name in sorted(self.names) if not math.isfinite(values.get(name, math.nan))]
        if unknown:
            return CriteriaResult(met=False, reasons=tuple(_undefined(name) for name in unknown))
        failed: list[Reason] = []
        met = _evaluate(self._tree, values, failed)
        return CriteriaResult(met=met, reasons=() if met else tuple(failed) or (self._not_met(),))

    def _not_met(self) -> Reason:
        return Reason(code="criterion_not_met", message=f"The selection criteria '{self.text}' are not met.")


def parse_criteria(text: str, *, known: Iterable[str] | None = None, where: str = "") -> Criteria:
    """Parse selection criteria.

    Parameters
    ----------
    text : str
        Comparisons of names and numbers with ``and``, ``or``, ``not`` and parentheses; ``ndcg@3`` is
        read as ``ndcg_at_3``; ``a < b < c`` as usual.
    known : iterable of str, optional
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
    >>> criteria.judge({"accuracy": 0.93, "accuracy_std": 0.01}).met
    True
    >>> criteria.judge({"accuracy": 0.85, "accuracy_std": 0.01}).reasons[0].message
    'accuracy is 0.85; wanted: accuracy > 0.9.'
    """
    place = f" in {where}" if where else ""
    if not text.strip() or len(text) > _MAX_LENGTH:
        raise ConfigError(
            f"The selection criteria{place} have {len(text)} characters. Allowed: 1 to {_MAX_LENGTH}."
        )
    try:
        tree = ast.parse(text.strip().replace("@", "_at_"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f"Cannot read the selection criteria '{text}'{place}. Allowed: {_ALLOWED}."
        ) from error
    _refuse_other_nodes(tree, text=text, place=place)
    names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    allowed = None if known is None else set(known)
    for name in sorted(names):
        if allowed is not None and name not in allowed:
            raise unknown_name("metric", name, allowed, where=where or "the selection criteria")
    return Criteria(text=text, names=names, _tree=tree)


def _refuse_other_nodes(node: ast.expr, *, text: str, place: str) -> None:
    """Let only conditions of comparisons of names and numbers through."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _refuse_other_nodes(part, text=text, place=place)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _refuse_other_nodes(node.operand, text=text, place=place)
    elif not isinstance(node, ast.Compare) or not all(map(_is_term, [node.left, *node.comparators])):
        shown = ast.unparse(node)
        raise ConfigError(
            f"The selection criteria '{text}'{place} contain '{shown}', which is no comparison. Allowed: {_ALLOWED}."
        )
    elif not all(type(op) in _COMPARISONS for op in node.ops):
        raise ConfigError(f"The selection criteria '{text}'{place} use 'in' or 'is'. Allowed: {_ALLOWED}.")


def _is_term(node: ast.expr) -> bool:
    """Return whether a node is a name, a number, or a number with a sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _is_number(node.operand)
    return isinstance(node, ast.Name) or _is_number(node)


def _is_number(node: ast.expr) -> bool:
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
            failed.append(_unmet(left, symbol, right, observed=observed, limit=limit))
            return False
        left = right
    return True


def _number(node: ast.expr, values: Mapping[str, float]) -> float:
    """Return the value of a name or a number."""
    return float(values[node.id]) if isinstance(node, ast.Name) else float(ast.literal_eval(node))


def _unmet(left: ast.expr, symbol: str, right: ast.expr, *, observed: float, limit: float) -> Reason:
    shown = f"{ast.unparse(left)} {symbol} {ast.unparse(right)}"
    message = f"{ast.unparse(left)} is {observed:.6g}; wanted: {shown}."
    return Reason(code="criterion_not_met", message=message, observed=observed, limit=limit)


def _undefined(name: str) -> Reason:
    message = f"'{name}' was not measured or is not a number, so the criteria cannot be met."
    return Reason(code="criterion_undefined", message=message)
