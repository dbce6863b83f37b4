"""Who is watched, and by what: the champion with the documents that were frozen with it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.core.data.clock import parse_position
from tasks.core.errors import Held, NotLearnable
from tasks.core.metrics.measure import deciding_metric
from tasks.core.records.frozen import Frozen
from tasks.core.reign.plan import CHAMPION
from tasks.core.watching import guard as guarding
from tasks.core.watching.past import Past
from tasks.io.metric_paths import custom_metrics
from tasks.io.models import LoadedModel, load_model, read_documents, read_optional
from tasks.io.setup import Setup
from tasks.retries import TRANSIENT
from tasks.stage_task import stage_task


@dataclass(frozen=True, kw_only=True, eq=False)
class Guard(guarding.Guard):
    """The guard of a registered champion."""

    model: LoadedModel


@stage_task(**TRANSIENT)
def post_guard(setup: Setup) -> Guard:
    """Load the champion and prepare its watch.

    Raises
    ------
    Held
        ``disabled`` where ``monitoring.run_mode`` says so.
    NotLearnable
        ``no_champion``, or ``no_reference`` for a version without a profile.
    """
    if setup.config.monitoring.run_mode == "disabled":
        raise Held("disabled", f"monitoring.run_mode of '{setup.model}' is disabled; nothing was looked at.")
    version = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    if version is None:
        raise NotLearnable(
            "no_champion",
            f"Model '{setup.model}' has no @champion to watch. Train, validate and challenge first.",
        )
    return guard_version(setup, load_model(setup, version))


def guard_version(setup: Setup, model: LoadedModel) -> Guard:
    """Prepare the watch of a version from its documents."""
    kept = read_documents(setup, model.info, ("profile",))
    past = Past.from_dict(read_optional(setup, model.info, "past"))
    prepared = guarding.prepare_guard(
        model,
        Frozen(profile=kept["profile"], past=past),
        config=setup.config,
        metric=deciding_metric(setup.config, custom=custom_metrics(setup.config)),
        version=model.info.version,
        trained_to=_learned_to(model),
    )
    return Guard(model=model, past=prepared.past, watch=prepared.watch)


def _learned_to(model: LoadedModel) -> float | None:
    """Return the position from which on rows are new to a version; None where it is not known."""
    plan, told = model.plan, model.info.tags.get("evergreen.trained_to")
    if plan.unseen_from is not None:
        return plan.unseen_from
    if told is not None:
        return parse_position(told, clock=plan.clock)
    return plan.until
