"""SEA: abrupt changes of concept are found soon, and little else is called one."""

import numpy as np
import pandas as pd
import pytest

from tests.support.realdata import real_file
from tests.support.sea import replay, score_alarms, sea_config, sea_rows

pytestmark = pytest.mark.proof
DRAWS = 40


@pytest.mark.realdata
def test_on_the_public_file_all_three_changes_are_alarmed_and_nothing_else():
    alarms = replay(pd.read_csv(real_file("sea_concepts_synthetic.csv")), sea_config())
    assert ([True, True, True], 0) == score_alarms(alarms), alarms


def test_on_fresh_draws_the_changes_are_alarmed_and_little_else(capsys):
    results = [
        score_alarms(replay(sea_rows(np.random.default_rng(seed)), sea_config())) for seed in range(DRAWS)
    ]
    found = np.array([each for each, _ in results])
    others = np.mean([other for _, other in results])
    with capsys.disabled():
        print(
            f"\nSEA, {DRAWS} draws: all {found.all(axis=1).mean():.1%}, each {found.mean(axis=0)}, others {others:.2f}"
        )
    assert 0.70 <= found.all(axis=1).mean()
    assert 0.3 >= others
