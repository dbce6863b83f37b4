"""A live test from its creation to the promotion of its winner, on a real MLflow store, ledger and log."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import evergreen.tasks.challenge
import evergreen.tasks.io.live_tests
import evergreen.tasks.promotion
from evergreen.deployments.cli.app import run
from evergreen.tasks.ab_test import (
    GRACE_S,
    close_test,
    create_test,
    evaluate_test,
    judge_test,
    open_test,
    promote_tested_version,
)
from evergreen.tasks.core.ab_testing.evidence import cut_slices
from evergreen.tasks.core.ab_testing.ledger import running_test
from evergreen.tasks.core.challenge.evidence import JUDGEMENT
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.verdict import Outcome, Reason, StageResult, State, Verdict
from evergreen.tasks.io.live_tests import abort_test, evaluate_now, read_tests, show_test
from evergreen.tasks.io.prediction_log.records import KnownOutcome, Prediction, ShadowScore
from evergreen.tasks.io.settings import FROZEN
from evergreen.tasks.io.setup import record_decision
from evergreen.tasks.io.status import model_status
from evergreen.tasks.io.traffic import read_traffic, set_variants, stop_variants
from tests.support.champions import ModelStores, alpha_spent, promote_unannounced, set_aliases
from tests.support.stores import STRONG, WEAK

START = datetime(2026, 6, 1, tzinfo=UTC)
YES = Reason(code="approved", message="Approved.")


@pytest.fixture
def stores(two_versions_store, tmp_path, monkeypatch):
    """The two versions in stores of the test's own, at a moment that stands still; smoke tests pass."""
    passed = Verdict(outcome=Outcome.PASS)
    for module in (evergreen.tasks.challenge, evergreen.tasks.promotion):
        monkeypatch.setattr(module, "serving_smoke", lambda stores: lambda model, version: passed)
    monkeypatch.setattr(evergreen.tasks.challenge, "promote_task", promote_unannounced)
    monkeypatch.setenv(FROZEN, START.isoformat())
    return ModelStores(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", monkeypatch, start=two_versions_store)


def begin(stores, *, path="ab", champion=WEAK, challenger=STRONG, **live):
    chosen = {"metric": "accuracy", "share": 0.5, "min_improvement": 0.1, "max_duration": "5d", **live}
    setup = stores.setup(promotion={"evidence": path}, live=chosen)
    set_aliases(setup, champion=champion, challenger=challenger)
    return setup


def later(monkeypatch, **passed):
    monkeypatch.setenv(FROZEN, (START + timedelta(**passed)).isoformat())


def answer(right, truth):
    decision = truth if right else {"yes": "no", "no": "yes"}[truth]
    return {"score": 0.9 if decision == "yes" else 0.1, "decision": decision}


def serve(setup, monkeypatch, *, champion, challenger, rows=720, shadow=False, hours=24):
    """Log answers of both with these shares right, an outcome each; then let the time pass."""
    rng = np.random.default_rng(5)
    begun = START.timestamp() + GRACE_S + 1
    log, model = setup.stores.log, setup.model
    predictions, outcomes, said = [], [], []
    for i, truth in enumerate(rng.choice(["yes", "no"], rows)):
        name, place = f"row-{i}", begun + i * (hours * 3600 - GRACE_S - 2) / rows
        theirs = not shadow and rng.random() < 0.5
        mine = answer(rng.random() < (challenger if theirs else champion), truth)
        variant, version = (f"v{STRONG}", STRONG) if theirs else ("champion", WEAK)
        predictions.append(
            Prediction(
                prediction_id=name,
                position=place,
                features={"noise": 0.1},
                version=version,
                variant=variant,
                **mine,
            )
        )
        outcomes.append(KnownOutcome(prediction_id=name, outcome=str(truth), known_at=place))
        said.append(
            (
                name,
                ShadowScore(variant=f"v{STRONG}", version=STRONG, **answer(rng.random() < challenger, truth)),
            )
        )
    log.append_predictions(model, predictions, at=START)
    if shadow:
        log.append_shadows(model, said)
    log.append_outcomes(model, outcomes, at=START)
    later(monkeypatch, hours=hours)


def look(setup, **options):
    state = open_test.fn(setup)
    return state, judge_test.fn(setup, state, evaluate_test.fn(setup, state), **options)


def champion_of(setup):
    return setup.stores.registry.aliases(setup.model)["champion"]


def test_a_test_is_written_down_spends_alpha_and_shares_the_traffic(stores):
    setup = begin(stores)
    told = create_test(setup, hypothesis="It knows the signal.")
    assert ("LiveTestRunning", "accuracy", "arms") == (
        told["state"],
        told["test"]["metric"],
        told["test"]["mode"],
    )
    assert {"version": STRONG, "share": 0.5} == told["test"]["arms"]["v2"]
    assert [0.0125] == alpha_spent(setup)
    plan = read_traffic(setup.stores.ledger, setup.model).plan
    assert [(STRONG, 0.5)] == [(one.version, one.share) for one in plan.challengers]
    with pytest.raises(InputError, match="is running"):
        create_test(setup, name="another")
    assert [0.0125] == alpha_spent(setup)


def test_a_dry_run_says_what_would_be_tested_and_writes_nothing(stores):
    setup = begin(stores)
    told = create_test(setup, dry_run=True, alpha=0.02, live={"share": 0.2})
    assert ("Planned", 0.02, 0.2) == (
        told["state"],
        told["test"]["alpha"],
        told["test"]["arms"]["v2"]["share"],
    )
    assert ([], ()) == (alpha_spent(setup), read_tests(setup))
    assert read_traffic(setup.stores.ledger, setup.model).plan.is_plain


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"challenger": WEAK}, "is the champion"),
        ({"challenger": 9}, "9"),
        ({"live": {"metric": "roc_auc"}}, "no mean over rows"),
        ({"live": {"max_duration": "500 rows"}}, "no length"),
        ({"live": {"shar": 0.1}}, "shar"),
        ({"alpha": 0.2}, "0.05 is left"),
    ],
)
def test_what_cannot_be_tested_is_refused_and_costs_nothing(stores, options, said):
    setup = begin(stores)
    with pytest.raises(InputError, match=said):
        create_test(setup, **options)
    assert ([], ()) == (alpha_spent(setup), read_tests(setup))


