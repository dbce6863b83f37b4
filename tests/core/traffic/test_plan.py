import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.config.serving import CELLS
from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.core.traffic.plan import TrafficPlan, plain_plan, plan_traffic
from evergreen.tasks.core.traffic.variant import Role, Variant

SALT = "fraud/traffic/1"


def challenger(name="v8", share=0.1, members=((8, 1.0),)):
    return Variant(name=name, role=Role.CHALLENGER, share=share, members=members)


def shadow(name="watcher", share=1.0, members=((9, 1.0),)):
    return Variant(name=name, role=Role.SHADOW, share=share, members=members)


def cells_of(plan):
    """Return for each cell of the traffic the name of who answers it."""
    names = [None] * CELLS
    for variant, ranges in zip(plan.variants, plan.cells, strict=True):
        if variant.role is not Role.SHADOW:
            for begin, end in ranges:
                names[begin:end] = [variant.name] * (end - begin)
    return names


def test_the_champion_answers_what_no_challenger_does():
    plan = plan_traffic([challenger(share=0.1), challenger("v9", 0.25, ((9, 1),)), shadow()], salt=SALT)
    assert [("champion", 0.65), ("v8", 0.1), ("v9", 0.25), ("watcher", 1.0)] == [
        (one.name, one.share) for one in plan.variants
    ]
    assert [6500, 1000, 2500] == [cells_of(plan).count(name) for name in ("champion", "v8", "v9")]
    assert frozenset({8, 9}) == plan.versions


def test_the_plain_plan_leaves_all_to_the_champion():
    plan = plain_plan(salt=SALT)
    assert (True, 1.0, "@champion") == (plan.is_plain, plan.champion.share, plan.champion.label)


def test_a_challenger_may_have_all():
    plan = plan_traffic([challenger(share=1)], salt=SALT)
    assert (0.0, ()) == (plan.champion.share, plan.cells[0])


def test_weights_of_an_ensemble_are_normed_and_told():
    blend = challenger(members=((7, 3), (8, 1)))
    assert ((7, 0.75), (8, 0.25)) == blend.members
    assert ("0.75 x 7 + 0.25 x 8", None, True) == (blend.label, blend.version, len(blend.members) > 1)


def test_payloads_are_json_and_come_back_equal():
    thirds = challenger("thirds", 0.3333, ((7, 1), (8, 1), (9, 1)))
    plan = plan_traffic([thirds, shadow()], salt=SALT).with_share("thirds", 0.5)
    assert plan == TrafficPlan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3300)), max_size=12))
def test_a_changed_share_moves_nobody_between_arms_that_stay(steps):
    """Whoever changes hands comes from an arm that shrinks (or the champion), or goes to one that grows (or it)."""
    plan = plan_traffic([challenger(f"arm{n}", 0.05, ((n + 1, 1),)) for n in range(3)], salt=SALT)
    for arm, cells in steps:
        name = f"arm{arm}"
        grows = cells >= plan.variant(name).cells
        changed = plan.with_share(name, cells / CELLS)
        moves = {pair for pair in zip(cells_of(plan), cells_of(changed), strict=True) if pair[0] != pair[1]}
        assert moves <= ({("champion", name)} if grows else {(name, "champion")})
        plan = changed


def test_shares_of_a_plan_set_anew_under_the_same_salt_keep_their_people():
    before = plan_traffic([challenger(share=0.2)], salt=SALT)
    after = plan_traffic([challenger("v9", 0.3, ((9, 1),)), challenger(share=0.2)], salt=SALT, before=before)
    assert before.cells[1] == after.cells[2]
    assert plan_traffic([challenger(share=0.2)], salt="other", before=after).cells[1] == ((0, 2000),)


def test_a_variant_that_is_taken_out_gives_its_share_back():
    plan = plan_traffic([challenger(), shadow()], salt=SALT)
    assert ("champion", "watcher") == tuple(one.name for one in plan.without("v8").variants)
    assert plan.without("v8", "watcher") == plain_plan(salt=SALT)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: challenger(share=1.2), "Share 1.2"),
        (lambda: challenger(share=-0.1), "Share -0.1"),
        (lambda: challenger(share=math.nan), "Share nan"),
        (lambda: challenger(share=True), "Share True"),
        (lambda: challenger(share="half"), "Share 'half'"),
        (lambda: challenger(share=0.00005), "whole 0.0001"),
        (lambda: challenger(members=()), "has 0 versions"),
        (lambda: challenger(members=tuple((n, 1) for n in range(1, 18))), "has 17 versions"),
        (lambda: challenger(members=((8, 1), (8, 2))), "names a version twice"),
        (lambda: challenger(members=((0, 1),)), "Version 0"),
        (lambda: challenger(members=(("8", 1),)), "Version '8'"),
        (lambda: challenger(members=((8, 0),)), "Weight 0"),
        (lambda: challenger(members=((8, math.inf),)), "Weight inf"),
        (lambda: challenger("no spaces"), "Variant name 'no spaces'"),
        (lambda: challenger("champion"), "Only the champion is named 'champion'"),
        (lambda: Variant(name="champion", role=Role.CHAMPION, share=1, members=((1, 1),)), "leave them out"),
        (lambda: Variant(name="first", role=Role.CHAMPION, share=1), "Only the champion is named 'champion'"),
        (lambda: plan_traffic([challenger(share=0.6), challenger("b", 0.5)], salt=SALT), "add up to 110.00%"),
        (lambda: plan_traffic([challenger(), challenger()], salt=SALT), "occur twice"),
        (lambda: plan_traffic([shadow(f"s{n}") for n in range(16)], salt=SALT), "17 variants are too many"),
        (lambda: plan_traffic([], salt=""), "Salt ''"),
        (lambda: TrafficPlan.from_dict({"salt": "s"}), "cannot be read"),
        (lambda: TrafficPlan.from_dict({"salt": "s", "variants": [{"cells": []}]}), "cannot be read"),
        (lambda: TrafficPlan.from_dict(_tampered("role", "king")), "Unknown role 'king'"),
        (lambda: TrafficPlan.from_dict(_tampered("cells", [[0, 10]])), "are not its share"),
        (lambda: TrafficPlan.from_dict(_tampered("cells", [[5000, 6000]])), "overlap or leave gaps"),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_name(build, said):
    with pytest.raises(InputError, match=said):
        build()


def _tampered(key, value):
    plain = plan_traffic([challenger(share=0.1)], salt=SALT).to_dict()
    plain["variants"][1][key] = value
    return plain


def test_unknown_variants_are_named_with_those_there_are():
    with pytest.raises(UnknownName, match=r"Unknown variant 'v9' in the traffic plan\. Known: champion, v8"):
        plan_traffic([challenger()], salt=SALT).variant("v9")
