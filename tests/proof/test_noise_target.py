"""Nobody becomes champion by chance: of 100 sets whose target is pure noise at most one reaches @champion."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.challenge.alpha import plan_alpha
from evergreen.tasks.core.challenge.comparison import block_rows
from evergreen.tasks.core.challenge.decision import Rule, judge_challenge
from evergreen.tasks.core.challenge.difference import measure_difference
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.split import assign_parts, plan_split
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.training.baseline import baseline_kinds, baseline_scores, no_skill_baseline
from evergreen.tasks.core.training.cross_validation import cross_validate
from evergreen.tasks.core.training.features import ModelSpec
from evergreen.tasks.core.training.scoring import score_rows
from evergreen.tasks.core.training.training import choose_candidate, fit_winner, prepare_training
from evergreen.tasks.core.validation.gate import GateContext
from evergreen.tasks.core.validation.validate import validate_version
from evergreen.tasks.core.verdict import Outcome, State
from tests.support.training_data import model_config

HOUR = 3600.0
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = 1_700_000_000.0
TREES = {
    "binary": "sklearn.ensemble.HistGradientBoostingClassifier",
    "multiclass": "sklearn.ensemble.HistGradientBoostingClassifier",
    "regression": "sklearn.ensemble.HistGradientBoostingRegressor",
    "ranking": "sklearn.ensemble.HistGradientBoostingRegressor",
}
LINEAR = {
    "binary": "sklearn.linear_model.LogisticRegression",
    "multiclass": "sklearn.linear_model.LogisticRegression",
    "regression": "sklearn.linear_model.Ridge",
    "ranking": "sklearn.linear_model.Ridge",
}


@dataclass(frozen=True)
class Fate:
    """How far a set came."""

    approved: bool
    promoted: bool


def noise_rows(problem, *, seed, n=3000, smooth=False, signal=0.0):
    """Return rows of a target that no feature says anything about; ``smooth``: both move slowly (AR .9).

    ``signal`` mixes the first feature into the target: the control that shows what a model with skill does.
    """
    rng = np.random.default_rng(seed)
    columns = {f"x{k}": _series(rng, n, smooth=smooth) for k in range(4)}
    latent = _series(rng, n, smooth=smooth) + signal * columns["x0"]
    columns["city"] = rng.choice(["a", "b", "c"], n)
    targets = {
        "binary": (latent > 0.4).astype(int),
        "multiclass": np.digitize(latent, [-0.5, 0.5]),
        "regression": latent,
        "ranking": np.digitize(rng.normal(size=n) + signal * columns["x0"], [-0.5, 0.5]),
    }
    moments = START + np.arange(n) * HOUR
    if problem == "ranking":
        columns["race"] = np.arange(n) // 10
        moments = START + (np.arange(n) // 10) * 10 * HOUR
    return Rows(pd.DataFrame({**columns, "y": targets[problem], "t": moments}), moments)


def _series(rng, n, *, smooth):
    shocks = rng.normal(size=n)
    if not smooth:
        return shocks
    from scipy.signal import lfilter

    return lfilter([np.sqrt(1 - 0.81)], [1.0, -0.9], shocks)


def noise_config(problem, *, timed=True, **evaluation):
    window = {"validation_window": "21d"} if timed else {}
    data = {"time": "t", "clock": "seconds"} if timed else {"exclude": ["t"]}
    candidates = [
        {"name": "linear", "estimator": LINEAR[problem]},
        {"name": "trees", "estimator": TREES[problem], "params": {"max_iter": 15, "max_leaf_nodes": 8}},
    ]
    return model_config(
        problem,
        data=data,
        evaluation={**window, **evaluation},
        training={"candidates": candidates, "folds": 3, "importance_repeats": 1},
    )


def fate_of(rows, config, *, seed):
    """Train, gate and challenge one set; ``NotLearnable`` on the way is a fate too."""
    try:
        return _judge(rows, config, np.random.default_rng(seed))
    except NotLearnable:
        return Fate(approved=False, promoted=False)


def _judge(rows, config, rng):
    parts = assign_parts(rows, plan_split(rows, config))
    lesson = prepare_training(parts, config)
    spec = ModelSpec(lesson.schema, config, lesson.classes)
    runs = tuple(
        cross_validate(candidate, parts.training, lesson.folds, spec, metrics=lesson.metrics)
        for candidate in config.training.candidates
    )
    fitted = fit_winner(lesson, choose_candidate(lesson, runs, config), config)
    timed = parts.holdout.positions is not None
    naive = {
        kind: baseline_scores(kind, spec, training=parts.training, rows=parts.holdout, rng=rng)
        for kind in baseline_kinds(config, timed=timed)
    }
    context = GateContext(
        config=config,
        schema=lesson.schema,
        version=1,
        holdout=parts.holdout,
        scored=fitted.holdout,
        baselines=naive,
        metrics=lesson.metrics,
        windows={"holdout": parts.holdout.frame},
    )
    approved = validate_version(context, gates={}, rng=rng).state is State.APPROVED
    return Fate(approved=approved, promoted=approved and _wins(parts, lesson, fitted, config, rng))


def _wins(parts, lesson, fitted, config, rng):
    """Let an approved version meet the naive baseline on the evaluation rows, on the first look's alpha."""
    spec = ModelSpec(lesson.schema, config, lesson.classes)
    rows = parts.evaluation
    answers = score_rows(fitted.estimator, rows, spec, threshold=fitted.recipe.threshold.value)
    baseline = baseline_scores("constant", spec, training=parts.training, rows=rows, rng=rng)
    metric, opponent = no_skill_baseline(lesson.metric, baseline=baseline, answers=answers, rng=rng)
    look = plan_alpha([], now=_NOW, level=config.evaluation.significance_level)
    difference = measure_difference(
        metric,
        opponent,
        answers,
        level=look.alpha,
        rng=rng,
        blocks=block_rows(rows, schema=lesson.schema, config=config),
    )
    rule = Rule(min_improvement=config.evaluation.min_improvement)
    return judge_challenge(difference, rule).outcome is Outcome.PASS


