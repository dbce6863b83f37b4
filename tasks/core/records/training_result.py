"""The answer of a training."""

from __future__ import annotations

from tasks.core.learning.fitted import Fitted
from tasks.core.learning.lesson import Choice, Lesson
from tasks.core.verdict import Reason, StageResult, State


def training_result(
    model: str,
    lesson: Lesson,
    choice: Choice,
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


def training_sentence(lesson: Lesson, fitted: Fitted, *, name: str) -> str:
    """Say in one sentence what was trained and how good it is."""
    metric, n = lesson.metric.name, len(lesson.parts.holdout)
    if metric not in fitted.metrics:
        return f"'{name}' was trained; {metric} is undefined on the {n} rows of the holdout."
    naive = fitted.baselines.get("constant", {}).get(metric)
    beside = f" (naive baseline: {naive:.4g})" if naive is not None else ""
    return f"'{name}' was trained: {metric} {fitted.metrics[metric]:.4g}{beside} on {n} rows of the holdout."
