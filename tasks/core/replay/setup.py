"""The first model of a replay: trained once by the whole search, shared by all policies, and deployed in any case."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.model import overlay_model
from evergreen.tasks.core.config.renamed import RENAMED_VALUES
from evergreen.tasks.core.config.retraining import PRESETS, preset_values
from evergreen.tasks.core.data.clock import Window, format_position
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import InputError, NotLearnable, unknown_name, warn_renamed
from evergreen.tasks.core.monitoring.windows import Windowing, due_windows
from evergreen.tasks.core.replay.history import History, ReplayLedger, SimulatedClock, Step
from evergreen.tasks.core.replay.stages import (
    PolicyState,
    SimulatedRegistry,
    Tools,
    Version,
    promote_trained,
    run_stages,
)
from evergreen.tasks.core.training.training import prepare_training
from evergreen.tasks.core.verdict import Reason, State

SHARE = 0.3
"""Part of history that the first model is trained on by default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplayStart:
    """Where every policy of a replay begins."""

    config: ModelConfig
    """Under which the first model was trained."""
    history: History
    tools: Tools
    """The rows, and what was handed from outside."""
    registry: SimulatedRegistry
    """With the first champion."""
    ledger: ReplayLedger
    """What its challenge has spent."""
    first: Version
    """The first champion."""
    start: Step
    """When it was trained."""
    steps: tuple[Step, ...]
    """The windows that are replayed, one step each."""
    notes: tuple[Reason, ...] = ()
    """What a reader should know: that the gate or the challenge had refused it."""

    def recipe(self, config: ModelConfig) -> ModelConfig:
        """Return a configuration under which the first model's candidate and settings alone are trained again."""
        recipe, training = self.first.model.recipe, config.training
        assert recipe.candidate is not None
        params = {**recipe.candidate.params, **recipe.settings}
        alone = recipe.candidate.model_copy(update={"params": params, "search": {}})
        return config.model_copy(update={"training": training.model_copy(update={"candidates": [alone]})})


