"""How often freshness is said to pay in streams that do not change, and in ones that turn, over seeds."""

import numpy as np
import pytest

from evergreen.tasks.core.init.freshness import measure_freshness
from tests.support.generated_data import FEATURES, STATIONARY, ageing_stream
from tests.support.simulated_models import upper_bound

pytestmark = pytest.mark.proof
SEEDS = 200


def pays(seed, *, problem, **stream):
    frame, positions = ageing_stream(seed, problem=problem, **stream)
    return measure_freshness(frame, positions, problem=problem, target="y", numeric=FEATURES).pays


@pytest.mark.parametrize("problem", ["regression", "binary"])
@pytest.mark.parametrize("kind", STATIONARY)
def test_of_streams_that_do_not_change_two_percent_at_most_are_said_to_age_models(kind, problem):
    false = sum(pays(1_000 + seed, problem=problem, kind=kind) for seed in range(SEEDS))

    bound = upper_bound(false, SEEDS, confidence=0.95)
    print(f"{problem}, {kind}: {false} of {SEEDS} falsely, upper 95 % bound {bound:.3f}")
    assert false <= 0.02 * SEEDS


@pytest.mark.parametrize(("problem", "days"), [("regression", 300), ("binary", 1_500)])
def test_coefficients_that_turn_by_27_degrees_are_found_nine_times_in_ten(problem, days):
    turned = {"days": days, "a_day": 20, "turn": 0.3 * np.pi / 2}
    found = sum(pays(seed, problem=problem, **turned) for seed in range(50))

    print(f"{problem}, {days * 20:,} rows: found in {found} of 50")
    assert found >= 45
