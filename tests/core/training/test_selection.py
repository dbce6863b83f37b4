import json
import math

import numpy as np
import pytest

from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.stats.paired import corrected_resampled_t
from evergreen.tasks.core.training.selection import compare_candidates, parse_criteria, summarise_folds
from evergreen.tasks.core.verdict import Outcome

AUC = get_metric("roc_auc", problem="binary")
RMSE = get_metric("rmse", problem="regression")
SCORES = {
    "line": {"roc_auc": [0.70, 0.72, 0.71, 0.69, 0.70]},
    "trees": {"roc_auc": [0.80, 0.82, 0.81, 0.80, 0.79]},
    "forest": {"roc_auc": [0.80, 0.81, 0.82, 0.80, 0.78]},
}


def compare(scores, metric=AUC, **options):
    return compare_candidates(scores, metric=metric, train_size=800, test_size=200, **options)


def by_name(comparison):
    return {row.name: row for row in comparison.candidates}


def test_the_best_mean_wins_and_the_table_is_sorted():
    result = compare(SCORES)
    assert result.winner == "trees"
    assert ["trees", "forest", "line"] == [row.name for row in result.candidates]
    assert result.verdict.outcome is Outcome.PASS


def test_who_cannot_be_told_from_the_winner_is_named():
    rows = by_name(compare(SCORES))
    assert (True, False, False) == (rows["forest"].tied, rows["line"].tied, rows["trees"].tied)
    assert "Not distinguishable from it: forest" in compare(SCORES).verdict.reasons[0].message


def test_p_values_are_corrected_resampled_and_holm_adjusted():
    rows = by_name(compare(SCORES))
    best = np.array(SCORES["trees"]["roc_auc"])
    raw = corrected_resampled_t(best - SCORES["line"]["roc_auc"], train_size=800, test_size=200).p_value
    assert rows["line"].p_value == pytest.approx(2 * raw)  # the smaller of two
    assert rows["line"].behind == pytest.approx(0.1)


def test_the_lowest_error_wins():
    result = compare({"a": {"rmse": [3.0, 3.1]}, "b": {"rmse": [2.0, 2.1]}}, metric=RMSE)
    assert result.winner == "b"
    assert by_name(result)["a"].behind == pytest.approx(1.0)


def test_criteria_rule_out_even_the_best():
    scores = {name: {**s, "recall": [0.9 if name == "line" else 0.5] * 5} for name, s in SCORES.items()}
    result = compare(scores, criteria=parse_criteria("recall > 0.8"))
    assert result.winner == "line"
    assert by_name(result)["trees"].reasons[0].code == "criterion_not_met"
    assert result.candidates[0].name == "line"


def test_nobody_meets_the_criteria():
    result = compare(SCORES, criteria=parse_criteria("roc_auc > 0.99"))
    assert (None, Outcome.INSUFFICIENT) == (result.winner, result.verdict.outcome)
    assert ["no_eligible_candidate"] + ["criterion_not_met"] * 3 == [r.code for r in result.verdict.reasons]


def test_a_nan_fold_rules_a_candidate_out_and_never_wins():
    result = compare({**SCORES, "broken": {"roc_auc": [0.99, math.nan, 0.99, 0.99, 0.99]}})
    assert result.winner == "trees"
    assert by_name(result)["broken"].reasons[0].code == "metric_undefined"
    assert compare({"broken": {"roc_auc": [math.nan]}}).winner is None


def test_a_single_candidate_wins_without_a_test():
    result = compare({"only": {"roc_auc": [0.5, 0.6]}})
    assert result.winner == "only"
    assert math.isnan(result.candidates[0].p_value)


def test_one_fold_tells_nobody_apart():
    rows = by_name(compare({"a": {"roc_auc": [0.9]}, "b": {"roc_auc": [0.1]}}))
    assert rows["b"].tied


def test_the_table_is_json():
    text = json.dumps([row.to_dict() for row in compare(SCORES).candidates], allow_nan=False)
    assert json.loads(text)[0]["p_value"] is None


def test_folds_are_summarised_by_mean_and_standard_deviation():
    # mean .7; deviations -.2, 0, .2; variance .08 / 2
    assert {"f1": 0.7, "f1_std": 0.2} == pytest.approx(summarise_folds({"f1": [0.5, 0.7, 0.9]}))
