"""A search for a policy: tried on the first part of history, confirmed on the part that it did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.config.model import overlay_model
from tasks.core.data.clock import format_position
from tasks.core.errors import InputError
from tasks.core.replay.first import Beginning
from tasks.core.replay.history import History
from tasks.core.replay.policies import ENABLED, PolicySpec
from tasks.core.replay.results import ReplayResult
from tasks.core.replay.search_space import Overlay, paste_yaml
from tasks.core.watching.looked import json_ready

SHARE = 0.7
"""Part of history that settings are tried on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchSplit:
    """The two parts of a history.

    Attributes
    ----------
    first : History
        What settings are tried on; nothing later is known in it.
    whole : History
        All of it, for the confirmation, whose first model is trained as of ``start``.
    start : float
        Position at which the part begins that the search does not see.
    """

    first: History
    whole: History
    start: float


def split_history(history: History, beginning: Beginning, *, share: float = SHARE) -> SearchSplit:
    """Divide a history at the end of a window.

    Parameters
    ----------
    beginning : Beginning
        Of a replay over all of it: its windows are what is divided.
    share : float
        Part of the windows that settings are tried on, in (0, 1).

    Raises
    ------
    InputError
        When either part would have no window.
    """
    ticks = beginning.ticks
    count = round(share * len(ticks))
    if not 0 < count < len(ticks):
        raise InputError(
            f"{len(ticks)} window(s) cannot be divided into a part to search on and one to confirm on. Bring more "
            "history, or shorten monitoring.window."
        )
    edge = ticks[count - 1].until
    # the first row at the edge makes the last window full, and is all that may be seen of what comes after
    return SearchSplit(first=history.before(float(np.nextafter(edge, np.inf))), whole=history, start=edge)


def window_length(beginning: Beginning) -> timedelta:
    """Return how long a window lasts on the simulated clock: the median from one step to the next."""
    moments = [beginning.start.at, *(tick.at for tick in beginning.ticks)]
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
    """What a search found.

    Attributes
    ----------
    overlays : mapping of str to dict
        Values by the name of the trial.
    tried : ReplayResult
        On the first part: all trials, perhaps beside other policies.
    confirmed : ReplayResult
        Those on the front, on the part that was not seen.
    start : float
        Where that begins.
    clock : str
        Unit of ``start``.
    """

    overlays: Mapping[str, Overlay]
    tried: ReplayResult
    confirmed: ReplayResult
    start: float
    clock: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: every trial, the front, and what became of it, with the lines to paste."""
        later = {one.name: one for one in self.confirmed.policies}
        chosen = [
            {
                "policy": name,
                "overlay": self.overlays[name],
                "yaml": paste_yaml(self.overlays[name]),
                "first_part": self._summary(self.tried, name),
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
            "chosen": json_ready(chosen),
            "unseen": [one.summary() for one in self.confirmed.policies],
        }

    def _summary(self, result: ReplayResult, name: str) -> dict[str, Any]:
        return next(one for one in result.policies if one.name == name).summary()
