"""What a training logs, described: parameters, metrics, documents, tables; figures are added where they are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.log_items import Json, LogItem, Metrics, Params, Table, Text
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.core.records.reference import freeze_training, frozen_items, version_documents
from evergreen.tasks.core.reports.html import markdown_table
from evergreen.tasks.core.training.cross_validation import CandidateScores
from evergreen.tasks.core.training.selection import CandidateComparison, CandidateResult
from evergreen.tasks.core.training.training import Fitted, Selection, TrainingTask
from evergreen.tasks.core.verdict import Reason, StageResult, State


def describe_training(
    task: TrainingTask,
    selection: Selection,
    fitted: Fitted,
    config: ModelConfig,
    *,
    earlier: Grid | None = None,
) -> Iterator[LogItem]:
    """Yield what the run of a training holds, figures and the model apart; ``earlier`` is the model's grid so far."""
    yield Params(training_params(task, selection, fitted, config))
    cross_validated = selection.chosen_run.summary() if selection.chosen_run else {}
    yield Metrics({**fitted.metrics, **baseline_metrics(fitted.baselines)})
    yield Metrics({f"cv_{name}": value for name, value in cross_validated.items()})
    plan, schema = task.parts.plan, task.schema
    yield from version_documents(
        task.parts.training, schema=schema, plan=plan, recipe=fitted.recipe, config=config
    )
    yield from frozen_items(freeze_training(task, selection, fitted, config, earlier=earlier))
    yield candidate_table(selection.comparison)
    if fitted.importances:
        columns = ("feature", "mean", "std")
        rows = {name: [getattr(one, name) for one in fitted.importances] for name in columns}
        yield Table("importance.json", rows)
    yield Text("summary.md", training_markdown(task, selection, fitted, config))


def describe_candidate(run: CandidateScores, *, chosen: bool) -> Iterator[LogItem]:
    """Yield what the child run of one candidate holds."""
    yield Params({"candidate": run.name, "estimator": run.estimator, "chosen": chosen, **run.params})
    yield Metrics({f"cv_{name}": value for name, value in run.summary().items()})
    yield Metrics({"cv_seconds": run.seconds} if np.isfinite(run.seconds) else {})
    sizes = {"train_rows": run.train_sizes.tolist(), "test_rows": run.test_sizes.tolist()}
    scores = {name: values.tolist() for name, values in run.scores.items()}
    yield Table("folds.json", {"fold": list(range(1, len(run.train_sizes) + 1)), **sizes, **scores})


def describe_comparison(task: TrainingTask, selection: Selection) -> Iterator[LogItem]:
    """Yield what the run of the comparison holds, figures apart."""
    comparison = selection.comparison
    yield Params({"metric": comparison.metric, "level": comparison.level, "folds": len(task.folds)})
    yield Params(
        {"winner": comparison.winner, "chosen": selection.candidate.name if selection.candidate else None}
    )
    for run in selection.runs:
        mean = float(np.mean(run.scores[comparison.metric]))
        yield Metrics({f"{run.name}_{comparison.metric}": mean} if np.isfinite(mean) else {})
    yield candidate_table(comparison)
    yield Json("comparison.json", [row.to_dict() for row in comparison.candidates])
    yield Text("comparison.md", comparison_markdown(task, selection))


def candidate_table(comparison: CandidateComparison) -> Table:
    """Return the candidates, best first."""
    rows = [row.to_dict() for row in comparison.candidates]
    names = ("name", "mean", "std", "eligible", "behind", "p_value", "tied")
    return Table("candidates.json", {name: [row[name] for row in rows] for name in names})


def candidate_rows(selection: Selection) -> list[dict[str, str]]:
    """Return the comparison as a table of readable cells, best candidate first."""
    chosen = selection.candidate.name if selection.candidate else None
    return [
        {
            "candidate": row.name,
            selection.comparison.metric: _number(row.mean),
            "sd over folds": _number(row.std),
            "behind": _number(row.behind),
            "p (Holm)": _number(row.p_value),
            "note": "chosen" if row.name == chosen else _note(row),
        }
        for row in selection.comparison.candidates
    ]


def _note(row: CandidateResult) -> str:
    return "not eligible" if not row.eligible else "equal" if row.tied else ""


