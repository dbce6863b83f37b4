from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.contract.check import ContractResult
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.metrics.base import custom_metric
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.promotion.registry_state import REJECTED_FOR
from evergreen.tasks.core.training.baseline import no_skill_baseline
from evergreen.tasks.core.validation.baseline import check_margin, measure_margin
from evergreen.tasks.core.validation.gate import CheckResult, check, insufficient
from evergreen.tasks.core.validation.report import (
    conclude_validation,
    describe_validation,
    validation_markdown,
    validation_page,
    version_tags,
)
from evergreen.tasks.core.validation.smoke import SmokeProbe, SmokeReport
from evergreen.tasks.core.validation.validate import conclude, validate_version
from evergreen.tasks.core.verdict import Outcome, Reason, State, Verdict
from tests.support.training_data import binary_context, constant_answers, model_config

BROKEN = SmokeReport(uri="models:/case/3", probes=(SmokeProbe(name="load", passed=False, message="gone"),))


def judged(context, gates=None):
    return validate_version(context, gates=gates or {}, rng=np.random.default_rng(0))


def codes(decision):
    return [reason.code for reason in decision.verdict.reasons]


def outcomes(decision):
    return {one.name: one.verdict.outcome for one in decision.checks}


def bad(code):
    return Reason(code=code, message=code)


# the fold


def test_every_failing_check_gives_its_reason():
    decision = conclude([check("a", failed=[bad("x")]), check("b", failed=[bad("y")]), check("c")])
    assert (decision.state, codes(decision)) == (State.REJECTED, ["x", "y"])


def test_a_failure_outweighs_what_cannot_be_judged_yet():
    decision = conclude([insufficient("a", bad("x")), check("b", failed=[bad("y")])])
    assert (decision.state, codes(decision)) == (State.REJECTED, ["y", "x"])


def test_what_cannot_be_judged_never_approves():
    assert conclude([check("a"), insufficient("b", bad("x"))]).state is State.INSUFFICIENT_DATA


def test_no_check_at_all_approves_nothing():
    assert codes(conclude([])) == ["nothing_checked"]


def test_warnings_are_kept_and_decide_nothing():
    decision = conclude([check("a", warnings=[bad("w")])], warnings=[bad("v")])
    assert (decision.state, [r.code for r in decision.warnings]) == (State.APPROVED, ["v", "w"])


# whole judgements


def test_an_honest_model_is_approved():
    decision = judged(binary_context())
    assert decision.state is State.APPROVED, decision.verdict
    assert codes(decision) == ["gates_passed"]


def test_a_model_of_noise_is_rejected_for_the_baseline():
    decision = judged(binary_context(strength=0.0, seed=4))
    assert "below_baseline" in codes(decision) or "constant_score" in codes(decision)


def test_too_few_holdout_rows_are_insufficient_and_nothing_else_is_guessed():
    decision = judged(binary_context(n=40))
    assert (decision.state, codes(decision)) == (State.INSUFFICIENT_DATA, ["too_few_rows"])
    assert "floors" not in outcomes(decision)


def test_answers_that_are_no_numbers_stop_the_judgement_there():
    context = binary_context()
    score = context.scored.score.copy()
    score[3] = np.nan
    decision = judged(replace(context, scored=replace(context.scored, score=score)))
    assert codes(decision) == ["answers_not_finite"]


def test_a_floor_of_the_configuration_is_judged():
    config = model_config(validation={"floors": {"accuracy": 0.99}})
    assert codes(judged(binary_context(config=config))) == ["below_floor"]


def test_an_unknown_floor_names_what_is_known():
    config = model_config(validation={"floors": {"acuracy": 0.5}})
    with pytest.raises(Exception, match="Did you mean 'accuracy'"):
        judged(binary_context(config=config))


def test_a_leak_is_rejected_by_name():
    context = binary_context()
    frame = context.holdout.frame.assign(z=context.scored.y * 2.0)
    decision = judged(replace(context, holdout=replace(context.holdout, frame=frame)))
    assert codes(decision) == ["leak_suspected"]


def test_an_unknown_slice_column_is_a_wrong_configuration():
    config = model_config(validation={"slices": {"columns": ["town"]}})
    with pytest.raises(ConfigError, match="town"):
        judged(binary_context(config=config))


