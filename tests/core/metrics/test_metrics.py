import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from evergreen.tasks.core.errors import ConfigError, DataError, UnknownName
from evergreen.tasks.core.metrics.base import custom_metric
from evergreen.tasks.core.metrics.classification import business_metric
from evergreen.tasks.core.metrics.registry import canonical_name, default_metric, get_metric, metric_names
from evergreen.tasks.core.metrics.scored import Scored, align_classes

LETTERS = np.array(["a", "b", "c"])


def binary(n=400, *, weighted=False, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    score = np.clip(rng.normal(0.3 + 0.3 * y, 0.3), 0, 1).round(2)  # rounded: ties
    return Scored(y=y, score=score, weight=rng.random(n) if weighted else None)


def multiclass(n=400, *, weighted=False):
    rng = np.random.default_rng(1)
    return Scored(
        y=LETTERS[rng.integers(0, 3, n)],
        score=rng.dirichlet(np.ones(3), n),
        classes=tuple(LETTERS.tolist()),
        weight=rng.random(n) if weighted else None,
    )


def regression(n=400, *, weighted=False):
    rng = np.random.default_rng(2)
    return Scored(y=rng.gamma(2, 1, n), score=rng.gamma(2, 1, n), weight=rng.random(n) if weighted else None)


BINARY_ORACLES = {
    "accuracy": lambda y, p, d, **w: sk.accuracy_score(y, d, **w),
    "balanced_accuracy": lambda y, p, d, **w: sk.balanced_accuracy_score(y, d, **w),
    "f1": lambda y, p, d, **w: sk.f1_score(y, d, **w),
    "precision": lambda y, p, d, **w: sk.precision_score(y, d, **w),
    "recall": lambda y, p, d, **w: sk.recall_score(y, d, **w),
    "specificity": lambda y, p, d, **w: sk.recall_score(y, d, pos_label=0, **w),
    "jaccard": lambda y, p, d, **w: sk.jaccard_score(y, d, **w),
    "matthews_corrcoef": lambda y, p, d, **w: sk.matthews_corrcoef(y, d, **w),
    "cohen_kappa": lambda y, p, d, **w: sk.cohen_kappa_score(y, d, **w),
    "f1_macro": lambda y, p, d, **w: sk.f1_score(y, d, average="macro", **w),
    "roc_auc": lambda y, p, d, **w: sk.roc_auc_score(y, p, **w),
    "average_precision": lambda y, p, d, **w: sk.average_precision_score(y, p, **w),
    "log_loss": lambda y, p, d, **w: sk.log_loss(y, p, **w),
    "brier_score": lambda y, p, d, **w: sk.brier_score_loss(y, p, **w),
}
MULTICLASS_ORACLES = {
    "accuracy": lambda y, p, d, **w: sk.accuracy_score(y, d, **w),
    "balanced_accuracy": lambda y, p, d, **w: sk.balanced_accuracy_score(y, d, **w),
    "f1_macro": lambda y, p, d, **w: sk.f1_score(y, d, average="macro", **w),
    "f1_weighted": lambda y, p, d, **w: sk.f1_score(y, d, average="weighted", **w),
    "f1_micro": lambda y, p, d, **w: sk.f1_score(y, d, average="micro", **w),
    "precision_macro": lambda y, p, d, **w: sk.precision_score(y, d, average="macro", **w),
    "recall_weighted": lambda y, p, d, **w: sk.recall_score(y, d, average="weighted", **w),
    "matthews_corrcoef": lambda y, p, d, **w: sk.matthews_corrcoef(y, d, **w),
    "cohen_kappa": lambda y, p, d, **w: sk.cohen_kappa_score(y, d, **w),
    "log_loss": lambda y, p, d, **w: sk.log_loss(y, p, **w),
    "brier_score": lambda y, p, d, **w: sk.brier_score_loss(y, p, **w),
    "roc_auc_ovr": lambda y, p, d, **w: sk.roc_auc_score(y, p, multi_class="ovr", **w),
    "roc_auc_ovr_weighted": lambda y, p, d, **w: sk.roc_auc_score(
        y, p, multi_class="ovr", average="weighted", **w
    ),
}
REGRESSION_ORACLES = {
    "rmse": sk.root_mean_squared_error,
    "mse": sk.mean_squared_error,
    "mae": sk.mean_absolute_error,
    "mape": sk.mean_absolute_percentage_error,
    "rmsle": sk.root_mean_squared_log_error,
    "median_absolute_error": sk.median_absolute_error,
    "r2": sk.r2_score,
    "mean_poisson_deviance": sk.mean_poisson_deviance,
    "mean_gamma_deviance": sk.mean_gamma_deviance,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", BINARY_ORACLES)
def test_binary_metrics_agree_with_scikit_learn(name, weighted):
    s = binary(weighted=weighted)
    expected = BINARY_ORACLES[name](s.y, s.score, (s.score >= 0.5).astype(int), sample_weight=s.weight)
    assert expected == pytest.approx(get_metric(name, problem="binary")(s), abs=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MULTICLASS_ORACLES)
def test_multiclass_metrics_agree_with_scikit_learn(name, weighted):
    s = multiclass(weighted=weighted)
    decided = LETTERS[s.score.argmax(axis=1)]
    expected = MULTICLASS_ORACLES[name](s.y, s.score, decided, sample_weight=s.weight)
    assert expected == pytest.approx(get_metric(name, problem="multiclass")(s), abs=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", REGRESSION_ORACLES)
def test_regression_metrics_agree_with_scikit_learn(name, weighted):
    s = regression(weighted=weighted)
    expected = REGRESSION_ORACLES[name](s.y, s.score, sample_weight=s.weight)
    assert expected == pytest.approx(get_metric(name, problem="regression")(s), abs=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3, 7, None])
def test_ndcg_agrees_with_scikit_learn_ties_included(k):
    rng = np.random.default_rng(3)
    y, score = rng.integers(0, 4, (60, 8)), rng.normal(size=(60, 8)).round(1)
    y[:, 0] = 3  # no group without a relevant row, which scikit-learn counts as 0 and we leave out
    shuffled = rng.permutation(y.size)
    s = Scored(y=y.ravel(), score=score.ravel(), group=np.repeat(np.arange(60), 8)).take(shuffled)
    name = "ndcg" if k is None else f"ndcg@{k}"
    assert sk.ndcg_score(y, score, k=k) == pytest.approx(get_metric(name, problem="ranking")(s), abs=1e-12)


def test_ndcg_has_linear_gains_and_exponential_ones_by_a_target_of_two_to_the_grade():
    grades, score = np.array([0.0, 2.0, 1.0]), np.array([3.0, 2.0, 1.0])
    ndcg = get_metric("ndcg@3", problem="ranking")
    linear = Scored(y=grades, score=score, group=np.zeros(3))
    exponential = Scored(y=2**grades - 1, score=score, group=np.zeros(3))
    # discounts 1, 1/log2(3) = .63093, 1/2; found 2 * .63093 + 1 * .5, best 2 + 1 * .63093
    assert (2 * 0.63093 + 0.5) / (2 + 0.63093) == pytest.approx(ndcg(linear), abs=1e-5)
    # gains 3 and 1: found 3 * .63093 + 1 * .5, best 3 + 1 * .63093
    assert (3 * 0.63093 + 0.5) / (3 + 0.63093) == pytest.approx(ndcg(exponential), abs=1e-5)


def test_ndcg_by_hand():
    # one group: ranked order has relevance 0, 2, 1; DCG@2 = 2/log2(3); ideal 2 + 1/log2(3)
    s = Scored(y=np.array([1, 0, 2]), score=np.array([0.1, 0.9, 0.5]), group=np.zeros(3))
    expected = (2 / math.log2(3)) / (2 + 1 / math.log2(3))
    assert expected == pytest.approx(get_metric("ndcg_at_2", problem="ranking")(s))


def test_reciprocal_rank_and_win_rate_by_hand():
    # first group: relevant row second -> 1/2, no win; second: tied on top with another -> place 1.5, half a win
    s = Scored(
        y=np.array([0, 1, 0, 1, 0, 0]),
        score=np.array([3.0, 2.0, 1.0, 5.0, 5.0, 0.0]),
        group=np.array([7, 7, 7, 9, 9, 9]),
    )
    assert (1 / 2 + 1 / 1.5) / 2 == pytest.approx(get_metric("mrr", problem="ranking")(s))
    assert (0 + 0.5) / 2 == pytest.approx(get_metric("win_rate", problem="ranking")(s))


def test_groups_that_say_nothing_about_an_order_are_left_out():
    s = Scored(
        y=np.array([1, 0, 0, 0, 1]),
        score=np.array([2.0, 1.0, 1.0, 2.0, 0.0]),
        group=np.array([1, 1, 2, 2, 3]),
    )
    assert get_metric("ndcg@3", problem="ranking")(s) == 1.0  # group 2 has no winner, group 3 one row
    assert math.isnan(get_metric("ndcg@3", problem="ranking")(s.take(np.array([2, 3, 4]))))


def test_a_metric_of_one_class_or_no_rows_is_nan():
    one_class = Scored(y=np.zeros(5, dtype=int), score=np.linspace(0, 1, 5))
    for name in ("roc_auc", "average_precision", "recall", "f1", "matthews_corrcoef", "jaccard"):
        assert math.isnan(get_metric(name, problem="binary")(one_class)), name
    for problem in ("binary", "multiclass", "regression", "ranking"):
        empty = Scored(y=np.empty(0), score=np.empty(0), group=np.empty(0))
        assert math.isnan(get_metric(default_metric(problem), problem=problem)(empty))
    constant = Scored(y=np.ones(4), score=np.arange(4.0))
    assert math.isnan(get_metric("r2", problem="regression")(constant))


def test_nothing_called_positive_scores_zero_as_scikit_learn_says():
    s = Scored(y=np.array([0, 1, 1]), score=np.array([0.1, 0.2, 0.3]))
    for name in ("precision", "recall", "f1", "matthews_corrcoef"):
        assert get_metric(name, problem="binary")(s) == 0.0, name


def test_the_positive_class_may_be_any_of_the_two():
    s = Scored(
        y=np.array(["yes", "no", "yes"]),
        score=np.array([0.9, 0.2, 0.4]),
        classes=("yes", "no"),
        positive_class="yes",
    )
    assert get_metric("recall", problem="binary")(s) == 0.5
    assert get_metric("roc_auc", problem="binary")(s) == 1.0


def test_a_positive_class_of_another_type_is_refused_rather_than_never_found():
    s = Scored(y=np.array([0, 1]), score=np.array([0.2, 0.8]), positive_class="1")
    with pytest.raises(DataError, match="cannot be compared"):
        get_metric("recall", problem="binary")(s)


def test_a_class_the_model_never_met_counts_as_wrong_and_has_no_log_loss():
    s = Scored(y=np.array(["a", "b", "z"]), score=np.eye(3)[:, :2] + 0.1, classes=("a", "b"))
    assert get_metric("accuracy", problem="multiclass")(
        Scored(y=s.y, score=np.eye(3), classes=("a", "b", "c"))
    ) == pytest.approx(2 / 3)
    wide = Scored(y=s.y, score=np.full((3, 3), 1 / 3), classes=("a", "b", "c"))
    assert math.isnan(get_metric("log_loss", problem="multiclass")(wide))


def test_models_with_different_classes_are_aligned():
    first = Scored(y=np.array(["a", "b", "c"]), score=np.full((3, 3), 1 / 3), classes=("a", "b", "c"))
    second = Scored(y=first.y, score=np.array([[0.1, 0.2, 0.3, 0.4]] * 3), classes=("d", "c", "b", "a"))
    one, two = align_classes(first, second)
    assert one.classes == two.classes == ("a", "b", "c", "d")
    assert two.score[0].tolist() == [0.4, 0.3, 0.2, 0.1]
    assert one.score[0].tolist() == [1 / 3, 1 / 3, 1 / 3, 0.0]


def test_business_value_by_hand():
    # hit of 10 (x1), false alarm of 20 (x-0.5), miss of 30 (x-1), pass of 40 (x0); two actions at 1 each
    s = Scored(
        y=np.array([1, 0, 1, 0]),
        label=np.array([1, 1, 0, 0]),
        value=np.array([10.0, 20.0, 30.0, 40.0]),
        positive_class=1,
    )
    metric = business_metric("binary", true_positive=1, false_positive=-0.5, false_negative=-1, action_cost=1)
    assert (10 - 10 - 30 - 2) / 4 == metric(s)
    ranking = Scored(
        y=np.array([0, 1]), score=np.array([2.0, 1.0]), group=np.zeros(2), value=np.array([5.0, 9.0])
    )
    assert business_metric("ranking")(ranking) == 5.0
    with pytest.raises(ConfigError, match="not defined for a regression"):
        business_metric("regression")


def test_a_missing_column_names_itself():
    with pytest.raises(DataError, match="column 'value'"):
        get_metric("business_value", problem="binary")(binary())


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ndcg@3", "ndcg_at_3"),
        ("neg_log_loss", "log_loss"),
        ("root_mean_squared_error", "rmse"),
        ("AUC", "roc_auc"),
    ],
)
def test_aliases_are_translated(written, name):
    assert name == canonical_name(written)


