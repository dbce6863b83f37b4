"""A live test of a ranking in arms: a group meets one arm, so that equal models stay equal."""

import numpy as np
import pandas as pd
import pytest

from evergreen.deployments.service.scoring import row_keys
from evergreen.tasks.core.ab_testing.analysis import Action, analyse_live_test, conclude
from evergreen.tasks.core.ab_testing.evidence import gather_evidence, observe
from evergreen.tasks.core.ab_testing.metric import live_metric, span_of
from evergreen.tasks.core.ab_testing.rows import ENTITY as WHO
from evergreen.tasks.core.ab_testing.rows import KEY, KNOWN_AT, VARIANT, read_answers
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.serving.batch import Batch
from evergreen.tasks.core.serving.signature import schema_signature
from evergreen.tasks.core.traffic.assign import Assigner
from evergreen.tasks.core.traffic.plan import plan_traffic
from evergreen.tasks.core.traffic.variant import Role, Variant
from tests.support.live_tests import ALPHA, live_test
from tests.support.simulated_models import upper_bound
from tests.support.training_data import model_config

CONFIG = model_config("ranking", data={"group": "race"})
SIGNATURE = schema_signature(Schema(target="y", numeric=("a",), group="race"), CONFIG)
METRIC = live_metric("ndcg_at_3", problem="ranking")
RACES, RUNNERS, LOOKS = 2_500, 8, 5


def requests(races, ids, *, signature=SIGNATURE, entities=None):
    """Return the rows of one request."""
    n = len(races)
    return Batch(
        signature,
        n,
        np.zeros((n, len(signature.numbers))),
        context={"race": list(races)},
        ids=ids,
        entities=entities,
    )


def served(rng, *, share, salt):
    """Return logged rows of one and the same model in both arms; each race is sent in two requests."""
    n = RACES * RUNNERS
    races, ids = np.repeat([f"r{i}" for i in range(RACES)], RUNNERS), [f"{salt}-{i}" for i in range(n)]
    plan = plan_traffic(
        [Variant(name="new", role=Role.CHALLENGER, share=share, members=((2, 1),))], salt=f"ranked/{salt}"
    )
    halves = [np.flatnonzero(np.arange(n) % RUNNERS < 5), np.flatnonzero(np.arange(n) % RUNNERS >= 5)]
    arms = np.empty(n, dtype=object)
    for places in halves:
        mine = [ids[i] for i in places]
        assigner = Assigner(plan)
        keys = row_keys([requests(races[places], mine)], mine)
        chosen = np.array([assigner.route(key).index for key in keys])
        arms[places] = np.where(chosen == 0, "champion", "new")
    y = (rng.random(n) < 0.3).astype(float)
    place = np.arange(n, dtype=float)
    frame = pd.DataFrame(
        {
            KEY: ids,
            VARIANT: arms,
            WHO: None,
            KNOWN_AT: place,
            "@score": y + rng.normal(size=n),
            "y": y,
            "race": races,
        }
    )
    return Rows(frame, place)


def proof(*case):
    return pytest.param(*case, marks=pytest.mark.proof)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "trials"), [(0.5, 60), proof(0.5, 100), proof(0.1, 100)])
def test_equal_rankings_in_arms_are_told_apart_in_at_most_one_of_twenty(share, trials):
    rng = np.random.default_rng(41)
    test = live_test(share=share, metric="ndcg_at_3", min_improvement=0.05)
    verdicts, promoted = [], 0
    for trial in range(trials):
        answered = read_answers(served(rng, share=share, salt=trial), config=CONFIG, classes=())
        observed = observe(answered, METRIC)
        for look in range(1, LOOKS + 1):
            now = look * RACES * RUNNERS / LOOKS
            seen = analyse_live_test(
                test, gather_evidence(observed, test, now=now), now=now, span=span_of(METRIC, None)
            )
            assert 0 == seen.split["crossed"]
            verdicts.append((trial, seen.results[0].verdict))
            promoted += conclude(test, seen, champion=1).action is Action.PROMOTE
    false = len({trial for trial, verdict in verdicts if verdict in ("superior", "inferior")})
    print(f"\n| ndcg_at_3, arms {1 - share:.0%}/{share:.0%} by race | {false / trials:.3f} |", end="")
    assert 0 == promoted
    assert upper_bound(false, trials, confidence=0.95) <= ALPHA
    assert "equivalent" in {verdict for _, verdict in verdicts} or share < 0.5


def test_a_group_is_assigned_as_one_however_it_is_sent():
    ids = ["i1", "i2", "i3", "i4"]
    races = [7, 7.0, "7", None]
    assert ["7", "7", "7", "i4"] == row_keys([requests(races, ids)], ids)
    assert ["7", "7", "7", "who"] == row_keys([requests(races, ids, entities=["a", "b", None, "who"])], ids)
    feature = schema_signature(Schema(target="y", numeric=("race",), group="race"), CONFIG)
    batch = Batch(feature, 2, np.array([[3.0], [np.nan]]))
    assert ["3", "i2"] == row_keys([batch], ids[:2])


def test_rows_of_other_problems_are_assigned_by_their_entity():
    plain = schema_signature(
        Schema(target="y", numeric=("a",), group="race"), model_config("regression", data={"group": "race"})
    )
    ids = ["i1", "i2"]
    assert ["a", "i2"] == row_keys([requests(["r1", "r1"], ids, signature=plain, entities=["a", None])], ids)


def test_rows_without_a_group_are_left_out_and_one_group_has_one_name():
    frame = pd.DataFrame(
        {
            KEY: list("abcd"),
            VARIANT: "champion",
            WHO: None,
            KNOWN_AT: 0.0,
            "@score": [0.1, 0.2, 0.3, 0.4],
            "y": [0.0, 1.0, 0.0, 1.0],
            "race": [7, "7", 7.0, None],
        }
    )
    answered = read_answers(Rows(frame, np.zeros(4)), config=CONFIG, classes=())
    observed = observe(answered, METRIC)
    assert (["7"], [3]) == (observed.keys.tolist(), observed.rows.tolist())