def test_infinite_inputs_of_any_window_reject():
    context = binary_context()
    windows = {"training": pd.DataFrame({"x": [np.inf]}), **context.windows}
    assert codes(judged(replace(context, windows=windows))) == ["infinite_values"]


def test_a_breach_of_the_contract_rejects_by_its_own_code():
    result = ContractResult(
        window="holdout",
        verdict=Verdict(outcome=Outcome.FAIL, reasons=(bad("missing_column"),)),
        warnings=(),
        n=9,
        checked=9,
        findings=(),
    )
    decision = judged(replace(binary_context(), contract=(result,)))
    assert codes(decision) == ["missing_column"]
    assert outcomes(decision)["contract_holdout"] is Outcome.FAIL


def test_operational_checks_are_live_only():
    context = binary_context()
    live = replace(context, smoke=BROKEN)
    operational = [
        {one.name for one in judged(case).checks if one.family == "operational"} for case in (context, live)
    ]
    assert operational == [set(), {"smoke", "latency", "size"}]
    assert judged(live).state is State.REJECTED


def test_too_few_blocks_are_insufficient_with_the_number_needed():
    config = model_config(data={"time": "t", "clock": "seconds"}, evaluation={"block": "10d"})
    decision = judged(binary_context(config=config, timed=True))
    assert (decision.state, codes(decision)) == (State.INSUFFICIENT_DATA, ["too_few_blocks"])
    assert decision.verdict.reasons[0].limit == 7


# the baseline


def test_a_model_below_persistence_is_warned_about_by_name():
    context = binary_context()
    better = replace(
        context.scored, score=np.where(context.scored.y == 1, 0.9, 0.1) + 0.001 * context.scored.score
    )
    decision = judged(replace(context, baselines={**context.baselines, "persistence": better}))
    assert decision.state is State.APPROVED
    assert [reason.code for reason in decision.warnings] == ["below_persistence"]


def test_a_model_below_persistence_is_rejected_where_the_configuration_says_so():
    context = binary_context(config=model_config(validation={"baseline": "persistence"}))
    better = replace(
        context.scored, score=np.where(context.scored.y == 1, 0.9, 0.1) + 0.001 * context.scored.score
    )
    decision = judged(replace(context, baselines={**context.baselines, "persistence": better}))
    assert codes(decision) == ["below_persistence"]


def test_persistence_is_not_measured_where_the_constant_alone_is_asked_for():
    context = binary_context(config=model_config(validation={"baseline": "constant"}))
    decision = judged(replace(context, baselines={**context.baselines, "persistence": context.scored}))
    assert "baseline_persistence" not in outcomes(decision)


def test_the_margin_must_lie_below_the_whole_interval():
    context = binary_context()
    difference = measure_margin(
        context.metric,
        baseline=context.baselines["constant"],
        scored=context.scored,
        kind="constant",
        blocks=None,
        rng=np.random.default_rng(0),
    )
    low = difference.interval[0]
    passes = [
        check_margin(difference, kind="constant", margin=m, min_blocks=7).verdict.passed
        for m in (low - 0.01, low)
    ]
    assert passes == [True, False]


def noise(n=600, *, seed=0, share=0.4):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    score = rng.random(n)
    return Scored(y=y, score=score, label=(score >= 0.3).astype(int), classes=(0, 1), positive_class=1)


@pytest.mark.parametrize(
    "name", ["f1", "precision", "recall", "balanced_accuracy", "matthews_corrcoef", "accuracy"]
)
def test_decisions_by_chance_beat_no_baseline(name):
    metric = get_metric(name, problem="binary")
    passed = 0
    for seed in range(50):
        scored = noise(seed=seed)
        difference = measure_margin(
            metric,
            baseline=constant_answers(scored),
            scored=scored,
            kind="constant",
            blocks=None,
            rng=np.random.default_rng(seed),
        )
        passed += (
            check_margin(difference, kind="constant", margin=0.0, min_blocks=7).verdict.outcome
            is Outcome.PASS
        )
    assert passed <= 5  # P(more than 5 of 50 at 2.5 %) is 0.06 %


