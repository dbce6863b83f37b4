"""What a training uses: strategies decide where its rows begin, or how much each of them counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.explain import option_arguments
from evergreen.tasks.core.config.units import Section, Span
from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.data.timeline import newest_from, newest_rows_from
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.registry import STRATEGIES, plugged, require_type
from evergreen.tasks.core.verdict import Reason

Part = Literal["start", "weights"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnableRows:
    """Input of a strategy that decides where training begins.

    Attributes
    ----------
    places : (n,), positions of the rows that may be trained on.
    end : where they end.
    change_at : position of the last detected change; None: none was detected.
    held : share of the newest rows that is going to be held out, in [0, 1).
    config : the model.
    """

    places: FloatArray
    end: float
    change_at: float | None
    held: float
    config: ModelConfig


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """What a retraining is trained on.

    Attributes
    ----------
    name : its name in ``retraining.window`` or ``retraining.weighted``.
    start : ``start(rows)`` of a `LearnableRows` returns the position at which the rows to train on begin; -inf: all.
    weights : ``weights(rows, *, schema, config)`` returns the weight of each training row, (n,), or None: all alike.
    section : type of the options beside its name; passed as ``options``.
    """

    name: str
    start: Callable[..., Any] | None = None
    weights: Callable[..., Any] | None = None
    section: type[Section] | None = None

    def call(self, part: Part, *rows: Any, options: Mapping[str, Any], **more: Any) -> Any:
        """Call one of its two functions.

        Raises
        ------
        ConfigError
            When it has no such function, or its options are wrong.
        """
        key = {"start": "retraining.window", "weights": "retraining.weighted"}[part]
        function = getattr(self, part)
        if function is None:
            raise ConfigError(f"The strategy '{self.name}' says nothing for {key}. Choose another one there.")
        own = option_arguments(self.section, options, where=f"{key}: {self.name}")
        if own:
            more["options"] = own[0]
        return function(*rows, **more)


@STRATEGIES.reader
def _as_strategy(name: str, thing: Any) -> Strategy:
    allowed = "a function decorated by evergreen.tasks.core.data.strategy.strategy."
    return replace(
        require_type(thing, Strategy, what=f"The strategy '{name}' is", allowed=allowed), name=name
    )


def strategy(
    name: str, *, of: Part, section: type[Section] | None = None
) -> Callable[[Callable[..., Any]], Strategy]:
    """Decorate a function that says where training begins (``of="start"``) or weighs its rows (``of="weights"``)."""

    def decorate(function: Callable[..., Any]) -> Strategy:
        own = Strategy(name=name, section=section, **{of: function})
        return cast("Strategy", STRATEGIES.register(name, origin=function)(own))

    return decorate


@strategy("full", of="start")
def _full(rows: LearnableRows) -> float:
    """Take all history."""
    return -math.inf


@strategy("since_change", of="start")
def _since_change(rows: LearnableRows) -> float:
    """Begin at the last detected change, or earlier where too few rows came since."""
    if rows.change_at is None:
        return -math.inf
    fewest = math.ceil(rows.config.retraining.min_rows_since_change / (1 - rows.held))
    return min(rows.change_at, newest_rows_from(rows.places, fewest))


def training_start(
    places: FloatArray, *, end: float, config: ModelConfig, change_at: float | None = None, held: float = 0.0
) -> float:
    """Return the position at which the rows to train on begin, by ``retraining.window``; -inf: all history.

    Parameters
    ----------
    places : array, shape (n,)
        Positions of the rows that may be trained on: labelled, the label known in time.
    end : float
        Where they end; durations are measured back from here.
    change_at : float, optional
        Position of the last detected change. ``since_change`` begins here, or earlier, where fewer than
        ``retraining.min_rows_since_change`` of the rows came since; without one it takes all history.
    held : float
        Share of the newest rows, in [0, 1], that is going to be held out: the window is lengthened so that its
        whole length is left.
    """
    clock, window = config.data.clock, config.retraining.window
    if held >= 1:
        return -math.inf
    if isinstance(window, Span):
        if clock == "rows" and window.unit == "seconds":
            return -math.inf  # the default; one that a configuration names is refused with the configuration
        longer = replace(window, amount=window.amount / (1 - held))
        return newest_from(places, longer, end=end, clock=clock)
    ((name, options),) = plugged([window]).items()
    chosen = STRATEGIES.get(name, key="retraining.window")
    rows = LearnableRows(places=places, end=end, change_at=change_at, held=held, config=config)
    return float(chosen.call("start", rows, options=options))


def describe_start(
    places: FloatArray, *, config: ModelConfig, change_at: float | None = None
) -> tuple[Reason, ...]:
    """Return why ``since_change`` did not begin at a change; nothing where it did, or for another window.

    ``places`` are the positions of the rows that are trained on, shape (n,).
    """
    retraining = config.retraining
    if retraining.window != "since_change":
        return ()
    if change_at is None:
        message = "No change was detected so far, so that retraining.window since_change is all of history."
        return (Reason(code="no_change_known", message=message, n=len(places)),)
    since, fewest = int((places >= change_at).sum()), retraining.min_rows_since_change
    if since == len(places):
        return ()
    message = (
        f"{since} rows to learn from came since the change at {format_position(change_at, clock=config.data.clock)}; "
        f"training reaches further back, to {len(places)} rows (retraining.min_rows_since_change {fewest})."
    )
    numbers = {"observed": float(since), "limit": float(fewest)}
    return (Reason(code="reaches_before_change", message=message, **numbers, n=len(places)),)
