import math
from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.traffic.counts import (
    WARM_UP,
    ArmFigures,
    RoundCounts,
    ScoreReference,
    measure_reference,
)
from evergreen.tasks.core.traffic.plan import plan_traffic
from evergreen.tasks.core.traffic.variant import Role, Variant, agreed_classes, blend_decisions, blend_scores

PLAN = plan_traffic(
    [
        Variant(name="v8", role=Role.CHALLENGER, share=0.1, members=((8, 1),)),
        Variant(name="watcher", role=Role.SHADOW, share=1.0, members=((9, 1),)),
    ],
    salt="s",
)
REFERENCE = ScoreReference((0.25, 0.75), (0.125, 0.5, 0.875))


def counted(reference=REFERENCE, **options):
    return RoundCounts(PLAN, latency_ratio=1.5, reference=reference, **options)


def test_each_row_counts_and_each_entity_once():
    counts = counted()
    for hashed, score in ((1, 0.9), (1, 0.1), (2, 0.1), (2, 0.9)):
        counts.add(0, hashed, score)
    champion = counts.figures()[0]
    assert ArmFigures(name="champion", rows=4, answered=2, ranks=((0.125, 1), (0.875, 1))) == champion


def test_an_arm_is_slower_beyond_the_allowed_ratio_times_the_champions_time_for_the_same_rows():
    counts = counted()
    for seconds in (0.09, 0.15, 0.16, 9.0):
        counts.add_probe(1, seconds=seconds, usual=0.1)
    arm = counts.figures()[1]
    assert (4, 2, 0.5, 0) == (arm.probes, arm.slower, arm.slower_share, arm.rows)


def test_where_the_champion_answers_nobody_entities_are_counted_and_no_reference_is_carried_on():
    alone = RoundCounts(PLAN.with_share("v8", 1.0), latency_ratio=1.5)
    for n in range(300):
        alone.add(1, n, 0.5)
    assert (300, 300) == (alone.figures()[1].rows, alone.figures()[1].answered)
    assert alone.next_round(PLAN).reference is None


def test_errors_count_by_row_and_by_entity():
    counts = counted()
    for hashed in (1, 1, 1, 2):
        counts.add_error(1, hashed)
    arm = counts.figures()[1]
    assert (4, 4, 2, 0, 1.0) == (arm.rows, arm.errors, arm.erred, arm.answered, arm.error_rate)


def test_shadows_are_counted_apart_from_those_who_answer():
    counts = counted()
    counts.add(0, 1, 0.5)
    counts.add(2, 1, 0.5)
    assert (1, 0, 1) == tuple(one.answered for one in counts.figures())


def test_the_first_answers_of_the_champion_make_the_reference_and_are_not_judged_by_it():
    counts = counted(reference=None)
    for n in range(WARM_UP):
        counts.add(1, 10_000 + n, 0.5)
        counts.add(0, n, n / WARM_UP)
    assert (0, 0) == tuple(one.answered for one in counts.figures()[:2])
    assert 0.5 == pytest.approx(counts.reference.ranks[bisect_left(counts.reference.edges, 0.5)], abs=0.05)
    counts.add(1, 1, 0.5)
    assert (WARM_UP + 1, 1) == tuple(getattr(counts.figures()[1], name) for name in ("rows", "answered"))


def test_the_next_round_is_laid_on_the_champions_newest_answers():
    counts = counted()
    assert REFERENCE == counts.next_round(PLAN).reference
    for n in range(1000):
        counts.add(0, n, 0.5 + n)
    after = counts.next_round(PLAN)
    assert measure_reference(0.5 + np.arange(500, 1000)) == after.reference
    assert (0, 0, 0) == after.rows


def test_a_full_round_tells_no_more_entities_apart_in_any_arm():
    counts = counted(most_entities=3)
    for n in range(10):
        counts.add(n % 2, n, 0.5)
        counts.add_error(n % 2, n)
    assert [(10, 2, 2), (10, 1, 1)] == [(one.rows, one.answered, one.erred) for one in counts.figures()[:2]]


@given(st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.floats(0, 1)), max_size=60))
def test_figures_survive_json(rows):
    counts = counted()
    for hashed, (index, good, score) in enumerate(rows):
        counts.add(index, hashed, score) if good else counts.add_error(index, hashed)
    assert counts.figures() == tuple(ArmFigures.from_payload(one.to_payload()) for one in counts.figures())


@given(st.lists(st.sampled_from([0.0, 0.1, 0.1, 0.5, 1.0, -3.5, 1e9]), min_size=1, max_size=80))
def test_ranks_of_the_champions_own_scores_average_one_half(scores):
    reference = measure_reference(scores)
    assert 0.5 == pytest.approx(
        np.mean([reference.ranks[bisect_left(reference.edges, score)] for score in scores])
    )
    assert 0.0 == reference.ranks[bisect_left(reference.edges, -1e300)]
    assert 1.0 == reference.ranks[bisect_left(reference.edges, 1e300)]
    assert reference == ScoreReference.from_dict(reference.to_dict())


def test_without_anything_known_all_scores_are_alike():
    reference = measure_reference([])
    assert ((0.5,), 0) == (reference.ranks, bisect_left(reference.edges, 7.0))


def test_figures_of_an_entry_that_knew_no_duels_are_read():
    plain = {"name": "champion", "rows": 9, "errors": 1, "erred": 1, "timed": 8, "slow": 2, "ranks": []}
    assert ArmFigures(name="champion", rows=9, errors=1, erred=1, answered=8) == ArmFigures.from_payload(
        plain
    )


def test_figures_without_rows_have_no_rates():
    empty = ArmFigures(name="v8")
    assert all(math.isnan(rate) for rate in (empty.error_rate, empty.slower_share, empty.mean_rank))
    assert empty.to_dict()["mean_rank"] is None


def test_an_ensemble_is_the_weighted_mean_and_decides_by_the_champions_threshold():
    mean = blend_scores([np.array([0.2, 0.9]), np.array([0.6, 0.1])], [0.5, 0.5])  # 0.4 and 0.5
    assert [0.4, 0.5] == mean.tolist()
    assert ["no", "yes"] == blend_decisions(mean, classes=("no", "yes"), threshold=0.45)
    wide = blend_scores([np.array([[0.6, 0.4]]), np.array([[0.1, 0.9]])], [0.5, 0.5])  # 0.35 and 0.65
    assert ["b"] == blend_decisions(wide, classes=("a", "b"), threshold=0.5)
    assert [0.4, 0.5] == blend_decisions(mean, classes=(), threshold=0.5)


def test_members_must_agree_in_classes_and_shapes():
    assert ("a", "b") == agreed_classes({7: ("a", "b"), 8: ("a", "b")}, name="blend")
    with pytest.raises(InputError, match="Members of 'blend' answer with different classes"):
        agreed_classes({7: ("a", "b"), 8: ("b", "a")}, name="blend")
    with pytest.raises(InputError, match="2 members with 2 weights answer in the shapes"):
        blend_scores([np.zeros(2), np.zeros(3)], [0.5, 0.5])
