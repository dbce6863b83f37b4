"""How often leaks are found and fair columns accused, over seeded sets of each kind."""

from collections import Counter

import numpy as np
import pytest

from evergreen.tasks.core.init.proposal import propose, survey
from tests.support.generated_data import LEAKS, PROBLEMS, fair_set, plant, races

pytestmark = pytest.mark.proof
SEEDS = 25


def accused(frame, *, time, group=None):
    material, _ = survey(frame, target="y", time=time, group=group, rng=np.random.default_rng(0))
    return set(propose(material).exclude) | {suspect.column for suspect in material.suspects}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_of_planted_leaks_98_percent_are_found_and_one_set_in_fifty_accuses_a_fair_column(problem):
    missed, false, total, sets = Counter(), Counter(), 0, 0
    for leak in LEAKS[problem]:
        for seed in range(SEEDS):
            fair = fair_set(100 + seed, problem=problem, memory=0.9 * (seed % 2))
            frame, planted = plant(fair, leak, seed=seed)
            found = accused(frame, time="at")
            missed.update((leak, name) for name in planted - found)
            false.update((leak, name) for name in found - planted)
            total, sets = total + len(planted), sets + 1

    print(
        f"{problem}: missed {sum(missed.values())} of {total}, accused falsely {sum(false.values())} in {sets} sets"
    )
    assert sum(missed.values()) <= 0.02 * total, missed
    assert sum(false.values()) <= 0.02 * sets, false


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_of_fair_sets_one_in_fifty_at_most_accuses_a_column(problem, timed):
    found = Counter()
    for seed in range(100):
        fair = fair_set(500 + seed, problem=problem, timed=timed, memory=(0.0, 0.9, 0.99)[seed % 3])
        found.update(accused(fair, time="at" if timed else None))

    print(f"{problem}, {'timed' if timed else 'no clock'}: accused falsely {sum(found.values())} in 100 sets")
    assert sum(found.values()) <= 2, found


def test_what_is_known_after_the_finish_is_found_in_every_ranking():
    missed, false = Counter(), Counter()
    for seed in range(SEEDS):
        frame, planted = races(seed, groups=200)
        found = accused(frame, time="day", group="race")
        missed.update(planted - found)
        false.update(found - planted)

    print(f"ranking: missed {sum(missed.values())} of {4 * SEEDS}, accused falsely {sum(false.values())}")
    assert sum(missed.values()) <= 0.02 * 4 * SEEDS, missed
    assert sum(false.values()) == 0, false
