"""Nobody reigns by chance: of 100 sets whose target is pure noise at most one reaches @champion."""

import pytest

from tests.support.noise import fate_of, noise_config, noise_rows

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
    crowned, approved = sum(fate.crowned for fate in fates), sum(fate.approved for fate in fates)
    assert crowned <= 1
    assert approved <= LOOSE.get(case, MOST_APPROVED)


@pytest.mark.parametrize("case", CASES)
def test_the_same_path_crowns_models_that_know_something(case):
    problem, options, kind = CASES[case]
    config = noise_config(problem, **options)
    rows = [noise_rows(problem, seed=seed, **{**kind, "signal": 3.0}) for seed in range(10)]
    assert sum(fate_of(one, config, seed=0).crowned for one in rows) >= 9
