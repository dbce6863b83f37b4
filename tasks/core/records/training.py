"""What a training logs, described: parameters, metrics, documents, tables; figures are added where they are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.contract.learn import learn_contract
from evergreen.tasks.core.log_items import Json, LogItem, Metrics, Params, Table, Text
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.core.records.reference import FOLDER, freeze_training, frozen_items
from evergreen.tasks.core.redact import redacted
from evergreen.tasks.core.reports.monitoring import frozen_sample
from evergreen.tasks.core.training.cross_validation import CandidateScores
from evergreen.tasks.core.training.selection import CandidateComparison
from evergreen.tasks.core.training.training import Fitted, Selection, TrainingTask
from evergreen.tasks.core.verdict import Reason, StageResult, State


def describe_training(
    lesson: TrainingTask,
    choice: Selection,
    fitted: Fitted,
    config: ModelConfig,
    *,
    earlier: Grid | None = None,
) -> Iterator[LogItem]:
    """Yield what the run of a training holds, figures and the model apart; ``earlier`` is the model's grid so far."""
    yield Params(training_params(lesson, choice, fitted, config))
    yield Metrics(
        {**fitted.metrics, **baseline_metrics(fitted.baselines), **_prefixed("cv_", choice.chosen_run)}
    )
    yield from version_documents(lesson, choice, fitted, config, earlier=earlier)
    yield candidate_table(choice.comparison)
    if fitted.importances:
        yield Table(
            "importance.json",
            {
                "feature": [one.feature for one in fitted.importances],
                "mean": [one.mean for one in fitted.importances],
                "std": [one.std for one in fitted.importances],
            },
        )
    yield Text("summary.md", training_markdown(lesson, choice, fitted, config))


def version_documents(
    lesson: TrainingTask,
    choice: Selection,
    fitted: Fitted,
    config: ModelConfig,
    *,
    earlier: Grid | None = None,
) -> Iterator[LogItem]:
    """Yield the documents stored with a version under ``evergreen/``."""
    training, schema = lesson.parts.training, lesson.schema
    contract = learn_contract(training.frame, schema=schema, config=config)
    documents: dict[str, Any] = {
        "schema": schema.to_dict(),
        "split": lesson.parts.plan.to_dict(),
        "recipe": fitted.recipe.to_dict(),
        "contract": contract.to_dict(),
        "config": shown_config(config),
        **frozen_sample(training, schema=schema, config=config),
    }
    yield from (Json(f"{FOLDER}/{name}.json", content) for name, content in documents.items())
    yield from frozen_items(freeze_training(lesson, choice, fitted, config, earlier=earlier))


def describe_candidate(run: CandidateScores, *, chosen: bool) -> Iterator[LogItem]:
    """Yield what the child run of one candidate holds."""
    yield Params({"candidate": run.name, "estimator": run.estimator, "chosen": chosen, **run.params})
    yield Metrics({f"cv_{name}": value for name, value in run.summary().items()})
    yield Metrics({"cv_seconds": run.seconds} if np.isfinite(run.seconds) else {})
    sizes = {"train_rows": run.train_sizes.tolist(), "test_rows": run.test_sizes.tolist()}
    scores = {name: values.tolist() for name, values in run.scores.items()}
    yield Table("folds.json", {"fold": list(range(1, len(run.train_sizes) + 1)), **sizes, **scores})


def describe_comparison(lesson: TrainingTask, choice: Selection) -> Iterator[LogItem]:
    """Yield what the run of the comparison holds, figures apart."""
    comparison = choice.comparison
    yield Params({"metric": comparison.metric, "level": comparison.level, "folds": len(lesson.folds)})
    yield Params({"winner": comparison.winner, "chosen": choice.candidate.name if choice.candidate else None})
    for run in choice.runs:
        mean = float(np.mean(run.scores[comparison.metric]))
        yield Metrics({f"{run.name}_{comparison.metric}": mean} if np.isfinite(mean) else {})
    yield candidate_table(comparison)
    yield Json("comparison.json", [row.to_dict() for row in comparison.candidates])
    yield Text("comparison.md", comparison_markdown(lesson, choice))


def candidate_table(comparison: CandidateComparison) -> Table:
    """Return the candidates, best first."""
    rows = [row.to_dict() for row in comparison.candidates]
    names = ("name", "mean", "std", "eligible", "behind", "p_value", "tied")
    return Table("candidates.json", {name: [row[name] for row in rows] for name in names})


def candidate_rows(choice: Selection) -> list[dict[str, str]]:
    """Return the comparison as a table of readable cells, best candidate first."""
    rows = []
    for row in choice.comparison.candidates:
        chosen = choice.candidate is not None and row.name == choice.candidate.name
        note = "chosen" if chosen else "not eligible" if not row.eligible else "equal" if row.tied else ""
        rows.append(
            {
                "candidate": row.name,
                choice.comparison.metric: _number(row.mean),
                "sd over folds": _number(row.std),
                "behind": _number(row.behind),
                "p (Holm)": _number(row.p_value),
                "note": note,
            }
        )
    return rows