def test_a_superior_arm_is_promoted_and_has_all_the_traffic(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    status = show_test(setup)
    assert ("LiveTestRunning", "promote", "superior") == (
        status["state"],
        status["action"],
        status["look"]["challengers"][0]["verdict"],
    )
    state, judged = look(setup)
    assert (State.WON, STRONG) == (judged.state, judged.version)
    promoted = promote_tested_version(setup, state, judged, YES)
    close_test.fn(setup, state, promoted)
    assert (State.PROMOTED, STRONG) == (promoted.state, champion_of(setup))
    assert running_test(read_tests(setup)) is None
    told = show_test(setup)
    assert ("Promoted", "promote", 1) == (told["state"], told["ended"]["action"], len(told["trace"]))
    assert read_traffic(setup.stores.ledger, setup.model).plan.is_plain


def test_a_promotion_whose_end_was_not_written_is_finished_by_the_next_look(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    state, judged = look(setup)
    promote_tested_version(setup, state, judged, YES)  # and the process dies
    state, again = look(setup)
    assert (State.PROMOTED, ["already_champion"]) == (again.state, [r.code for r in again.reasons])
    close_test.fn(setup, state, again)
    assert "promote" == read_tests(setup)[-1].status


def test_a_worse_arm_leaves_the_champion_and_gives_its_traffic_back(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    serve(setup, monkeypatch, champion=0.9, challenger=0.6)
    state, judged = look(setup)
    close_test.fn(setup, state, judged)
    assert (State.CHAMPION_KEPT, WEAK) == (judged.state, champion_of(setup))
    assert not read_traffic(setup.stores.ledger, setup.model).plan.challengers


def test_an_undecided_test_goes_on_and_each_look_is_kept(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    serve(setup, monkeypatch, champion=0.7, challenger=0.74, rows=600)
    for _ in range(2):
        _, judged = look(setup)
        assert State.LIVE_TEST_RUNNING is judged.state
    assert 2 == len(read_tests(setup)[0].analyses)
    assert judged.decision_id is None
    _, ended = look(setup, end=True)
    assert (State.CHAMPION_KEPT, "ended_by_hand") == (ended.state, ended.reasons[0].code)
    later(monkeypatch, days=6)
    _, expired = look(setup)
    assert (State.CHAMPION_KEPT, "expired") == (expired.state, expired.reasons[0].code)


def test_a_shadow_is_judged_by_pairs(stores, monkeypatch):
    setup = begin(stores, path="shadow")
    create_test(setup)
    assert [STRONG] == [one.version for one in read_traffic(setup.stores.ledger, setup.model).plan.shadows]
    serve(setup, monkeypatch, champion=0.6, challenger=0.9, shadow=True)
    state, judged = look(setup)
    (one,) = judged.details["look"]["challengers"]
    assert (State.WON, "confidence_sequence", 23) == (
        judged.state,
        one["test"],
        one["n_control"],
    )  # hours that are over
    promoted = promote_tested_version(setup, state, judged, YES)
    assert State.PROMOTED is promoted.state
    close_test.fn(setup, state, promoted)
    assert read_traffic(setup.stores.ledger, setup.model).plan.is_plain


def test_a_shadow_ends_with_its_test_and_the_others_go_on(stores):
    setup = begin(stores, path="shadow")
    set_variants(setup, challengers=[], shadows=["watcher=2@20%"])
    create_test(setup)
    assert ["watcher", "v2"] == [
        one.name for one in read_traffic(setup.stores.ledger, setup.model).plan.shadows
    ]
    abort_test(setup, why="The label feed is broken.")
    after = read_traffic(setup.stores.ledger, setup.model)
    assert [("watcher", 0.2)] == [(one.name, one.share) for one in after.plan.shadows]
    assert ("done", "test_over", ()) == (after.kind, after.reasons[0].code, after.judged)


def test_a_shadow_that_somebody_set_anew_is_not_the_test_s_to_end(stores):
    setup = begin(stores, path="shadow")
    create_test(setup)
    set_variants(setup, challengers=[], shadows=["v2=2@20%"])
    abort_test(setup, why="The label feed is broken.")
    assert [0.2] == [one.share for one in read_traffic(setup.stores.ledger, setup.model).plan.shadows]


def test_traffic_that_was_sent_back_by_a_guardrail_aborts_the_test(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    stop_variants(setup, why="p99 of the challenger is 2 s")
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    state, judged = look(setup)
    assert (State.ABORTED, WEAK) == (judged.state, champion_of(setup))
    assert "2 s" in judged.reasons[0].message
    close_test.fn(setup, state, judged)
    assert "abort" == read_tests(setup)[0].status


def test_traffic_that_somebody_set_anew_aborts_the_test_and_stays(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    set_variants(setup, challengers=["other=2@5%"], shadows=[])
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    state, judged = look(setup)
    close_test.fn(setup, state, judged)
    assert (State.ABORTED, ["traffic_changed"]) == (judged.state, [reason.code for reason in judged.reasons])
    assert ["other"] == [one.name for one in read_traffic(setup.stores.ledger, setup.model).plan.challengers]


def test_other_challengers_are_not_pushed_aside_and_other_shadows_go_on(stores):
    setup = begin(stores)
    set_variants(setup, challengers=["other=2@5%"], shadows=[])
    with pytest.raises(InputError, match="answers a part of the traffic already"):
        create_test(setup)
    set_variants(setup, challengers=[], shadows=["watcher=2@20%"])
    create_test(setup)
    plan = read_traffic(setup.stores.ledger, setup.model).plan
    assert ([("v2", 0.5)], [("watcher", 0.2)]) == (
        [(one.name, one.share) for one in plan.challengers],
        [(one.name, one.share) for one in plan.shadows],
    )


def test_shares_that_traffic_cannot_have_cost_nothing(stores):
    setup = begin(stores, share=0.123456)
    with pytest.raises(InputError, match=r"0\.01 %"):
        create_test(setup)
    assert ([], ()) == (alpha_spent(setup), read_tests(setup))


def test_a_winner_that_nobody_approves_leaves_the_champion_and_one_that_falls_aborts(stores, monkeypatch):
    setup = begin(stores)
    create_test(setup)
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    state, judged = look(setup)
    no = Reason(code="not_approved", message="Not approved.")
    close_test.fn(setup, state, judged.ends(State.CHAMPION_KEPT, no))
    ended = read_tests(setup)[0].ended
    assert ("keep", None, "not_approved") == (ended["action"], ended["winner"], ended["reasons"][-1]["code"])
    create_test(setup, name="again")
    state = running_test(read_tests(setup))
    close_test.fn(setup, state, judged.ends(State.CHAMPION_RESTORED))
    assert "abort" == read_tests(setup)[-1].status


def test_a_person_may_abort_with_a_reason(stores):
    setup = begin(stores)
    create_test(setup)
    with pytest.raises(InputError, match="needs a reason"):
        abort_test(setup, why=" ")
    assert "Aborted" == abort_test(setup, why="The label feed is broken.")["state"]
    with pytest.raises(InputError, match="is over"):
        abort_test(setup, why="again")
    assert not read_traffic(setup.stores.ledger, setup.model).plan.challengers


def test_an_admitted_challenger_gets_its_test_once(stores):
    setup = begin(stores)
    with pytest.raises(NotLearnable, match="No live test"):
        open_test.fn(setup)
    record_decision(
        setup, JUDGEMENT, StageResult(state=State.READY_FOR_LIVE_TEST, model=setup.model, version=STRONG)
    )
    state = open_test.fn(setup)
    assert (STRONG, WEAK) == (state.test.challengers[0].version, state.test.control.version)
    abort_test(setup, why="stop")
    with pytest.raises(NotLearnable, match="No live test"):
        open_test.fn(setup)


def test_losses_are_clipped_and_read_relative_to_what_the_champion_was_worth_before(stores, monkeypatch):
    setup = begin(stores, metric="log_loss", min_improvement=0.2)
    told = create_test(setup)["test"]
    assert told["baseline"] < 0  # the negative of a loss
    assert abs(told["baseline"]) * 0.2 == pytest.approx(told["effect"])
    assert told["clip"][0] < told["clip"][1] <= 0
    serve(setup, monkeypatch, champion=0.6, challenger=0.9)
    assert "superior" == show_test(setup)["look"]["challengers"][0]["verdict"]


def test_the_status_of_a_model_tells_of_the_test_that_runs(stores, monkeypatch, capsys):
    setup = begin(stores)
    assert model_status(setup)["live_test"] is None
    create_test(setup)
    assert 0 == run(["status", str(setup.path)])
    assert "v2 (version 2) not analysed yet, 0 analyses" in capsys.readouterr().out
    serve(setup, monkeypatch, champion=0.7, challenger=0.74, rows=600)
    for _ in range(2):
        look(setup)
    told = model_status(setup)["live_test"]
    assert ("test-1-v2", "accuracy", "arms", 2) == tuple(
        told[key] for key in ("test", "metric", "mode", "looks")
    )
    (one,) = told["challengers"]
    assert ("v2", STRONG, "undecided") == (one["variant"], one["version"], one["verdict"])
    assert one["low"] < one["improvement"] < one["high"]
    assert 0 == run(["status", str(setup.path)])
    said = capsys.readouterr().out
    assert "live test test-1-v2 (accuracy, arms)" in said
    assert "v2 (version 2) undecided, 2 analyses" in said
    abort_test(setup, why="enough")
    assert model_status(setup)["live_test"] is None


@pytest.mark.parametrize("path", ["ab", "shadow"])
def test_a_look_in_slices_of_the_log_sees_what_one_at_all_rows_sees(stores, monkeypatch, path):
    setup = begin(stores, path=path, guardrails={"log_loss": 0.5})
    create_test(setup)
    serve(setup, monkeypatch, champion=0.7, challenger=0.74, shadow=path == "shadow")
    test = read_tests(setup)[0].test
    whole = evaluate_now(setup, test)
    reads = []

    def cut(positions, span):
        reads.extend(cut_slices(positions, span, most=90))
        return reads

    monkeypatch.setattr(evergreen.tasks.io.live_tests, "cut_slices", cut)
    sliced = evaluate_now(setup, test)
    assert 8 == len(reads)
    assert flat(whole.analysis.to_dict()) == pytest.approx(
        flat(sliced.analysis.to_dict()), rel=1e-9, nan_ok=True
    )
    assert whole.maturity.to_dict() == sliced.maturity.to_dict()


def flat(plain, name=""):
    """Return the numbers of nested documents by their path."""
    if isinstance(plain, dict):
        return {
            key: one for inner, value in plain.items() for key, one in flat(value, f"{name}.{inner}").items()
        }
    if isinstance(plain, list | tuple):
        return flat(dict(enumerate(plain)), name)
    return {name: plain} if isinstance(plain, int | float) else {}
