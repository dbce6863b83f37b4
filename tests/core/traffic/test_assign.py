import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from evergreen.tasks.core.config.serving import CELLS
from evergreen.tasks.core.stats.two_sample import chi_square
from evergreen.tasks.core.traffic.assign import Assigner, entity_key
from evergreen.tasks.core.traffic.plan import TrafficPlan, plain_plan, plan_traffic
from evergreen.tasks.core.traffic.variant import Role, Variant

KEYS = [f"customer-{n}" for n in range(200_000)]


def arms(*shares, salt="fraud/traffic/1", shadows=()):
    variants = [
        Variant(name=f"arm{n}", role=Role.CHALLENGER, share=share, members=((n + 2, 1),))
        for n, share in enumerate(shares)
    ]
    variants += [
        Variant(name=f"shadow{n}", role=Role.SHADOW, share=share, members=((n + 50, 1),))
        for n, share in enumerate(shadows)
    ]
    return plan_traffic(variants, salt=salt)


def indices(assigner, keys):
    """Return the place of the answering variant for each key."""
    return np.array([assigner.route(key).index for key in keys])


def test_the_hash_is_the_same_in_every_process_and_on_every_day():
    # printf 'fraud/traffic/1\\0customer-7' | b2sum -l 64
    digest = "e69c39266df86f2b"
    assert int.from_bytes(bytes.fromhex(digest), "little") == Assigner(
        plain_plan(salt="fraud/traffic/1")
    ).hash("customer-7")


def test_shares_are_what_was_wanted():
    counts = np.bincount(indices(Assigner(arms(0.01, 0.3)), KEYS), minlength=3)
    assert chisquare(counts, np.array([0.69, 0.01, 0.3]) * len(KEYS)).pvalue > 0.001


def test_cells_are_filled_evenly_by_keys_that_look_alike():
    assigner = Assigner(plain_plan(salt="s"))
    hashes = np.array([assigner.hash(key) for key in KEYS], dtype=np.uint64)
    for half in (hashes & np.uint64(0xFFFFFFFF), hashes >> np.uint64(32)):
        counts = np.bincount((half % np.uint64(CELLS)).astype(int), minlength=CELLS)
        assert chisquare(counts).pvalue > 0.001


def test_plans_with_other_salts_assign_independently():
    first, second = (indices(Assigner(arms(0.3, 0.2, salt=salt)), KEYS) for salt in ("a/1", "a/2"))
    table = np.array([[np.sum((first == i) & (second == j)) for j in range(3)] for i in range(3)])
    for row in table[1:]:
        assert chi_square(table[0], row).p_value > 0.001


def test_who_is_shadowed_has_nothing_to_do_with_who_answers():
    assigner = Assigner(arms(0.5, shadows=(0.5,)))
    routes = [assigner.route(key) for key in KEYS[:50_000]]
    table = np.zeros((2, 2))
    for route in routes:
        table[route.index, len(route.shadows)] += 1
    assert chi_square(table[0], table[1]).p_value > 0.001
    assert table[:, 1].sum() / len(routes) == pytest.approx(0.5, abs=0.01)


def test_smaller_shadows_score_a_part_of_the_larger_ones_rows():
    assigner = Assigner(arms(shadows=(0.5, 0.1, 0.0)))
    seen = {tuple(one.name for one in assigner.route(key).shadows) for key in KEYS[:5_000]}
    assert {(), ("shadow0",), ("shadow0", "shadow1")} == seen
    full = Assigner(arms(shadows=(1.0,)))
    assert all(full.route(key).shadows for key in KEYS[:5_000])


def test_a_growing_share_moves_nobody_who_is_in_the_arm():
    keys = KEYS[:20_000]
    plan = arms(0.01, 0.1)
    before = indices(Assigner(plan), keys)
    for share in (0.05, 0.25, 0.5, 0.9):
        plan = plan.with_share("arm0", share)
        after = indices(Assigner(plan), keys)
        assert np.all(after[before == 1] == 1)
        assert np.all(after[before == 2] == 2)
        before = after


@given(st.text(max_size=12))
def test_any_text_is_routed_by_its_hash(key):
    assigner = Assigner(arms(0.3, 0.3, shadows=(0.5,)))
    assert assigner.route(key) is assigner.route_of(assigner.hash(key))


def test_text_that_is_no_unicode_is_assigned_all_the_same():
    lone = json.loads('"\\ud800"')
    assigner = Assigner(arms(0.5))
    assert assigner.route(lone) == assigner.route_of(assigner.hash(lone))


def test_a_plan_read_back_finds_the_same_variants():
    plan = arms(0.5)
    named = [Assigner(plan).route(key).variant.name for key in KEYS[:100]]
    again = TrafficPlan.from_dict(plan.to_dict())
    assert named == [Assigner(again).route(key).variant.name for key in KEYS[:100]]
    assert {"champion", "arm0"} == set(named)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (np.int64(7), "7"),
        (np.float64(7.0), "7"),
        (np.float32(0.5), "0.5"),
        (float("inf"), None),
        (True, "true"),
        (np.bool_(False), "false"),
        (1e20, "100000000000000000000"),
        ("7", "7"),
        (None, None),
    ],
)
def test_an_entity_has_one_key_however_it_arrives(value, key):
    assert key == entity_key(value)