def comparison_markdown(task: TrainingTask, selection: Selection) -> str:
    """Return the comparison as a readable table with its verdict."""
    comparison = selection.comparison
    head = ("candidate", comparison.metric, "sd over folds", "behind", "p (Holm)", "note")
    lines = markdown_table(head, [row.values() for row in candidate_rows(selection)])
    reasons = [f"- {reason.message}" for reason in comparison.verdict.reasons]
    how = f"{len(task.folds)} folds, corrected resampled t-test (Nadeau & Bengio 2003), Holm's adjustment."
    return "\n".join([*lines, "", how, "", *reasons])


def training_markdown(task: TrainingTask, selection: Selection, fitted: Fitted, config: ModelConfig) -> str:
    """Return the page of a training: metrics of model and baselines, threshold, candidates, notes."""
    kinds = list(fitted.baselines)
    lines = [
        f"**{selection.candidate.name if selection.candidate else 'none'}** learned from "
        f"{len(task.parts.training)} rows; measured on {len(task.parts.holdout)} rows of the holdout.",
        "",
    ]
    rows = [
        (name, _number(value), *(_number(fitted.baselines[kind].get(name)) for kind in kinds))
        for name, value in fitted.metrics.items()
    ]
    lines += markdown_table(("metric", "model", *kinds), rows)
    if config.problem == "binary":
        threshold = fitted.recipe.threshold
        lines += ["", f"Decision threshold {threshold.value:.4g} ({threshold.method})."]
    notes = [*task.parts.warnings, *task.parts.notes, *task.schema.notes]
    lines += ["", comparison_markdown(task, selection), "", *(f"- {one.message}" for one in notes)]
    return "\n".join(lines)


def training_params(
    task: TrainingTask, selection: Selection, fitted: Fitted, config: ModelConfig
) -> dict[str, Any]:
    """Return the parameters of a training run."""
    parts, run = task.parts, selection.chosen_run
    return {
        "candidate": selection.candidate.name if selection.candidate else None,
        "estimator": selection.candidate.estimator if selection.candidate else None,
        **(run.params if run else {}),
        "problem": config.problem.value,
        "metric": task.metric.name,
        "threshold": fitted.recipe.threshold.value,
        "threshold_method": fitted.recipe.threshold.method,
        "split": parts.plan.method,
        "training_rows": len(parts.training),
        "holdout_rows": len(parts.holdout),
        "evaluation_rows": len(parts.evaluation),
        "features": len(task.schema.features),
        "duplicates": parts.duplicates,
        "config_digest": fitted.recipe.config_digest,
    }


def baseline_metrics(baselines: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the baselines' metrics as ``baseline_<kind>_<metric>``."""
    return {f"baseline_{kind}_{name}": v for kind, values in baselines.items() for name, v in values.items()}


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.4g}"


# The answer of a training.


def training_result(
    model: str,
    task: TrainingTask,
    selection: Selection,
    fitted: Fitted,
    version: int,
    run_id: str,
    run_url: str | None,
) -> StageResult:
    """Return Trained with the version, its metrics on the holdout, and the naive baseline's beside them.

    ``baseline`` is the constant one; ``baselines`` holds all.
    """
    name, parts = selection.candidate.name if selection.candidate else None, task.parts
    message, rows = training_sentence(task, fitted, name=str(name)), ("training", "holdout", "evaluation")
    summary = Reason(code="trained", message=message, n=len(parts.training))
    left_out = [note for note in task.schema.notes if note.observed not in task.excluded]
    return StageResult(
        state=State.TRAINED,
        model=model,
        version=version,
        reasons=(summary, *selection.comparison.verdict.reasons, *parts.warnings, *left_out),
        details={
            "candidate": name,
            "metric": task.metric.name,
            "metrics": fitted.metrics,
            "baseline": fitted.baselines.get("constant", {}),
            "baselines": fitted.baselines,
            "threshold": fitted.recipe.threshold.value,
            "candidates": [row.to_dict() for row in selection.comparison.candidates],
            "rows": {one: len(getattr(parts, one)) for one in rows},
            "data_fingerprint": parts.fingerprint,
            "run_id": run_id,
            "run_url": run_url,
        },
    )


def training_sentence(task: TrainingTask, fitted: Fitted, *, name: str) -> str:
    """Say in one sentence what was trained and how good it is."""
    metric, n = task.metric.name, len(task.parts.holdout)
    if metric not in fitted.metrics:
        return f"'{name}' was trained; {metric} is undefined on the {n} rows of the holdout."
    naive = fitted.baselines.get("constant", {}).get(metric)
    compared = f" (naive baseline: {naive:.4g})" if naive is not None else ""
    return (
        f"'{name}' was trained: {metric} {fitted.metrics[metric]:.4g}{compared} on {n} rows of the holdout."
    )
