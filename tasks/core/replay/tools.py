"""What a replay is handed from outside the core: a team's own metrics and gates, and the check of contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tasks.core.config import ModelConfig
from tasks.core.contract.judge import ContractResult
from tasks.core.gates.validate import Gate
from tasks.core.metrics.base import Metric
from tasks.core.metrics.measure import deciding_metric, metrics_of

CheckContract = Callable[..., ContractResult]
"""``(contract, frame, *, window, private) -> ContractResult``, as `tasks.io.contracts.check_contract`."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Everything that has to be imported by name or costs seconds to import.

    Attributes
    ----------
    metrics : mapping of str to Metric
        The team's own.
    gates : mapping of str to callable
        The team's own, by dotted path.
    check_contract : callable or None
        Checks a window against a version's contract; without it contracts are not part of the replayed gate.
    """

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    check_contract: CheckContract | None = None

    def metric(self, config: ModelConfig) -> Metric:
        """Return the deciding metric."""
        return deciding_metric(config, custom=self.metrics)

    def all_metrics(self, config: ModelConfig) -> tuple[Metric, ...]:
        """Return all metrics, the deciding one first."""
        return metrics_of(config, custom=self.metrics)