def begin_replay(
    history: History, config: ModelConfig, *, tools: Tools | None = None, start: float | None = None
) -> ReplayStart:
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
    step = Step(number=0, until=place, at=clock.at(place, number=0), window=Window(place, place))
    state = PolicyState(config=config, history=history, ledger=ReplayLedger(model=config.model), tools=tools)
    registry, notes = _first_champion(state, step)
    assert registry.champion is not None
    return ReplayStart(
        config=config,
        history=history,
        tools=tools,
        registry=registry,
        ledger=state.ledger,
        first=registry.champion,
        start=step,
        steps=_steps(history, config, registry.champion, step, clock),
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
            prepare_training(history.parts(config, until=edge), config, custom=tools.metrics)
        except NotLearnable as error:
            hindrance = error
            continue
        return edge
    raise hindrance


def _edges(history: History, config: ModelConfig) -> list[float]:
    """Return the ends of windows past 30 % of the rows."""
    cutting, positions = Windowing.of(config), history.positions
    begin = float(positions[min(math.ceil(SHARE * len(positions)), len(positions) - 1)])
    windows, _ = cutting.cut(positions, start=begin, ready=cutting.full_to(positions))
    return [window.start for window in windows]


def _first_champion(state: PolicyState, step: Step) -> tuple[SimulatedRegistry, tuple[Reason, ...]]:
    """Train and promote the first model; where the gate or the challenge refuse it, it is promoted with a note."""
    retraining = run_stages(state, SimulatedRegistry(), step)
    if retraining.trained is None:
        raise retraining.reasons[0].to_error()
    if retraining.state is State.PROMOTED:
        return retraining.registry, ()
    why, ended = " ".join(reason.message for reason in retraining.reasons), retraining.state.value
    message = f"The first model ended {ended} ({why}) and is deployed all the same: a replay needs one."
    note = Reason(code="first_model_refused", message=message, observed=ended)
    parts = state.history.parts(state.config, until=step.until)
    forced = promote_trained(state, retraining.registry, step, retraining.trained, parts)
    return forced.registry, (note,)


def _steps(
    history: History, config: ModelConfig, champion: Version, start: Step, clock: SimulatedClock
) -> tuple[Step, ...]:
    """Return the windows that monitoring will cut after the first model, as steps."""
    due = due_windows(
        history.positions,
        cutting=Windowing.of(config),
        phase=Phase.INPUTS,
        last_end=None,
        trained_to=champion.model.plan.unseen_from,
        most=len(history) + 1,
    )
    windows = [one.window for one in due.windows if one.window.start >= start.until]
    if not windows:
        where = format_position(start.until, clock=config.data.clock)
        raise InputError(
            f"No whole window of {config.monitoring.window} (monitoring.window) comes after {where}, where the replay "
            "of '" + config.model + "' starts. Start earlier, or shorten monitoring.window."
        )
    steps = [clock.step(window, history.positions, number=1 + k) for k, window in enumerate(windows)]
    return tuple(step for step in steps if math.isfinite(step.until))


# The policies a replay compares, by name: as configured, never, every window, by the calendar, by a preset.


Mode = Literal["governed", "never", "every"]
WHERE = "--policies"
ENABLED = {"retraining": {"run_mode": "enabled"}, "promotion": {"evidence": "offline", "approval": "auto"}}
"""A replay shows what a policy would do once it is switched on; no person and no live traffic answers in it."""


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """One policy."""

    name: str
    """As it is shown."""
    config: ModelConfig
    """The model under this policy."""
    mode: Mode = "governed"
    """One of ``governed``, ``never``, ``every``. ``governed``: monitoring, decisions, gates and challenges as
    they run live. ``never`` keeps the first model. ``every`` refits the first model's recipe at every window
    and deploys it ungated."""


def parse_policies(text: str, config: ModelConfig) -> tuple[PolicySpec, ...]:
    """Read a list of policies such as ``configured,never,every,periodic:30d,fixed_thresholds``.

    Raises
    ------
    InputError
        Naming the policy that is unknown, named twice or lacks its span, and what is allowed.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{WHERE} names no policy. Allowed: {', '.join(_SHOWN)}, separated by commas.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{WHERE} names '{twice}' twice. Name each policy once.")
    return tuple(parse_policy(name, config) for name in names)


def parse_policy(name: str, config: ModelConfig) -> PolicySpec:
    """Read one policy; see ``parse_policies``."""
    config = overlay_model(config, ENABLED, origin=WHERE)
    renamed = RENAMED_VALUES["retraining.preset"].get(name)
    if renamed is not None:
        warn_renamed(name, renamed, where=WHERE, remedy=f"Write '{renamed}'.")
        name = renamed
    kind, _, span = name.partition(":")
    allowed = {*_FIXED, "periodic", *PRESETS}
    if kind not in allowed:
        raise unknown_name("policy", name, _SHOWN, where=WHERE)
    if (kind == "periodic") != bool(span):
        wanted = "periodic:30d or 'periodic:5000 rows'" if kind == "periodic" else f"'{kind}' alone"
        raise InputError(f"Wrong policy '{name}' in {WHERE}. Write {wanted}.")
    if kind in _FIXED:
        return PolicySpec(name=kind, config=config, mode=_FIXED[kind])
    by_calendar = {"triggers": ["periodic"], "every": span, "cooldown": "0s", "back_off": 1.0}
    overlay = preset_values(kind) if kind in PRESETS else {"retraining": by_calendar}
    return PolicySpec(name=name, config=overlay_model(config, overlay, origin=f"{WHERE} {name}"))


_FIXED: dict[str, Mode] = {"configured": "governed", "never": "never", "every": "every"}
_SHOWN = (*_FIXED, "periodic:SPAN", *PRESETS)