def test_unknown_metrics_say_what_is_known_and_what_was_meant():
    with pytest.raises(UnknownName, match=r"Unknown binary metric 'acuracy'.*Did you mean 'accuracy'"):
        get_metric("acuracy", problem="binary")
    with pytest.raises(UnknownName, match=r"'rmse' is not defined for a binary model \(only: regression\)"):
        get_metric("rmse", problem="binary")
    with pytest.raises(UnknownName):
        get_metric("ndcg@0", problem="ranking")
    with pytest.raises(ConfigError, match="Unknown problem 'clustering'"):
        get_metric("accuracy", problem="clustering")


def test_a_team_brings_its_own_metric_with_its_direction():
    cost = custom_metric("cost", lambda scored: float(scored.y.mean()), greater_is_better=False)
    found = get_metric("cost", problem="binary", custom={"cost": cost})
    assert found.sign == -1
    assert found(Scored(y=np.array([0.0, 1.0]))) == 0.5
    assert "cost" not in metric_names("binary")


def test_improvement_is_relative_for_errors_and_absolute_for_scores():
    assert 0.25 == pytest.approx(float(get_metric("rmse", problem="regression").improvement(8.0, 6.0)))
    assert 0.02 == pytest.approx(float(get_metric("roc_auc", problem="binary").improvement(0.80, 0.82)))
    assert math.isnan(float(get_metric("rmse", problem="regression").improvement(0.0, 1.0)))


