"""A challenge from its contestants to its refit, on a real MLflow store and a SQLite ledger, without a server."""

import numpy as np
import pytest

import evergreen.tasks.challenge
import evergreen.tasks.core.challenge.evidence
import evergreen.tasks.promotion
from evergreen.tasks.challenge import Refit, prepare_refit, promote_winner
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.promotion.registry_state import EVALUATED_AS
from evergreen.tasks.core.verdict import Outcome, State, Verdict
from evergreen.tasks.data import load_parts
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.promotion import promote_task
from evergreen.tasks.training import refit_version
from tests.support.champions import (
    ModelStores,
    alpha_spent,
    compare_versions,
    judge,
    set_aliases,
    train_version,
)
from tests.support.stores import HIDDEN, STRONG, WEAK

EQUAL = 3
"""The strong one once more."""


@pytest.fixture(scope="module")
def trained(two_versions_store, tmp_path_factory):
    """Train the third version once, beside the two that there are; return the path of their store."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        stores = ModelStores(folder, f"sqlite:///{folder}/mlflow.db", patch, start=two_versions_store)
        assert EQUAL == train_version(stores.setup())
    return folder / "mlflow.db"


@pytest.fixture
def stores(trained, tmp_path, monkeypatch):
    """The three versions, in stores of the test's own."""
    return ModelStores(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", monkeypatch, start=trained)


@pytest.fixture
def smoke_passes(monkeypatch):
    """Spare the fresh process; tests of their own start it."""
    passed = Verdict(outcome=Outcome.PASS)
    for module in (evergreen.tasks.challenge, evergreen.tasks.promotion):
        monkeypatch.setattr(module, "serving_smoke", lambda stores: lambda model, version: passed)


def codes(result):
    return [reason.code for reason in result.reasons]


def test_on_an_empty_throne_the_naive_baseline_must_be_beaten(stores):
    setup = stores.setup()
    set_aliases(setup, challenger=STRONG)
    result = judge(setup)
    assert (State.WON, "superior") == (result.state, result.details["verdict"])
    assert ("naive baseline", 0.5) == (result.details["against"], result.details["champion"])
    assert result.details["versions"] == {"challenger": STRONG, "champion": None, "defender": None}


def test_equals_by_design_do_not_reach_an_empty_throne(stores):
    setup = stores.setup(evaluation={"policy": "non_inferiority", "margin": 0.9, "min_improvement": 0.6})
    set_aliases(setup, challenger=STRONG)
    assert State.WON is not judge(setup).state
    set_aliases(setup, challenger=EQUAL, champion=STRONG)
    assert (State.WON, ["non_inferior"]) == (judge(setup).state, codes(judge(setup, dry_run=False))[:1])


def test_a_superior_challenger_is_refitted_on_all_labelled_rows(stores, smoke_passes):
    setup = stores.setup()
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    opponents, parts, _ = compare_versions(setup)
    assert State.WON is judge(setup).state
    refit = prepare_refit.fn(setup, parts, opponents.challenger)
    tags = setup.stores.registry.version(setup.model, refit.version).tags
    assert (EQUAL + 1, str(STRONG), "approved") == (
        refit.version,
        tags[EVALUATED_AS],
        tags["validation_status"],
    )
    assert ["refit_agrees"] == codes(refit)
    newest = load_model(setup, refit.version).plan.unseen_from
    assert newest > parts.evaluation.positions.max()


def test_a_refit_that_answers_differently_is_left_unpromoted(stores, smoke_passes, monkeypatch):
    monkeypatch.setattr(evergreen.tasks.core.challenge.evidence, "measure_agreement", lambda *_: 0.2)
    setup = stores.setup()
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    _, parts, _ = compare_versions(setup)
    refit = prepare_refit.fn(setup, parts, STRONG)
    assert (STRONG, ["refit_disagrees"]) == (refit.version, codes(refit))
    assert "rejected" == setup.stores.registry.version(setup.model, EQUAL + 1).tags["validation_status"]


def test_where_no_refit_is_possible_the_judged_version_goes_on(stores, monkeypatch):
    def refuse(*_, **__):
        raise NotLearnable("classes_changed", "The rows hold other classes.")

    monkeypatch.setattr(evergreen.tasks.challenge, "refit_version", refuse)
    setup = stores.setup()
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    refit = prepare_refit.fn(setup, compare_versions(setup)[1], STRONG)
    assert (STRONG, ["classes_changed"]) == (refit.version, codes(refit))


def test_columns_excluded_since_training_are_still_read_for_those_who_learned_from_them(stores, smoke_passes):
    setup = stores.setup(data={"exclude": {"colour": "no longer wanted"}})
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    _, parts, match = compare_versions(setup)
    assert WEAK == match.defender
    assert EQUAL + 1 == prepare_refit.fn(setup, parts, STRONG).version
    candidate = load_model(setup, STRONG)
    assert {"signal", "noise", "colour"} == set(candidate.columns)
    judged = load_parts(setup, plan=candidate.plan, also=candidate.columns)
    assert len(candidate.score(judged.holdout, config=setup.config)) > 0


def test_an_equal_challenger_is_kept_out(stores):
    setup = stores.setup()
    set_aliases(setup, challenger=EQUAL, champion=STRONG)
    result = judge(setup)
    assert (State.CHAMPION_KEPT, "equivalent", 0.0) == (
        result.state,
        result.details["verdict"],
        result.details["difference"],
    )


def test_each_look_spends_its_part_and_says_what_is_left(stores):
    setup = stores.setup()
    set_aliases(setup, challenger=EQUAL, champion=STRONG)
    left = [judge(setup, until=f"2026-02-0{day}").details["alpha_left"] for day in (6, 7)]
    assert [0.0125, 0.009375] == pytest.approx(alpha_spent(setup))
    assert [0.0375, 0.028125] == pytest.approx(left)


def test_the_same_two_on_the_same_rows_are_not_judged_twice(stores):
    setup = stores.setup()
    set_aliases(setup, challenger=EQUAL, champion=STRONG)
    first, again = judge(setup), judge(setup)
    assert ("equivalent", "already_judged") == tuple(codes(again))
    assert (first.state, first.decision_id) == (again.state, again.decision_id)
    assert first.details == again.details
    assert 1 == len(alpha_spent(setup))


def test_another_rule_is_another_question_and_costs_anew(stores):
    set_aliases(stores.setup(), challenger=EQUAL, champion=STRONG)
    judge(stores.setup())
    asked = judge(stores.setup(evaluation={"min_improvement": 0.001}))
    assert "already_judged" not in codes(asked)
    assert 2 == len(alpha_spent(stores.setup()))


def test_a_dry_run_spends_nothing_and_never_says_promoted(stores):
    setup = stores.setup()
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    result = judge(setup, dry_run=True)
    assert (State.BLOCKED, ["superior", "dry_run"]) == (result.state, codes(result))
    assert [] == alpha_spent(setup)
    assert [] == setup.stores.ledger.read(model=setup.model, stream="decisions")


def test_a_level_lowered_below_what_is_spent_leaves_nothing_to_judge_by(stores):
    set_aliases(stores.setup(), challenger=EQUAL, champion=STRONG)
    judge(stores.setup())
    setup = stores.setup(evaluation={"significance_level": 0.01})
    for dry_run in (True, False):
        with pytest.raises(NotLearnable) as caught:
            judge(setup, until="2026-02-06", dry_run=dry_run)
        assert "alpha_spent" == caught.value.reason_code
    assert 1 == len(alpha_spent(setup))


def test_its_twin_stands_in_for_a_champion_that_learned_from_the_rows(stores):
    setup = stores.setup()
    everything = load_parts(setup, refit=True)
    refit = refit_version(setup, WEAK, everything.training, plan=everything.plan)
    setup.stores.registry.set_tags(setup.model, WEAK, {"evergreen.archived": "true"})
    set_aliases(setup, challenger=STRONG, champion=refit.version)
    result = judge(setup)
    assert {"challenger": STRONG, "champion": refit.version, "defender": WEAK} == result.details["versions"]


def test_rows_that_the_challenger_has_learned_from_decide_nothing(stores):
    setup = stores.setup()
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    with pytest.raises(NotLearnable) as caught:
        compare_versions(setup, until="2026-01-25")
    assert "no_unseen_rows" == caught.value.reason_code
    assert [] == alpha_spent(setup)


def test_a_version_of_another_clock_proves_nothing(stores):
    setup = stores.setup(timed=False, data={"clock": "rows"})
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    with pytest.raises(NotLearnable) as caught:
        compare_versions(setup)
    assert "clock_changed" == caught.value.reason_code


def test_both_sides_are_judged_by_the_positive_class_of_now(stores):
    set_aliases(stores.setup(), challenger=STRONG, champion=WEAK)
    match = compare_versions(stores.setup())[2]
    setup = stores.setup(data={"positive_class": "no"}, evaluation={"metric": "log_loss"})
    turned = compare_versions(setup)[2]
    for side in ("champion", "challenger"):
        before, after = getattr(match, side), getattr(turned, side)
        assert ("yes", "no") == (before.positive, after.positive)
        assert np.allclose(1 - before.score, after.score)
        assert (before.label == after.label).all()
        assert turned.metric(before) == pytest.approx(turned.metric(after))


def test_a_value_column_named_since_is_what_the_old_champion_is_judged_by(stores):
    setup = stores.setup(
        data={"value_column": "noise"},
        evaluation={"metric": "business_value", "business": {"false_positive": -1.0}},
    )
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    match = compare_versions(setup)[2]
    value = match.champion.value
    assert (match.challenger.value == value).all()
    said, truth = match.champion.label == "yes", match.champion.y == "yes"
    # a hit earns the row's value, a false alarm costs it
    assert (value * said * np.where(truth, 1, -1)).mean() == pytest.approx(match.metric(match.champion))


@pytest.mark.parametrize("path", ["shadow", "ab"])
def test_where_live_evidence_comes_next_a_won_challenge_admits_and_spends_nothing(stores, path):
    setup = stores.setup(promotion={"evidence": path})
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    result = judge(setup)
    assert (State.READY_FOR_LIVE_TEST, 0.0125, 0.05) == (
        result.state,
        result.details["alpha"],
        result.details["alpha_left"],
    )
    assert [] == alpha_spent(setup)


def test_who_was_admitted_for_nothing_pays_when_the_challenge_is_to_promote(stores):
    setup = stores.setup(promotion={"evidence": "ab"})
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    judge(setup)
    offline = stores.setup()
    result = judge(offline)
    assert State.WON is result.state
    assert 0.0375 == pytest.approx(result.details["alpha_left"])
    assert [0.0125] == alpha_spent(offline)


def test_an_admitting_challenge_needs_a_budget_that_a_live_test_could_spend(stores):
    setup = stores.setup()
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    judge(setup)
    poor = stores.setup(promotion={"evidence": "ab"}, evaluation={"significance_level": 0.01})
    with pytest.raises(NotLearnable, match=r"budget of 0\.01"):
        judge(poor)


def test_the_first_champion_is_promoted_on_every_path_for_nobody_is_there_to_be_tested_beside(stores):
    setup = stores.setup(promotion={"evidence": "ab"})
    set_aliases(setup, challenger=STRONG)
    assert State.WON is judge(setup).state
    assert [0.0125] == alpha_spent(setup)


def test_a_challenger_keeps_its_rows_when_a_random_split_is_seeded_anew(mlflow_uri, tmp_path, monkeypatch):
    stores = ModelStores(tmp_path, mlflow_uri, monkeypatch)
    setup = stores.setup(timed=False)
    version = train_version(setup)
    own = load_parts(setup).evaluation
    set_aliases(setup, challenger=version)
    _, parts, match = compare_versions(stores.setup(timed=False, split={"seed": 99}))
    assert own.fingerprint == parts.evaluation.fingerprint == match.fingerprint


def test_a_refused_promotion_keeps_the_evidence(stores, monkeypatch):
    monkeypatch.setattr(evergreen.tasks.challenge, "promote_task", promote_task.fn)
    setup = stores.setup()
    set_aliases(setup, challenger=STRONG, champion=WEAK)
    opponents, _, _ = compare_versions(setup)
    judged = judge(setup)
    setup.stores.registry.set_alias(setup.model, "champion", EQUAL)
    refit = Refit(version=STRONG, reason="Version 2 was superior.")
    ended = promote_winner(setup, judged, opponents, refit, judged.reasons[0])
    assert (State.BLOCKED, "champion_moved") == (ended.state, codes(ended)[-1])
    assert ("superior", judged.decision_id) == (ended.details["verdict"], ended.details["evidence"])
    assert EQUAL == setup.stores.registry.aliases(setup.model)["champion"]


def test_a_refit_that_remembers_its_rows_is_not_mistaken_for_another_model(stores, smoke_passes):
    """On rows the refit alone has learned from, a model that overfits answers differently by nature."""
    forest = {
        "name": "forest",
        "estimator": "sklearn.ensemble.RandomForestClassifier",
        "params": {"n_estimators": 20},
    }
    setup = stores.setup(data=HIDDEN, training={"candidates": [forest]})
    version = train_version(setup)
    set_aliases(setup, challenger=version)
    refit = prepare_refit.fn(setup, compare_versions(setup)[1], version)
    assert (version + 1, ["refit_agrees"]) == (refit.version, codes(refit))
