"""What a gate is: how a check is registered, what it judges by, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Literal

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.explain import option_arguments
from evergreen.tasks.core.config.units import Section
from evergreen.tasks.core.contract.check import ContractResult
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.registry import GATES, plugged, require_type
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.validation.smoke import SmokeReport
from evergreen.tasks.core.verdict import Outcome, Reason, Verdict

# What a check of the gate returns.


Family = Literal["statistical", "operational"]


@dataclass(frozen=True, kw_only=True)
class CheckResult(Struct):
    """One check: its verdict, what it warns about and the numbers that decided."""

    name: str = field(metadata={"key": "check"})
    """Stable name of the check."""
    verdict: Verdict = field(metadata={"flat": True})
    """PASS, FAIL or INSUFFICIENT with reasons."""
    family: Family = "statistical"
    """One of ``statistical``, ``operational``. Statistical checks are replayed over history; operational ones
    (latency, smoke, size) run live only."""
    warnings: tuple[Reason, ...] = ()
    """What a person should check although it decides nothing."""
    measured: dict[str, float] = field(default_factory=dict)
    """Numbers for the run, by a name MLflow accepts."""


def check(
    name: str,
    *,
    failed: Iterable[Reason] = (),
    met: Reason | None = None,
    warnings: Iterable[Reason] = (),
    measured: dict[str, float] | None = None,
    family: Family = "statistical",
) -> CheckResult:
    """Build a result: FAIL when anything failed, else PASS with what was met."""
    reasons = tuple(failed)
    outcome = Outcome.FAIL if reasons else Outcome.PASS
    verdict = Verdict(outcome=outcome, reasons=reasons or (() if met is None else (met,)))
    return CheckResult(
        name=name, verdict=verdict, family=family, warnings=tuple(warnings), measured=measured or {}
    )


def insufficient(name: str, reason: Reason) -> CheckResult:
    """Build a result for what cannot be judged yet; it never approves."""
    return CheckResult(name=name, verdict=Verdict(outcome=Outcome.INSUFFICIENT, reasons=(reason,)))


@dataclass(frozen=True, kw_only=True, eq=False)
class GateContext:
    """What a gate judges by; nothing in it may be changed."""

    config: ModelConfig
    """The model's configuration."""
    schema: Schema
    """The version's own columns."""
    version: int
    """The version under judgement."""
    holdout: Rows
    """Labelled rows the version was not trained on, n of them."""
    scored: Scored
    """Outcomes of the holdout and the version's answers."""
    baselines: Mapping[str, Scored]
    """Answers without a model on the same rows: ``constant``, and ``persistence`` on timed data."""
    metrics: tuple[Metric, ...]
    """Everything that is measured, the deciding metric first."""
    windows: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Rows whose inputs are checked, by name (training, holdout, evaluation)."""
    contract: tuple[ContractResult, ...] = ()
    """The contract's result on each window; empty when switched off."""
    smoke: SmokeReport | None = None
    """What a fresh process found; None in a replay, which judges the statistical gates alone."""
    warnings: tuple[Reason, ...] = ()
    """What loading and splitting the rows warned about."""
    rng: np.random.Generator | None = None
    """For gates that draw: seeded from model, window and purpose."""

    @property
    def metric(self) -> Metric:
        """The deciding metric."""
        return self.metrics[0]

    @property
    def problem(self) -> str:
        """Kind of problem."""
        return self.config.problem.value

    def metric_named(self, name: str) -> Metric | None:
        """Return one of the measured metrics by name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)


# How a check of the gate is registered: its section of the configuration, what it needs, its function.


Need = Literal["answers", "probabilities", "smoke"]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A check of the gate; call it with a `GateContext`."""

    name: str
    """What it is called in reports and in ``validation.gates``."""
    function: Callable[..., Any]
    """``function(context)``, with a section ``function(context, settings)``; answers with a ``Verdict``, a
    ``CheckResult``, or several of these (``check`` and ``insufficient`` make them)."""
    section: str | type[Section] | None = None
    """Where its settings stand: a key of the model's configuration, or the type of the options that stand
    beside its name in ``validation.gates``."""
    needs: tuple[Need, ...] = ()
    """It is left out where one is not there: ``answers`` (rows enough, and answers of the right shape that
    are numbers), ``probabilities`` (a binary or multiclass model), ``smoke`` (a live run: a replay has
    none)."""
    gives: tuple[Need, ...] = ()
    """Needs of later gates that are there only when this one passes."""
    always: bool = False
    """True: it runs for every model; False: for those whose ``validation.gates`` names it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What stands beside its name."""

    @property
    def family(self) -> Family:
        """``operational`` for what needs a live run."""
        return "operational" if "smoke" in self.needs else "statistical"

    def __call__(self, context: GateContext) -> list[CheckResult]:
        """Run it; what it raises is not caught, so that a broken gate never approves.

        Raises
        ------
        ConfigError
            When its options are wrong, or it answers with anything but verdicts.
        """
        answer = self.function(context, *self._settings(context.config))
        several = answer if isinstance(answer, Iterable) else (answer,)
        return [self._result(one) for one in several]

    def _settings(self, config: ModelConfig) -> tuple[Any, ...]:
        if isinstance(self.section, str):
            return (reduce(getattr, self.section.split("."), config),)
        return option_arguments(self.section, self.options, where=f"validation.gates: {self.name}")

    def _result(self, answer: Any) -> CheckResult:
        if isinstance(answer, CheckResult):
            return answer
        what, kind = f"The gate '{self.name}' returned", "a evergreen.tasks.core.verdict.Verdict"
        allowed = f"{kind} (outcome and reasons). Correct the function, or remove it from validation.gates."
        verdict = require_type(answer, Verdict, what=what, allowed=allowed)
        return CheckResult(name=self.name, verdict=verdict, family=self.family)


@GATES.reader
def _as_gate(name: str, thing: Any) -> Gate:
    return replace(thing, name=name) if isinstance(thing, Gate) else Gate(name=name, function=thing)


def gate(
    name: str,
    *,
    section: str | type[Section] | None = None,
    needs: tuple[Need, ...] = (),
    gives: tuple[Need, ...] = (),
    always: bool = False,
) -> Callable[[Callable[..., Any]], Gate]:
    """Decorate a function to be a gate; see `Gate` for what each argument means."""

    def decorate(function: Callable[..., Any]) -> Gate:
        own = Gate(name=name, function=function, section=section, needs=needs, gives=gives, always=always)
        registered: Gate = GATES.register(name, origin=function)(own)
        return registered

    return decorate


def configured_gates(config: ModelConfig) -> dict[str, Gate]:
    """Return the gates that ``validation.gates`` names, with their options, by the name written there.

    Raises
    ------
    UnknownName
        When no gate has such a name.
    ConfigError
        When a dotted path cannot be imported.
    """
    named = plugged(config.validation.gates)
    return {name: replace(GATES.get(name), options=options) for name, options in named.items()}
