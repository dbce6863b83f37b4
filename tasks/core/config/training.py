"""How candidates are trained, compared and chosen."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from evergreen.tasks.core.config.units import Count, Section


class Candidate(Section):
    """One recipe: an estimator by its import path, with parameters and perhaps a search."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.\-]+$")
    """Short name, shown in runs and reports."""
    estimator: str
    """Import path of a scikit-learn compatible estimator, e.g. `sklearn.linear_model.LogisticRegression`."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Constructor parameters."""
    search: dict[str, list[Any]] = Field(default_factory=dict)
    """Values to try per parameter; empty: no search."""
    search_iterations: Count = 10
    """How many settings a search tries at most (all of them when the grid is smaller)."""
    preprocess: Literal["auto", "ordinal", "onehot", "none"] = "auto"
    """Preprocessing before the estimator: `ordinal` (trees), `onehot` (with imputing and scaling), `none` (the
    columns as they are), or `auto`: by the kind of estimator."""


class TrainingConfig(Section):
    """Candidates, cross-validation and selection."""

    candidates: list[Candidate] = Field(min_length=1)
    """Recipes that compete."""
    folds: int = Field(default=5, ge=2, le=20)
    """Folds of the cross-validation inside the training rows (forward in time where there is a clock)."""
    repeats: Count = 1
    """Repeats of the cross-validation (random folds only)."""
    criteria: str | None = None
    """Condition a candidate must meet, e.g. `accuracy > 0.90 and accuracy_std < 0.05`."""
    prefer: Literal["simplest", "best"] = "simplest"
    """`simplest`: the first listed among the best and those neither significantly worse (corrected test) nor further
    behind than `evaluation.min_improvement`; `best`: the best mean."""
    class_weight: Literal["balanced"] | dict[str, float] | None = None
    """Class weights, as in scikit-learn."""
    importance_repeats: Count = 5
    """Shuffles per feature of the permutation importance."""
    random_state: int = 0
    """Seed of estimators and searches."""
    max_categories: Count = 50
    """Most categories one-hot encoded per column; rarer ones are pooled."""
    allow: list[str] = Field(default_factory=list)
    """Packages or import paths of the team's own whose estimators may be used, beside the usual libraries; or the row
    of a library, `module:name` (docs/extending.md)."""
    allow_pickle: bool = False
    """Load registered models that hold pickled code; loading one runs whatever its author put in."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> TrainingConfig:
        names = [candidate.name for candidate in self.candidates]
        if len(set(names)) != len(names):
            raise ValueError(f"training.candidates: names must differ, got {names}; rename one of them")
        return self
