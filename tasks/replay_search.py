"""Search for settings of retraining: tried on the first part of history, confirmed on the part it did not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.errors import InputError
from tasks.core.replay.first import begin_replay
from tasks.core.replay.policies import PolicySpec
from tasks.core.replay.search import SearchResult, SearchSplit, split_history, trial_specs, window_length
from tasks.core.replay.search_space import Method, Overlay, search_space
from tasks.core.seeds import seed_for
from tasks.replay import Scene, read_policies, run_all
from tasks.retries import SIDE_EFFECT
from tasks.stage_task import stage_task

BESIDE = "configured,never,every"
"""Policies that the chosen settings are shown beside on the part that was not seen."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched: how, and how many settings are tried."""

    method: Method
    trials: int


def read_search(method: str | None, trials: int) -> Search | None:
    """Read what is to be searched; None: nothing.

    Raises
    ------
    InputError
        When the method is unknown, or nothing would be tried.
    """
    if method is None:
        return None
    if method not in ("grid", "random") or trials < 1:
        raise InputError(
            f"A search by '{method}' of {trials} trials cannot be. Allowed: grid or random, 1 or more."
        )
    return Search(method="grid" if method == "grid" else "random", trials=trials)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What a search tries: the two parts of history, the settings, and a scene for each part."""

    split: SearchSplit
    overlays: dict[str, Overlay]
    specs: tuple[PolicySpec, ...]


@stage_task(**SIDE_EFFECT)
def plan_search(scene: Scene, search: Search) -> tuple[Trials, Scene]:
    """Divide history and choose the settings to try; return them with the scene of the first part."""
    config, beginning = scene.setup.config, scene.beginning
    split = split_history(scene.history, beginning)
    rng = np.random.default_rng(seed_for(config.model, str(split.start), "search"))
    overlays = search_space(
        config, method=search.method, trials=search.trials, rng=rng, window=window_length(beginning)
    )
    specs = trial_specs(overlays, config)
    named = {spec.name: overlay for spec, overlay in zip(specs, overlays, strict=True)}
    first = begin_replay(split.first, config, tools=beginning.tools, start=beginning.start.until)
    trials = Trials(split=split, overlays=named, specs=specs)
    return trials, Scene(scene.setup, split.first, first)


@stage_task(**SIDE_EFFECT)
def begin_unseen(scene: Scene, trials: Trials) -> Scene:
    """Train the first model of the part that the search has not seen, as of where that begins."""
    config, tools = scene.setup.config, scene.beginning.tools
    beginning = begin_replay(trials.split.whole, config, tools=tools, start=trials.split.start)
    return Scene(scene.setup, trials.split.whole, beginning)


def search_policies(scene: Scene, search: Search, *, full: bool) -> SearchResult:
    """Try settings on the first part of history; confirm those on the front on the part it did not see."""
    trials, first = plan_search(scene, search)
    tried = run_all(first, trials.specs, full=full)
    chosen = [spec for spec in trials.specs if spec.name in tried.front()]
    unseen = begin_unseen(scene, trials)
    confirmed = run_all(unseen, [*chosen, *read_policies(scene.setup, BESIDE)], full=full)
    return SearchResult(
        overlays=trials.overlays, tried=tried, confirmed=confirmed, start=trials.split.start,
        clock=scene.setup.config.data.clock,
    )  # fmt: skip
