"""Sources of the outcomes of served predictions: the log, or a team's own source that is joined by prediction id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.explain import option_arguments
from evergreen.tasks.core.config.units import Section
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.registry import plugged
from evergreen.tasks.io.plugins import OUTCOME_SOURCES
from evergreen.tasks.io.prediction_log.records import KNOWN_AT, PREDICTION_ID


@dataclass(frozen=True, kw_only=True, eq=False)
class OutcomeRequest:
    """What outcomes are requested for."""

    config: ModelConfig
    """The model."""
    window: Window
    """Half-open slice of the model's clock."""
    rows: pd.DataFrame
    """The window's predictions: features, ``@prediction_id``, ``@entity``, and the outcome as the log has it."""


@dataclass(frozen=True, kw_only=True)
class OutcomeSource:
    """Gives outcomes of served predictions."""

    name: str
    """What ``monitoring.outcomes`` calls it."""
    function: Callable[..., pd.DataFrame | None]
    """``function(request)``, with a section ``function(request, options)``, of an `OutcomeRequest`. It returns a frame
    with ``prediction_id``, ``outcome`` and perhaps ``known_at`` (position on the model's clock; missing: in time),
    or None: the log's outcomes stand."""
    section: type[Section] | None = None
    """Type of the options that its configuration may hold."""

    def ask(self, request: OutcomeRequest, options: Mapping[str, Any]) -> pd.DataFrame | None:
        """Return its outcomes.

        Raises
        ------
        ConfigError
            When its options are wrong.
        DataError
            When what it gives is no frame of these columns, or names a prediction twice.
        """
        typed = option_arguments(self.section, options, where=f"monitoring.outcomes: {self.name}")
        frame = self.function(request, *typed)
        if frame is None:
            return None
        if not isinstance(frame, pd.DataFrame) or not {"prediction_id", "outcome"} <= set(frame.columns):
            raise DataError(
                f"The outcome source '{self.name}' must return a DataFrame with prediction_id and outcome. Correct it."
            )
        twice = frame["prediction_id"][frame["prediction_id"].duplicated()]
        if len(twice):
            raise DataError(
                f"The outcome source '{self.name}' names prediction '{twice.iloc[0]}' twice. Return each once."
            )
        return frame


@OUTCOME_SOURCES.reader
def _as_outcome_source(name: str, thing: Any) -> OutcomeSource:
    own = isinstance(thing, OutcomeSource)
    return replace(thing, name=name) if own else OutcomeSource(name=name, function=thing)


def outcome_source(
    name: str, *, section: type[Section] | None = None
) -> Callable[[Callable[..., pd.DataFrame | None]], OutcomeSource]:
    """Decorate a function to be an outcome source; see `OutcomeSource`."""

    def decorate(function: Callable[..., pd.DataFrame | None]) -> OutcomeSource:
        made = OutcomeSource(name=name, function=function, section=section)
        return cast("OutcomeSource", OUTCOME_SOURCES.register(name, origin=function)(made))

    return decorate


@outcome_source("log")
def _log(request: OutcomeRequest) -> pd.DataFrame | None:
    """Take what was sent to the service or written to the log."""
    return None


def join_outcomes(rows: Rows, *, config: ModelConfig, window: Window) -> Rows:
    """Return a window's predictions with the outcomes of ``monitoring.outcomes``, where it has some.

    Raises
    ------
    UnknownName
        When no outcome source has the configured name.
    DataError
        When it gives what cannot be joined.
    """
    ((name, options),) = plugged([config.monitoring.outcomes]).items()
    request = OutcomeRequest(config=config, window=window, rows=rows.frame)
    outcomes = OUTCOME_SOURCES.get(name).ask(request, options)
    if outcomes is None or not len(outcomes):
        return rows
    own = outcomes.set_index(outcomes["prediction_id"].astype(str))
    ids = rows.frame[PREDICTION_ID].astype(str)
    here, target = ids.isin(own.index).to_numpy(), config.data.target
    known_at = own.get("known_at", pd.Series(np.nan, index=own.index)).astype(float)
    frame = rows.frame.assign(
        **{
            target: ids.map(own["outcome"]).where(here, rows.frame[target]),
            KNOWN_AT: ids.map(known_at).where(here, rows.frame[KNOWN_AT]),
        }
    )
    return Rows(frame, rows.positions)
