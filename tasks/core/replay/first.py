"""The first model of a replay: trained once by the whole search, shared by all policies, and deployed in any case."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.core.config import ModelConfig
from tasks.core.data.clock import Window, format_position
from tasks.core.drift.words import Phase
from tasks.core.errors import InputError, NotLearnable
from tasks.core.learning.lesson import prepare_lesson
from tasks.core.replay.clock import SimulatedClock, Tick
from tasks.core.replay.history import History
from tasks.core.replay.learn import fixed_recipe
from tasks.core.replay.ledger import ReplayLedger
from tasks.core.replay.stages import Court, enthrone, walk_stages
from tasks.core.replay.tools import Tools
from tasks.core.replay.version import Throne, Version
from tasks.core.verdict import Reason, State
from tasks.core.watching.cutting import Cutting
from tasks.core.watching.windows import due_windows

SHARE = 0.3
"""Part of history that the first model is trained on by default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Beginning:
    """Where every policy of a replay begins.

    Attributes
    ----------
    config : ModelConfig
        Under which the first model was trained.
    history, tools : History, Tools
        The rows, and what was handed from outside.
    throne : Throne
        With the first champion.
    ledger : ReplayLedger
        What its challenge has spent.
    first : Version
        The first champion.
    start : Tick
        When it was trained.
    ticks : tuple of Tick
        The windows that are replayed, one step each.
    notes : tuple of Reason
        What a reader should know: that the gate or the challenge had refused it.
    """

    config: ModelConfig
    history: History
    tools: Tools
    throne: Throne
    ledger: ReplayLedger
    first: Version
    start: Tick
    ticks: tuple[Tick, ...]
    notes: tuple[Reason, ...] = ()

    def recipe(self, config: ModelConfig) -> ModelConfig:
        """Return a configuration under which the first model's candidate and settings alone are trained again."""
        recipe = self.first.model.recipe
        assert recipe.candidate is not None
        return fixed_recipe(config, recipe.candidate, recipe.settings)


def begin_replay(
    history: History, config: ModelConfig, *, tools: Tools | None = None, start: float | None = None
) -> Beginning:
    """Train the first model and cut the windows that are replayed.

    Parameters
    ----------
    history : History
        The model's past.
    config : ModelConfig
        The model.
    tools : Tools, optional
        What is handed from outside the core.
    start : float, optional
        As-of position of the first training; default: the first window's edge at which 30 % of the rows have come and
        a training is possible.

    Raises
    ------
    NotLearnable
        When no model can be trained as of ``start``, or ever.
    InputError
        When no whole window comes after it.
    """
    tools = tools or Tools()
    place = default_start(history, config, tools=tools) if start is None else start
    clock = SimulatedClock.of(config)
    tick = Tick(number=0, until=place, at=clock.at(place, number=0), window=Window(place, place))
    court = Court(config=config, history=history, ledger=ReplayLedger(model=config.model), tools=tools)
    throne, notes = _first_reign(court, tick)
    assert throne.champion is not None
    return Beginning(
        config=config,
        history=history,
        tools=tools,
        throne=throne,
        ledger=court.ledger,
        first=throne.champion,
        start=tick,
        ticks=_ticks(history, config, throne.champion, tick, clock),
        notes=notes,
    )


def default_start(history: History, config: ModelConfig, *, tools: Tools) -> float:
    """Return the first edge of a window past 30 % of the rows from which a model can be trained.

    Raises
    ------
    NotLearnable
        What hinders the training at the last edge, when there is none.
    """
    hindrance = NotLearnable("too_few_rows", "The history holds no whole window to begin at.", n=len(history))
    for edge in _edges(history, config):
        try:
            prepare_lesson(history.parts(config, until=edge), config, custom=tools.metrics)
        except NotLearnable as error:
            hindrance = error
            continue
        return edge
    raise hindrance


def _edges(history: History, config: ModelConfig) -> list[float]:
    """Return the ends of windows past 30 % of the rows."""
    cutting, positions = Cutting.of(config), history.positions
    begin = float(positions[min(math.ceil(SHARE * len(positions)), len(positions) - 1)])
    if cutting.counts_rows or cutting.clock == "rows":
        windows, _ = cutting.cut(positions, start=begin, ready=cutting.full_to(positions))
        return [window.start for window in windows]
    length = cutting.window.amount
    first, last = math.ceil(begin / length), math.floor(cutting.full_to(positions) / length)
    return [step * length for step in range(first, last)]


def _first_reign(court: Court, tick: Tick) -> tuple[Throne, tuple[Reason, ...]]:
    """Train and crown the first model; where the gate or the challenge refuse it, say so and crown it all the same."""
    walked = walk_stages(court, Throne(), tick)
    if walked.trained is None:
        first = walked.reasons[0]
        raise NotLearnable(first.code, first.message, observed=first.observed, limit=first.limit, n=first.n)
    if walked.state is State.PROMOTED:
        return walked.throne, ()
    why = " ".join(reason.message for reason in walked.reasons)
    note = Reason(
        code="first_model_refused",
        message=f"The first model ended {walked.state.value} ({why}) and is deployed all the same: a replay needs one.",
        observed=walked.state.value,
    )
    parts = court.history.parts(court.config, until=tick.until)
    forced = enthrone(court, walked.throne, tick, walked.trained, parts)
    return forced.throne, (note,)


def _ticks(
    history: History, config: ModelConfig, champion: Version, start: Tick, clock: SimulatedClock
) -> tuple[Tick, ...]:
    """Return the windows that monitoring will cut after the first model, as steps."""
    due = due_windows(
        history.positions, cutting=Cutting.of(config), phase=Phase.INPUTS, last_end=None,
        trained_to=champion.model.plan.unseen_from, most=len(history) + 1,
    )  # fmt: skip
    windows = [one.window for one in due.windows if one.window.start >= start.until]
    if not windows:
        where = format_position(start.until, clock=config.data.clock)
        raise InputError(
            f"No whole window of {config.monitoring.window} (monitoring.window) comes after {where}, where the replay "
            "of '" + config.model + "' starts. Start earlier, or shorten monitoring.window."
        )
    ticks = [clock.tick(window, history.positions, number=1 + k) for k, window in enumerate(windows)]
    return tuple(tick for tick in ticks if math.isfinite(tick.until))
