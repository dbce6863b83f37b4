"""What the run of a refit holds: the documents of the judged version, with the refit's own split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import Array
from evergreen.tasks.core.data.rows import SplitPlan
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.log_items import Json, LogItem, Params
from evergreen.tasks.core.records.reference import FOLDER
from evergreen.tasks.core.training.scoring import Recipe


def describe_refit(
    kept: Mapping[str, Any], plan: SplitPlan, recipe: Recipe, *, n: int, judged: int
) -> Iterator[LogItem]:
    """Yield the items of a refit's run, its reference apart (`evergreen.tasks.core.records.reference`).

    Parameters
    ----------
    kept : mapping
        Documents of the judged version by name that hold for the refit too.
    plan : SplitPlan
        What the refit learned from; replaces the judged version's.
    n : int
        Rows learned from.
    judged : int
        The judged version.
    """
    candidate = recipe.candidate
    yield Params(
        {
            "candidate": candidate.name if candidate else None,
            "estimator": candidate.estimator if candidate else None,
            "threshold": recipe.threshold.value,
            "training_rows": n,
            "evaluated_as": judged,
            **(candidate.params if candidate else {}),
            **recipe.settings,
        }
    )
    documents = {**kept, "split": plan.to_dict()}
    yield from (Json(f"{FOLDER}/{name}.json", content) for name, content in documents.items())


def check_same_classes(y: Array, recipe: Recipe) -> None:
    """Check that rows hold the classes a recipe was judged on.

    Raises
    ------
    NotLearnable
        ``classes_changed`` when a class is new, or (binary) one is missing.
    """
    if not recipe.classes:
        return
    present = set(np.unique(y).tolist())
    known = set(recipe.classes)
    if present - known or (len(known) == 2 and known - present):
        raise NotLearnable(
            "classes_changed",
            f"The version was judged on the classes {sorted(map(str, known))}; the rows to refit on hold "
            f"{sorted(map(str, present))}. Train a new version.",
            observed=float(len(present)),
            limit=float(len(known)),
            n=len(y),
        )
