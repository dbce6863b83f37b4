"""From rows to features, outcomes, weights and scores."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import ConfigError, DataError, NotLearnable
from evergreen.tasks.core.training.features import (
    ModelSpec,
    answer,
    class_labels,
    feature_frame,
    outcomes,
    read_prediction,
)
from evergreen.tasks.core.training.fitting import fit_candidate, group_sizes
from evergreen.tasks.core.training.scoring import decide_labels, score_rows
from evergreen.tasks.core.training.weights import class_weight_of_rows, training_weights
from tests.support.training_data import make_frame, make_rows, model_config, schema


def test_features_are_plain_and_the_frame_is_left_alone():
    frame = pd.DataFrame(
        {
            "noise": pd.array([1, None], dtype="Int64"),
            "signal": [True, False],
            "colour": pd.Series(["a", None], dtype="category"),
            "y": [0, 1],
        }
    )
    before = frame.copy(deep=True)
    features = feature_frame(frame, schema())
    assert ["signal", "noise", "colour"] == list(features.columns)
    assert ["float64", "float64", "object"] == [str(kind) for kind in features.dtypes]
    assert np.isnan(features.loc[1, "noise"])
    assert np.isnan(features.loc[1, "colour"])
    pd.testing.assert_frame_equal(before, frame)


def test_a_missing_feature_is_named():
    with pytest.raises(DataError, match=r"Missing column 'colour'.*Add it"):
        feature_frame(make_frame().drop(columns="colour"), schema())


def test_text_in_a_numeric_feature_names_value_and_row():
    frame = make_frame()
    frame["signal"] = frame["signal"].astype(object)
    frame.loc[3, "signal"] = "n/a?"
    with pytest.raises(DataError, match=r"'signal' should hold numbers.*row 3: 'n/a\?'"):
        feature_frame(frame, schema())


def test_the_positive_class_is_the_greater_one_unless_configured():
    y = np.array(["no", "yes"])
    assert ("no", "yes") == class_labels(y, model_config())
    assert ("yes", "no") == class_labels(y, model_config(data={"positive_class": "no"}))


def test_a_positive_class_the_target_lacks_is_refused():
    with pytest.raises(ConfigError, match="'maybe' is not a class of the target; it has 'no', 'yes'"):
        class_labels(np.array(["no", "yes"]), model_config(data={"positive_class": "maybe"}))


@pytest.mark.parametrize(("labels", "code"), [(["a", "a"], "one_class"), (list("abc"), "too_many_classes")])
def test_a_binary_target_needs_two_classes(labels, code):
    with pytest.raises(NotLearnable) as caught:
        class_labels(np.array(labels), model_config())
    assert code == caught.value.reason_code


def test_balanced_class_weights_agree_with_scikit_learn():
    y = np.random.default_rng(0).choice(["a", "b", "c"], size=200, p=[0.7, 0.2, 0.1])
    assert compute_sample_weight("balanced", y) == pytest.approx(class_weight_of_rows(y, "balanced"))


def test_class_weights_by_name_match_numbers_written_as_text():
    assert [1.0, 5.0, 1.0] == class_weight_of_rows(np.array([0, 1, 0]), {"1": 5.0}).tolist()


def test_a_class_weight_for_an_unknown_class_is_refused():
    with pytest.raises(ConfigError, match="names the class 'fraud'; the target has 0, 1"):
        class_weight_of_rows(np.array([0, 1]), {"fraud": 5.0})


def test_equal_weights_are_no_weights():
    rows = make_rows()
    assert (
        training_weights(rows, rows.frame["y"], schema=schema(), config=model_config(), class_weights=True)
        is None
    )


def test_weights_multiply_column_and_recency():
    # column 1, 2; the older row is a whole window back: 1/4. Product 0.25, 2; divided by its mean 1.125
    rows = Rows(pd.DataFrame({"y": [0, 1], "w": [1.0, 2.0]}), np.array([0.0, 10.0]))
    config = model_config(data={"weight": "w"}, retraining={"weighted": "recency"})
    found = training_weights(
        rows, rows.frame["y"], schema=schema(weight="w"), config=config, class_weights=False
    )
    assert [0.25 / 1.125, 2 / 1.125] == pytest.approx(found)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_impossible_weights_are_refused(bad):
    rows = Rows(pd.DataFrame({"y": [0, 1], "w": [1.0, bad]}), None)
    config = model_config(data={"weight": "w"})
    with pytest.raises(ConfigError, match="finite and >= 0"):
        training_weights(rows, rows.frame["y"], schema=schema(weight="w"), config=config, class_weights=False)


@pytest.mark.parametrize(
    "path",
    [
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.naive_bayes.GaussianNB",
        "sklearn.svm.LinearSVC",
    ],
)
def test_class_weights_reach_estimators_with_and_without_the_parameter(path):
    rows = make_rows(n=600)
    rare = (rows.frame["y"] == "no") | (np.arange(600) % 10 == 0)
    rows = rows.take(rare.to_numpy())

    def mean_score(class_weight):
        config = model_config(training={"class_weight": class_weight})
        model = fit_candidate(Candidate(name="c", estimator=path), rows, schema=schema(), config=config)
        return score_rows(
            model, make_rows(n=600, seed=1), ModelSpec(schema(), config, ("no", "yes"))
        ).score.mean()

    assert mean_score({"yes": 20.0}) > mean_score(None) + 0.05


def test_weights_for_an_estimator_that_takes_none_are_refused():
    rows, config = make_rows(), model_config(training={"class_weight": "balanced"})
    knn = Candidate(name="knn", estimator="sklearn.neighbors.KNeighborsClassifier")
    with pytest.raises(ConfigError, match=r"'knn'.*takes no weights"):
        fit_candidate(knn, rows, schema=schema(), config=config)


def test_what_an_estimator_refuses_is_said_with_the_candidates_name():
    rows = make_rows()
    bad = Candidate(name="bad", estimator="sklearn.linear_model.LogisticRegression", params={"C": -1.0})
    with pytest.raises(ConfigError, match=r"Candidate 'bad'.*cannot be trained.*'C'"):
        fit_candidate(bad, rows, schema=schema(), config=model_config())


def test_a_ranker_gets_group_sizes_of_rows_put_in_group_order():
    rows = make_rows("ranking", n=400)
    mixed = rows.take(np.random.default_rng(0).permutation(400))
    config = model_config("ranking", data={"group": "race"})
    ranker = Candidate(name="r", estimator="lightgbm.LGBMRanker", params={"n_estimators": 20})
    roles = schema(group="race")
    model = fit_candidate(ranker, mixed, schema=roles, config=config)
    scored = score_rows(model, rows, ModelSpec(roles, config))
    within = pd.DataFrame({"g": scored.group, "s": scored.score, "y": scored.y}).groupby("g")
    assert 0.5 < within.apply(lambda g: g["s"].corr(g["y"], "spearman"), include_groups=False).mean()


def test_group_sizes_count_neighbours():
    rows = Rows(pd.DataFrame({"race": [3, 3, 1, 2, 2, 2]}), None)
    assert [2, 1, 3] == group_sizes(rows, schema(group="race")).tolist()


class Model:
    """Says what it is told to say."""

    def __init__(self, proba, classes):
        self.proba, self.classes_ = np.asarray(proba), np.asarray(classes)

    def predict_proba(self, features):
        return self.proba


def test_probabilities_are_put_in_the_order_of_the_classes():
    model = Model([[0.2, 0.8]], ["yes", "no"])
    frame = pd.DataFrame({"a": [1]})
    assert [0.2] == answer(model, frame, problem="binary", classes=("no", "yes")).tolist()


def test_a_class_the_model_never_met_has_probability_zero():
    model = Model([[0.2, 0.8]], ["a", "c"])
    frame = pd.DataFrame({"a": [1]})
    assert [[0.2, 0.0, 0.8]] == answer(model, frame, problem="multiclass", classes=("a", "b", "c")).tolist()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([0.2, 0.9], [0.2, 0.9]),
        ([0, 1], [0.0, 1.0]),
        ([[0.8, 0.2], [0.1, 0.9]], [0.2, 0.9]),
        (pd.DataFrame({"1": [0.2, 0.9], "0": [0.8, 0.1]}), [0.2, 0.9]),
        (pd.Series([1, 0]), [1.0, 0.0]),
    ],
)
def test_a_foreign_prediction_is_read_for_what_it_is(output, expected):
    assert expected == read_prediction(output, n=2, problem="binary", classes=(0, 1)).tolist()


@pytest.mark.parametrize("output", [[3.5, 2.0], ["maybe", "no"], [0.5]])
def test_a_prediction_that_cannot_be_read_is_refused(output):
    with pytest.raises(DataError, match="The model answers with"):
        read_prediction(output, n=2, problem="binary", classes=(0, 1))


def test_labels_follow_the_threshold():
    score = np.array([0.29, 0.3, 0.9])
    assert ["no", "yes", "yes"] == decide_labels(score, classes=("no", "yes"), threshold=0.3).tolist()


def test_scores_stand_beside_outcome_group_and_clock():
    rows, config = make_rows("ranking", n=80), model_config("ranking", data={"group": "race"})
    ridge = Candidate(name="r", estimator="sklearn.linear_model.Ridge")
    roles = schema(group="race")
    scored = score_rows(
        fit_candidate(ridge, rows, schema=roles, config=config), rows, ModelSpec(roles, config)
    )
    assert (80,) == scored.score.shape
    assert np.array_equal(rows.positions, scored.positions)
    assert 10 == len(np.unique(scored.group))
    assert np.array_equal(outcomes(rows.frame, roles, config), scored.y)


def test_no_rows_give_no_scores():
    rows = make_rows().take(np.zeros(0, dtype=int))
    assert 0 == len(score_rows(None, rows, ModelSpec(schema(), model_config(), ("no", "yes"))))