def test_a_guess_of_the_median_beats_no_baseline_by_absolute_error():
    metric = get_metric("mae", problem="regression")
    passed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        y = rng.lognormal(sigma=1.5, size=500)
        scored = Scored(y=y, score=1.0 + rng.normal(0, 0.1, 500))
        mean = Scored(y=y, score=np.full(500, y.mean()))
        assert metric(scored) < metric(mean)
        difference = measure_margin(
            metric, baseline=mean, scored=scored, kind="constant", blocks=np.arange(500) // 10, rng=rng
        )
        passed += (
            check_margin(difference, kind="constant", margin=0.0, min_blocks=7).verdict.outcome
            is Outcome.PASS
        )
    assert passed <= 8


def test_a_baseline_worth_nothing_is_compared_as_it_stands():
    worth = custom_metric("worth", lambda scored: float(scored.says_positive.mean()), greater_is_better=True)
    scored = noise()
    never = replace(scored, label=np.zeros(len(scored), dtype=int))
    metric, opponent = no_skill_baseline(worth, baseline=never, answers=never, rng=np.random.default_rng(0))
    assert metric.bounded
    assert metric(opponent) == 0.0


def test_a_ranking_is_compared_with_the_random_order_alone():
    metric = get_metric("ndcg_at_3", problem="ranking")
    scored = Scored(y=np.tile([0.0, 1.0], 50), score=np.arange(100.0), group=np.repeat(np.arange(50), 2))
    order = replace(scored, score=np.random.default_rng(0).random(100))
    assert no_skill_baseline(metric, baseline=order, answers=scored, rng=np.random.default_rng(0))[1] is order


# gates of the team's own


def test_a_gate_of_the_teams_own_sees_everything_and_decides():
    seen = []

    def gate(context):
        seen.append(context.version)
        return Verdict(outcome=Outcome.FAIL, reasons=(bad("too_old"),))

    decision = judged(binary_context(), {"team.gates.fresh": gate})
    assert (seen, codes(decision)) == ([3], ["too_old"])


def test_a_gate_that_answers_with_something_else_is_a_wrong_configuration():
    with pytest.raises(ConfigError, match=r"'team.gates.odd' returned a bool"):
        judged(binary_context(), {"team.gates.odd": lambda context: True})


def test_a_gate_that_breaks_never_approves():
    def gate(context):
        raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError):
        judged(binary_context(), {"team.gates.broken": gate})


# what is told


def test_the_result_names_metrics_checks_and_warnings():
    context = binary_context()
    result = conclude_validation(
        context, judged(context), metrics={"roc_auc": 0.9}, baseline={"roc_auc": 0.5}, run={"run_id": "r"}
    )
    plain = result.to_dict()
    assert (plain["state"], plain["version"], plain["checks"]["leakage"]) == ("Approved", 3, "PASS")
    assert (plain["metrics"], plain["baseline"], plain["run_id"]) == ({"roc_auc": 0.9}, {"roc_auc": 0.5}, "r")


def test_a_rejected_version_bears_every_reason():
    context = binary_context()
    decision = conclude([check("a", failed=[bad("x"), bad("y")])])
    tags = version_tags(conclude_validation(context, decision, metrics={}, baseline={}, run={}))
    assert (tags["validation_status"], tags[REJECTED_FOR]) == ("rejected", "x; y")


def test_an_approved_version_sheds_an_older_rejection():
    context = binary_context()
    decision = conclude([check("a")])
    tags = version_tags(conclude_validation(context, decision, metrics={}, baseline={}, run={}))
    assert (tags["validation_status"], tags[REJECTED_FOR]) == ("approved", "")


def test_the_run_holds_numbers_documents_and_pages():
    context = replace(binary_context(), smoke=BROKEN)
    items = {type(item).__name__: item for item in describe_validation(context, judged(context), None)}
    assert set(items) == {"Metrics", "Tags", "Json", "Text", "Table"}
    assert all(np.isfinite(list(items["Metrics"].values.values())))


def test_page_and_markdown_say_why():
    decision = conclude([check("a|b", failed=[bad("broken <here>")])])
    page, text = (
        validation_page(binary_context(), decision),
        validation_markdown(binary_context(), decision, run_url=None),
    )
    assert "broken &lt;here&gt;" in page
    assert "a\\|b" in text
    assert "Rejected" in text


def test_statistical_checks_do_not_depend_on_the_order_of_the_features():
    context = binary_context()
    turned = replace(context, schema=replace(context.schema, numeric=("z", "x")))
    pair = [judged(one).checks for one in (context, turned)]
    assert pair[0] == pair[1]
    assert all(isinstance(one, CheckResult) for one in pair[0])
