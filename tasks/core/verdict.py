"""What every stage returns: a verdict, its reasons, and the state a run ends in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from evergreen.tasks.core.errors import ConfigError, NotLearnable, StageRefusal
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stored_words import STATES


class Outcome(StrEnum):
    """PASS, FAIL or INSUFFICIENT; the last never promotes and never counts as 'no drift'."""

    PASS = "PASS"
    FAIL = "FAIL"
    INSUFFICIENT = "INSUFFICIENT"


class State(StrEnum):
    """Name of the final Prefect state of a run; each is of type Completed, apart from the last two.

    ``Won`` ends no run: it is the result of a challenge, before the promotion. A new flow may end in a state of its
    own, which its file declares (``declare``); any other name raises ``ValueError``.
    """

    TRAINED = "Trained"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    WON = "Won"
    PROMOTED = "Promoted"
    READY_FOR_LIVE_TEST = "ReadyForLiveTest"
    CHAMPION_KEPT = "ChampionKept"
    CHAMPION_RESTORED = "ChampionRestored"
    REGISTERED = "Registered"
    RECONCILED = "Reconciled"
    NO_DRIFT = "NoDrift"
    WARNING = "Warning"
    DRIFT = "Drift"
    REPLAYED = "Replayed"
    SCORED = "Scored"
    LIVE_TEST_RUNNING = "LiveTestRunning"
    ABORTED = "Aborted"
    BLOCKED = "Blocked"
    INSUFFICIENT_DATA = "InsufficientData"
    INPUT_ERROR = "InputError"
    FAILED = "Failed"

    @classmethod
    def declare(cls, name: str) -> State:
        """Return a state of a flow's own, known by its name from now on; it is no member that iteration yields.

        Raises
        ------
        ConfigError
            When the name is not letters alone with a capital first, or is read as another state (version 0.1's names).
        """
        if not re.fullmatch("[A-Z][A-Za-z]+", name) or name in STATES:
            raise ConfigError(
                f"'{name}' is no name for a state: write letters alone, the first a capital, "
                f"and none of the old names ({', '.join(STATES)})."
            )
        if name not in cls._value2member_map_:
            own = str.__new__(cls, name)
            own._name_, own._value_ = name, name
            cls._value2member_map_[name] = own
        return cls(name)


@dataclass(frozen=True, kw_only=True)
class Reason(Struct):
    """One thing that decided: a stable code, a sentence, what was observed, its limit, on how many rows."""

    code: str
    message: str
    observed: float | str | None = None
    limit: float | str | None = None
    n: int | None = field(default=None, metadata={"sparse": True})

    @classmethod
    def from_error(cls, error: StageRefusal) -> Reason:
        """Return the reason that a refusal carries."""
        numbers: dict[str, Any] = {"observed": error.observed, "limit": error.limit, "n": error.n}
        return cls(code=error.reason_code, message=str(error), **numbers)

    def to_error(self) -> NotLearnable:
        """Return the ``NotLearnable`` that carries the reason."""
        return NotLearnable(self.code, self.message, observed=self.observed, limit=self.limit, n=self.n)


@dataclass(frozen=True, kw_only=True)
class Verdict(Struct):
    """An outcome and the reasons that decided it; ``reasons`` of a PASS say what was met."""

    outcome: Outcome
    reasons: tuple[Reason, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """True for PASS alone."""
        return self.outcome is Outcome.PASS


def _details(plain: Mapping[str, Any]) -> dict[str, Any]:
    own = {"state", "model", "reasons", "version", "decision_id"}
    return {name: plain[name] for name in plain if name not in own}


@dataclass(frozen=True, kw_only=True)
class StageResult(Struct):
    """Result of a stage: references and the decision, never frames or estimators.

    Attributes
    ----------
    state : name of the run's final state.
    model : registered model name.
    reasons : why the stage ended so; empty only where there is nothing to explain.
    version : MLflow model version the stage acted on.
    decision_id : key of the ledger entry that holds the decision.
    details : JSON-ready facts of the stage (metrics, interval, …), merged into the top level of ``--json``.
    """

    state: State
    model: str
    reasons: tuple[Reason, ...] = ()
    version: int | None = None
    decision_id: str | None = None
    details: dict[str, Any] = field(default_factory=dict, metadata={"flat": True, "read": _details})

    def ends(self, state: State, *reasons: Reason, version: int | None = None) -> StageResult:
        """Return the result of a stage that acted on this decision: its state, with further reasons.

        The evidence stays; the end is a decision of its own, so that it is recorded under its own id.
        """
        details, version = {**self.details, "evidence": self.decision_id}, version or self.version
        ended = replace(self, state=state, reasons=(*self.reasons, *reasons), version=version)
        return replace(ended, decision_id=None, details=details)