pytestmark = pytest.mark.proof

SETS = 100
MOST_APPROVED = 9  # of 100; at the gate's 2.5 % there is a chance of 0.04 % to see more
# Chosen on the holdout and judged there, or so slow that a holdout of two weeks holds few independent days:
# the gate alone lets more through, and the challenge on rows of its own has to hold them.
LOOSE = {"binary by F1, threshold chosen on the holdout": 20, "binary, slowly moving": 20}

CASES = {
    "binary": ("binary", {}, {}),
    "binary by F1, threshold chosen on the holdout": ("binary", {"metric": "f1", "threshold": "auto"}, {}),
    "binary, slowly moving": ("binary", {}, {"smooth": True}),
    "binary without a clock": ("binary", {"timed": False}, {}),
    "multiclass": ("multiclass", {}, {}),
    "regression": ("regression", {}, {}),
    "regression, slowly moving": ("regression", {}, {"smooth": True}),
    "regression by absolute error": ("regression", {"metric": "mae"}, {}),
    "ranking": ("ranking", {}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_of_100_sets_of_pure_noise_at_most_one_reaches_the_throne(case):
    problem, options, kind = CASES[case]
    config = noise_config(problem, **options)
    fates = [fate_of(noise_rows(problem, seed=seed, **kind), config, seed=seed) for seed in range(SETS)]
    promoted, approved = sum(fate.promoted for fate in fates), sum(fate.approved for fate in fates)
    assert promoted <= 1
    assert approved <= LOOSE.get(case, MOST_APPROVED)


@pytest.mark.parametrize("case", CASES)
def test_the_same_path_crowns_models_that_know_something(case):
    problem, options, kind = CASES[case]
    config = noise_config(problem, **options)
    rows = [noise_rows(problem, seed=seed, **{**kind, "signal": 3.0}) for seed in range(10)]
    assert sum(fate_of(one, config, seed=0).promoted for one in rows) >= 9