def test_columns_of_different_length_are_refused():
    with pytest.raises(DataError, match="'score' of scored rows has shape"):
        Scored(y=np.zeros(3), score=np.zeros(2))


def test_missing_counts_nan_none_and_infinities():
    s = Scored(
        y=np.array([1.0, np.nan]), score=np.array([np.inf, 0.0]), label=np.array(["a", None], dtype=object)
    )
    assert {"y": 1, "score": 1, "label": 1} == s.missing()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["roc_auc", "average_precision", "log_loss", "f1", "accuracy"])
)
def test_metrics_do_not_depend_on_the_order_of_rows(seed, name):
    s = binary(60, weighted=True, seed=seed)
    metric = get_metric(name, problem="binary")
    shuffled = s.take(np.random.default_rng(seed).permutation(len(s)))
    assert metric(s) == pytest.approx(metric(shuffled), nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_a_weight_of_two_counts_a_row_twice(seed):
    rng = np.random.default_rng(seed)
    s = binary(40, seed=seed)
    twice = rng.integers(0, 2, len(s)) + 1
    weighted = Scored(y=s.y, score=s.score, weight=twice)
    repeated = s.take(np.repeat(np.arange(len(s)), twice))
    for name in ("roc_auc", "average_precision", "log_loss", "f1", "balanced_accuracy"):
        metric = get_metric(name, problem="binary")
        assert metric(weighted) == pytest.approx(metric(repeated), nan_ok=True), name