def comparison_markdown(lesson: TrainingTask, choice: Selection) -> str:
    """Return the comparison as a readable table with its verdict."""
    comparison = choice.comparison
    lines = [
        f"| candidate | {comparison.metric} | sd over folds | behind | p (Holm) | note |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {' | '.join(row.values())} |" for row in candidate_rows(choice)]
    reasons = [f"- {reason.message}" for reason in comparison.verdict.reasons]
    how = f"{len(lesson.folds)} folds, corrected resampled t-test (Nadeau & Bengio 2003), Holm's adjustment."
    return "\n".join([*lines, "", how, "", *reasons])


def training_markdown(lesson: TrainingTask, choice: Selection, fitted: Fitted, config: ModelConfig) -> str:
    """Return what a reader of the run wants to know first."""
    kinds = list(fitted.baselines)
    lines = [
        f"**{choice.candidate.name if choice.candidate else 'none'}** learned from "
        f"{len(lesson.parts.training)} rows; measured on {len(lesson.parts.holdout)} rows of the holdout.",
        "",
        f"| metric | model | {' | '.join(kinds)} |",
        f"| --- | --- | {' | '.join('---' for _ in kinds)} |",
    ]
    for name, value in fitted.metrics.items():
        naive = " | ".join(_number(fitted.baselines[kind].get(name)) for kind in kinds)
        lines.append(f"| {name} | {_number(value)} | {naive} |")
    if config.problem == "binary":
        threshold = fitted.recipe.threshold
        lines += ["", f"Decision threshold {threshold.value:.4g} ({threshold.method})."]
    said = [*lesson.parts.warnings, *lesson.parts.notes, *lesson.schema.notes]
    return "\n".join([*lines, "", comparison_markdown(lesson, choice), "", *(f"- {r.message}" for r in said)])


def training_params(
    lesson: TrainingTask, choice: Selection, fitted: Fitted, config: ModelConfig
) -> dict[str, Any]:
    """Return the parameters of a training run."""
    parts, run = lesson.parts, choice.chosen_run
    return {
        "candidate": choice.candidate.name if choice.candidate else None,
        "estimator": choice.candidate.estimator if choice.candidate else None,
        **(run.params if run else {}),
        "problem": config.problem.value,
        "metric": lesson.metric.name,
        "threshold": fitted.recipe.threshold.value,
        "threshold_method": fitted.recipe.threshold.method,
        "split": parts.plan.method,
        "training_rows": len(parts.training),
        "holdout_rows": len(parts.holdout),
        "evaluation_rows": len(parts.evaluation),
        "features": len(lesson.schema.features),
        "duplicates": parts.duplicates,
        "config_digest": fitted.recipe.config_digest,
    }


def baseline_metrics(baselines: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the baselines' metrics as ``baseline_<kind>_<metric>``."""
    return {f"baseline_{kind}_{name}": v for kind, values in baselines.items() for name, v in values.items()}


def shown_config(config: ModelConfig) -> dict[str, Any]:
    """Return a configuration as it may be stored: addresses without passwords, options left out."""
    plain = config.model_dump(mode="json")
    plain["data"] |= {"source": redacted(config.data.source), "options": sorted(config.data.options)}
    return plain


def _prefixed(prefix: str, run: CandidateScores | None) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in run.summary().items()} if run else {}


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.4g}"


# The answer of a training.


def training_result(
    model: str,
    lesson: TrainingTask,
    choice: Selection,
    fitted: Fitted,
    version: int,
    run_id: str,
    run_url: str | None,
) -> StageResult:
    """Return Trained with the version, its metrics on the holdout, and the naive baseline's beside them.

    ``baseline`` is the constant one; ``baselines`` holds all.
    """
    name = choice.candidate.name if choice.candidate else None
    summary = Reason(
        code="trained",
        message=training_sentence(lesson, fitted, name=str(name)),
        n=len(lesson.parts.training),
    )
    left_out = [note for note in lesson.schema.notes if note.observed not in lesson.excluded]
    return StageResult(
        state=State.TRAINED,
        model=model,
        version=version,
        reasons=(summary, *choice.comparison.verdict.reasons, *lesson.parts.warnings, *left_out),
        details={
            "candidate": name,
            "metric": lesson.metric.name,
            "metrics": fitted.metrics,
            "baseline": fitted.baselines.get("constant", {}),
            "baselines": fitted.baselines,
            "threshold": fitted.recipe.threshold.value,
            "candidates": [row.to_dict() for row in choice.comparison.candidates],
            "rows": {
                "training": len(lesson.parts.training),
                "holdout": len(lesson.parts.holdout),
                "evaluation": len(lesson.parts.evaluation),
            },
            "data_fingerprint": lesson.parts.fingerprint,
            "run_id": run_id,
            "run_url": run_url,
        },
    )


def training_sentence(lesson: TrainingTask, fitted: Fitted, *, name: str) -> str:
    """Say in one sentence what was trained and how good it is."""
    metric, n = lesson.metric.name, len(lesson.parts.holdout)
    if metric not in fitted.metrics:
        return f"'{name}' was trained; {metric} is undefined on the {n} rows of the holdout."
    naive = fitted.baselines.get("constant", {}).get(metric)
    beside = f" (naive baseline: {naive:.4g})" if naive is not None else ""
    return f"'{name}' was trained: {metric} {fitted.metrics[metric]:.4g}{beside} on {n} rows of the holdout."
