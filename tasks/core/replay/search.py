"""A search for a policy: tried on the first part of history, confirmed on the part that it did not use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
import yaml

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.model import overlay_model
from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.errors import InputError, counted
from evergreen.tasks.core.replay.history import History
from evergreen.tasks.core.replay.results import ReplayResult
from evergreen.tasks.core.replay.setup import ENABLED, PolicySpec, ReplayStart
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.training.estimators import build_estimator, takes_weights

# The settings of retraining that a search tries: triggers, spans, window, weights and thresholds.


Method = Literal["grid", "random"]
Overlay = dict[str, dict[str, Any]]

_TRIGGERS = (
    ["periodic"],
    ["performance", "concept"],
    ["performance", "concept", "periodic"],
    ["data", "prediction", "outcome", "concept", "performance"],
    ["data", "prediction", "outcome", "concept", "performance", "periodic"],
)
_SPANS = (1, 2, 3, 4, 6, 9, 12)
"""Windows of monitoring that a cooldown, or the time to the next date, lasts."""
_COARSE = (2, 4, 8)
_DROPS = (0.02, 0.05, 0.1)
_PSI = (0.0, 0.1, 0.25)
_EFFECTS = (0.03, 0.06, 0.1)


def search_space(
    config: ModelConfig, *, method: Method, trials: int, rng: np.random.Generator, window: timedelta
) -> tuple[Overlay, ...]:
    """Return settings to try, each as values by section.

    Parameters
    ----------
    config : ModelConfig
        The model as it is configured.
    method : {'grid', 'random'}
        ``grid``: triggers x spans x training window, evenly thinned out to ``trials``. ``random``: drawn from all
        settings, without repeats.
    trials : int
        Most settings to return, >= 1.
    rng : numpy.random.Generator
        For ``random``.
    window : timedelta
        How long a window of monitoring lasts; spans are multiples of it.

    Raises
    ------
    InputError
        When the method is unknown, or there are no trials.
    """
    if method not in ("grid", "random"):
        raise InputError(f"Unknown search method '{method}'. Allowed: grid, random.")
    if trials < 1:
        raise InputError(f"A search of {trials} trials is not possible. Allowed: 1 or more.")
    every = list(_grid(config, window)) if method == "grid" else _draws(config, window, rng, trials)
    return tuple(every[place] for place in _spread(len(every), trials))


def paste_yaml(overlay: Overlay) -> str:
    """Return settings as the lines to paste into a model's file.

    >>> print(paste_yaml({"retraining": {"triggers": ["periodic"], "every": "42d"}}), end="")
    retraining:
      triggers: [periodic]
      every: 42d
    """
    lines: list[str] = []
    for section, values in overlay.items():
        lines.append(f"{section}:")
        lines += [f"  {name}: {_flow(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def span_text(length: timedelta) -> str:
    """Return a duration as a configuration writes it, rounded up to whole minutes.

    >>> span_text(timedelta(days=42)), span_text(timedelta(hours=30))
    ('42d', '30h')
    """
    minutes = max(math.ceil(length.total_seconds() / 60), 1)
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


def _grid(config: ModelConfig, window: timedelta) -> Iterable[Overlay]:
    for triggers, many, learned in product(_TRIGGERS, _COARSE, _windows(config)):
        span = span_text(window * many)
        yield {"retraining": {"triggers": triggers, "every": span, "cooldown": span, "window": learned}}


def _draws(config: ModelConfig, window: timedelta, rng: np.random.Generator, trials: int) -> list[Overlay]:
    drawn: list[Overlay] = []
    for _ in range(20 * trials):
        if len(drawn) < trials and (overlay := _draw(config, window, rng)) not in drawn:
            drawn.append(overlay)
    return drawn


def _draw(config: ModelConfig, window: timedelta, rng: np.random.Generator) -> Overlay:
    cooldown, every = sorted(_SPANS[int(place)] for place in rng.integers(len(_SPANS), size=2))
    retraining = {
        "triggers": _one(_TRIGGERS, rng),
        "every": span_text(window * every),
        "cooldown": span_text(window * cooldown),
        "window": _one(_windows(config), rng),
        "weighted": _one(_weights(config), rng),
        "drift_threshold": _one(_PSI, rng),
        "performance_drop": _one(_DROPS, rng),
    }
    return {"drift": {"min_effect": _one(_EFFECTS, rng)}, "retraining": retraining}


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def _one(values: Sequence[Any], rng: np.random.Generator) -> Any:
    return values[int(rng.integers(len(values)))]


def _windows(config: ModelConfig) -> tuple[str, ...]:
    """Return the training windows to try: as configured, half of it, all history, since the last change."""
    window = config.retraining.window
    fits = isinstance(window, Span) and not (config.data.clock == "rows" and window.unit == "seconds")
    halved = (str(window), _halved(window)) if isinstance(window, Span) and fits else ()
    return tuple(dict.fromkeys((*halved, "full", "since_change")))


def _halved(span: Span) -> str:
    if span.unit == "rows":
        return f"{max(math.ceil(span.amount / 2), 1)} rows"
    return span_text(timedelta(seconds=span.amount / 2))


def _weights(config: ModelConfig) -> tuple[str, ...]:
    """Return the weightings that every candidate can learn with."""
    training = config.training
    built = (build_estimator(one.estimator, one.params, allow=training.allow) for one in training.candidates)
    accepted = all(takes_weights(estimator) for estimator in built)
    return ("none", "recency", "similarity") if accepted else ("none",)


def _spread(many: int, wanted: int) -> list[int]:
    """Return so many places, evenly spread."""
    return [int(place) for place in np.unique(np.linspace(0, many - 1, min(many, wanted)).round())]


SHARE = 0.7
"""Part of history that settings are tried on."""


def split_history(history: History, beginning: ReplayStart, *, share: float = SHARE) -> tuple[History, float]:
    """Divide a history at the end of a window.

    Parameters
    ----------
    beginning : ReplayStart
        Of a replay over all of it: its windows are what is divided.
    share : float
        Part of the windows that settings are tried on, in (0, 1).

    Returns
    -------
    History
        What settings are tried on; nothing later is known in it.
    float
        Position at which the part begins that the search does not see: the first model of the confirmation is trained
        as of it.

    Raises
    ------
    InputError
        When either part would have no window.
    """
    steps = beginning.steps
    count = round(share * len(steps))
    if not 0 < count < len(steps):
        raise InputError(
            f"{counted(len(steps), 'window')} cannot be divided into a part to search on and one to confirm on. Bring "
            "more history, or shorten monitoring.window."
        )
    edge = steps[count - 1].until
    # the first row at the edge makes the last window full, and is all that may be seen of what comes after
    return history.before(float(np.nextafter(edge, np.inf))), edge


def window_length(beginning: ReplayStart) -> timedelta:
    """Return how long a window lasts on the simulated clock: the median from one step to the next."""
    moments = [beginning.start.at, *(step.at for step in beginning.steps)]
    steps = [(after - before).total_seconds() for before, after in pairwise(moments)]
    return timedelta(seconds=float(np.median(steps)))


def trial_specs(overlays: Sequence[Overlay], config: ModelConfig) -> tuple[PolicySpec, ...]:
    """Return a policy for each set of values, ``trial-1`` and so on.

    Raises
    ------
    ConfigError
        When a value is not allowed.
    """
    enabled = overlay_model(config, ENABLED, origin="--search")
    return tuple(
        PolicySpec(name=f"trial-{number}", config=overlay_model(enabled, dict(overlay), origin="--search"))
        for number, overlay in enumerate(overlays, start=1)
    )


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The result of a search."""

    overlays: Mapping[str, Overlay]
    """Values by the name of the trial."""
    tried: ReplayResult
    """On the first part: all trials, perhaps beside other policies."""
    confirmed: ReplayResult
    """Those on the front, on the part that the search did not use."""
    start: float
    """Where that begins."""
    clock: str
    """Unit of ``start``."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: every trial, the front, and what became of it, with the lines to paste."""
        tried, later = ({one.name: one for one in part.policies} for part in (self.tried, self.confirmed))
        chosen = [
            {
                "policy": name,
                "overlay": self.overlays[name],
                "yaml": paste_yaml(self.overlays[name]),
                "first_part": tried[name].summary(),
                "unseen_part": later[name].summary() if name in later else None,
            }
            for name in self.tried.front()
            if name in self.overlays
        ]
        return {
            "trials": [
                {**one.summary(), "overlay": self.overlays.get(one.name)} for one in self.tried.policies
            ],
            "front": list(self.tried.front()),
            "unseen_from": format_position(self.start, clock=self.clock),
            "chosen": to_plain(chosen),
            "unseen": [one.summary() for one in self.confirmed.policies],
        }
