"""Refit: the recipe of a judged version, fitted on all labelled rows and registered as a version of its own."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.data.split_plan import SplitPlan
from tasks.core.errors import NotLearnable
from tasks.core.learning.features import outcomes, signature_features
from tasks.core.learning.fitted import refit
from tasks.core.learning.recipe import Recipe
from tasks.core.learning.version_tags import version_tags
from tasks.core.logitems import LogItem
from tasks.core.metrics.measure import deciding_metric
from tasks.core.pages.sample import frozen_sample
from tasks.core.records.reference_items import refit_reference_items
from tasks.core.records.refit_items import check_same_classes, describe_refit
from tasks.io.metric_paths import custom_metrics
from tasks.io.models import read_documents, storing
from tasks.io.references import read_past_document
from tasks.io.registry import VersionInfo
from tasks.io.setup import Setup
from tasks.io.versions import Dossier, keep_version
from tasks.train import run_tags

_KEPT = ("schema", "recipe", "contract", "config")


def can_refit(setup: Setup, version: int) -> bool:
    """Tell whether a version can be fitted again: trained here, on rows with a clock."""
    if not setup.config.timed:
        return False
    info = setup.stores.registry.version(setup.model, version)
    return Recipe.from_dict(read_documents(setup, info, ("recipe",))["recipe"]).candidate is not None


def refit_version(setup: Setup, version: int, rows: Rows, *, plan: SplitPlan) -> VersionInfo:
    """Fit a version's recipe on rows and register the result with the tag ``evergreen.evaluated_as``.

    Recipe, settings and threshold stay those of the judged version: what was judged is what serves. So do its answers
    in the reference; features and outcome are profiled anew (`refit_reference_items`).

    Parameters
    ----------
    version : int
        The judged version.
    rows : Rows
        All labelled rows.
    plan : SplitPlan
        How they were chosen; it says from when on rows are new to the refit.

    Raises
    ------
    NotLearnable
        ``no_recipe`` for a model trained elsewhere; ``classes_changed`` when the rows hold other classes.
    """
    judged = setup.stores.registry.version(setup.model, version)
    kept = read_documents(setup, judged, _KEPT)
    recipe, schema = Recipe.from_dict(kept["recipe"]), Schema.from_dict(kept["schema"])
    if recipe.candidate is None:
        raise NotLearnable(
            "no_recipe", f"Version {version} was trained elsewhere, so that there is no recipe to fit again."
        )
    check_same_classes(outcomes(rows.frame, schema, setup.config), recipe)
    estimator = refit(recipe, rows, schema=schema, config=setup.config)
    sample = frozen_sample(rows, schema=schema, config=setup.config)
    items = describe_refit({**kept, **sample}, plan, recipe, n=len(rows), judged=version)
    name = recipe.candidate.name
    tags = {**version_tags(plan, rows, trigger="refit"), **run_tags("refit"), "evergreen.candidate": name}
    return keep_version(
        setup,
        Dossier(
            stage="refit",
            title=f"of v{version} {name}",
            items=[*items, *_reference(setup, judged, rows, schema)],
            parts={"training": rows},
            store=storing(setup, estimator, signature_features(rows.frame, schema)),
            tags={**tags, "evergreen.evaluated_as": str(version)},
            description=f"The recipe of version {version} ({name}), refitted on {len(rows)} rows",
        ),
    )


def _reference(setup: Setup, judged: VersionInfo, rows: Rows, schema: Schema) -> Iterator[LogItem]:
    """Yield the reference of a refit."""
    kept = {**read_documents(setup, judged, ("profile",)), "past": read_past_document(setup, judged)}
    metric = deciding_metric(setup.config, custom=custom_metrics(setup.config))
    return refit_reference_items(kept, rows, schema=schema, config=setup.config, metric=metric)
