"""Everything measured about a version that the gates judge; gates of a team's own get it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.contract.judge import ContractResult
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.gates.smoke import SmokeReport
from tasks.core.metrics.registry import Metric
from tasks.core.metrics.scored import Scored
from tasks.core.verdict import Reason


@dataclass(frozen=True, kw_only=True, eq=False)
class GateContext:
    """What a gate may look at; nothing in it may be changed.

    Attributes
    ----------
    config : ModelConfig
        The model's configuration.
    schema : Schema
        The version's own columns.
    version : int
        The version under judgement.
    holdout : Rows
        Labelled rows the version has not learned from, n of them.
    scored : Scored
        Outcomes of the holdout and the version's answers.
    baselines : mapping of str to Scored
        Answers without a model on the same rows: ``constant``, and ``persistence`` on timed data.
    metrics : tuple[Metric, ...]
        Everything that is measured, the deciding metric first.
    windows : mapping of str to DataFrame
        Rows whose inputs are looked at, by name (training, holdout, evaluation).
    contract : tuple[ContractResult, ...]
        The contract's result on each window; empty when switched off.
    smoke : SmokeReport | None
        What a fresh process found; None in a replay, which judges the statistical gates alone.
    warnings : tuple[Reason, ...]
        What loading and splitting the rows warned about.
    """

    config: ModelConfig
    schema: Schema
    version: int
    holdout: Rows
    scored: Scored
    baselines: Mapping[str, Scored]
    metrics: tuple[Metric, ...]
    windows: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    contract: tuple[ContractResult, ...] = ()
    smoke: SmokeReport | None = None
    warnings: tuple[Reason, ...] = ()

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
