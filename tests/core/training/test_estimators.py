"""Estimators by import path, and the pipeline built around one."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.errors import ConfigError, UnknownName
from evergreen.tasks.core.training.estimators import build_estimator, build_pipeline, load_estimator_class
from evergreen.tasks.core.training.features import feature_frame
from tests.support.training_data import make_frame, model_config, schema

TREES = "sklearn.ensemble.HistGradientBoostingClassifier"
LINEAR = "sklearn.linear_model.LogisticRegression"


def pipeline_of(path, *, config=None, **candidate):
    chosen = Candidate(name="c", estimator=path, **candidate)
    return build_pipeline(chosen, schema(), config or model_config())


def fitted(path, *, frame=None, **candidate):
    frame = make_frame() if frame is None else frame
    return pipeline_of(path, **candidate).fit(feature_frame(frame, schema()), frame["y"])


def ask(model, **columns):
    rows = pd.DataFrame({"signal": [0.1, 0.1], "noise": [0.0, 0.0], "colour": ["red", "red"]} | columns)
    return model.predict_proba(feature_frame(rows, schema()))[:, 1]


@pytest.mark.parametrize("path", ["os.system", "sklearnx.Ridge", "pickle.Unpickler", "subprocess.Popen"])
def test_a_path_outside_the_allowed_packages_is_refused(path):
    with pytest.raises(ConfigError, match=r"not allowed.*sklearn, lightgbm, xgboost.*training\.allow"):
        load_estimator_class(path)


def test_a_misspelt_class_names_the_likeliest_one():
    with pytest.raises(UnknownName, match="Did you mean 'LogisticRegression'"):
        load_estimator_class("sklearn.linear_model.LogisticRegresion")


def test_a_function_of_an_allowed_package_is_no_estimator():
    with pytest.raises(ConfigError, match="no scikit-learn compatible estimator"):
        load_estimator_class("sklearn.metrics.accuracy_score")


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(ConfigError, match=r"needs the module 'nowhere_at_all'.*pip install"):
        load_estimator_class("nowhere_at_all.Model", allow=["nowhere_at_all"])


def test_a_teams_own_estimator_is_found_once_it_is_allowed():
    path = "tests.support.training_data.Median"
    with pytest.raises(ConfigError, match="not allowed"):
        load_estimator_class(path)
    assert "Median" == load_estimator_class(path, allow=["tests.support.training_data"]).__name__


def test_an_unknown_parameter_names_the_likeliest_one():
    with pytest.raises(ConfigError, match="Did you mean 'max_iter'"):
        build_estimator(LINEAR, {"max_itr": 5})


def test_a_seed_is_set_unless_the_recipe_says_otherwise():
    assert 7 == build_estimator(TREES, {}, random_state=7).random_state
    assert 1 == build_estimator(TREES, {"random_state": 1}, random_state=7).random_state


def test_an_estimator_inside_an_estimator_is_built_from_its_mapping():
    inner = {"estimator": TREES, "params": {"max_iter": 3}}
    outer = build_estimator("sklearn.calibration.CalibratedClassifierCV", {"estimator": inner})
    assert isinstance(outer.estimator, HistGradientBoostingClassifier)
    assert 3 == outer.estimator.max_iter


def test_a_list_of_named_estimators_can_vote():
    members = [["a", {"estimator": LINEAR}], ["b", {"estimator": TREES, "params": {"max_iter": 3}}]]
    model = fitted("sklearn.ensemble.VotingClassifier", params={"estimators": members, "voting": "soft"})
    assert np.isfinite(ask(model)).all()


def test_a_parameter_that_is_needed_and_missing_is_named():
    with pytest.raises(ConfigError, match=r"cannot be made.*'estimators'"):
        build_estimator("sklearn.ensemble.VotingClassifier", {})


def test_a_forbidden_estimator_inside_an_allowed_one_is_refused():
    with pytest.raises(ConfigError, match="not allowed"):
        build_estimator(
            "sklearn.calibration.CalibratedClassifierCV", {"estimator": {"estimator": "os.abort"}}
        )


@pytest.mark.parametrize(
    ("path", "problem"),
    [("sklearn.linear_model.Ridge", "binary"), (LINEAR, "regression"), (LINEAR, "ranking")],
)
def test_an_estimator_of_the_wrong_kind_is_refused(path, problem):
    data = {"group": "g"} if problem == "ranking" else {}
    with pytest.raises(ConfigError, match=f"does not fit problem: {problem}"):
        pipeline_of(path, config=model_config(problem, data=data))


def test_a_classifier_without_probabilities_gets_calibrated_ones():
    model = fitted("sklearn.svm.LinearSVC")
    assert isinstance(model.named_steps["model"], CalibratedClassifierCV)
    assert np.all((ask(model) > 0) & (ask(model) < 1))


@pytest.mark.parametrize("path", [TREES, LINEAR, "sklearn.naive_bayes.GaussianNB", "lightgbm.LGBMClassifier"])
def test_missing_infinite_and_unseen_values_are_answered(path):
    frame = make_frame()
    frame.loc[::17, "signal"] = np.nan
    frame.loc[::23, "signal"] = np.inf
    frame.loc[::19, "colour"] = None
    model = fitted(path, frame=frame)
    odd = ask(model, signal=[np.nan, -np.inf], colour=[None, "never seen"])
    assert np.isfinite(odd).all()
    # infinity is a missing number, and a category never seen is a missing one
    assert odd[0] == pytest.approx(odd[1])


@pytest.mark.parametrize("path", [TREES, LINEAR])
def test_columns_may_come_in_any_order(path):
    frame = make_frame()
    features = feature_frame(frame, schema())
    model = pipeline_of(path).fit(features, frame["y"])
    assert np.array_equal(
        model.predict_proba(features), model.predict_proba(features[["colour", "noise", "signal"]])
    )


def test_text_where_numbers_belong_gives_a_clear_error():
    frame = make_frame()
    model = fitted(LINEAR)
    wrong = frame.assign(signal="abc")[["signal", "noise", "colour"]]
    with pytest.raises(ValueError, match="could not convert string to float: 'abc'"):
        model.predict(wrong)


def test_boosting_is_told_which_columns_are_categories():
    model = pipeline_of(TREES)
    assert [2] == model.named_steps["model"].categorical_features


def test_a_category_matters_to_a_linear_model_by_indicator_not_by_its_code():
    frame = make_frame(n=3000)
    frame["y"] = np.where(frame["colour"] == "green", "yes", "no")  # the middle code of blue, green, red
    model = fitted(LINEAR, frame=frame)
    assert 1.0 == (model.predict(feature_frame(frame, schema())) == frame["y"]).mean()


@pytest.mark.parametrize("path", [TREES, LINEAR])
def test_a_category_written_as_number_is_the_same_in_every_type(path):
    frame = make_frame()
    frame["colour"] = frame["colour"].map({"red": 1, "green": 2, "blue": 3})
    model = fitted(path, frame=frame)
    rows = pd.DataFrame({"signal": [0.1] * 2, "noise": [0.0] * 2})
    whole, floats, texts, objects = (
        model.predict_proba(rows.assign(colour=values))[:, 1].tolist()
        for values in ([1, 2], [1.0, 2.0], ["a", "b"], pd.Series([1, 2], dtype=object))
    )
    assert whole == floats == objects
    assert texts[0] == texts[1]


def test_rare_categories_beyond_the_limit_are_pooled():
    frame = make_frame(n=600)
    frame["colour"] = [f"shade {i % 120}" for i in range(600)]
    config = model_config(training={"max_categories": 10})
    model = pipeline_of(LINEAR, config=config).fit(feature_frame(frame, schema()), frame["y"])
    assert 2 + 10 == model.named_steps["model"].n_features_in_


def test_no_preprocessing_leaves_the_columns_to_the_estimator():
    model = pipeline_of(LINEAR, preprocess="none")
    assert "passthrough" == model.named_steps["columns"]


def test_settings_of_a_search_replace_those_of_the_recipe():
    chosen = Candidate(name="c", estimator=LINEAR, params={"C": 1.0})
    model = build_pipeline(chosen, schema(), model_config(), settings={"C": 0.5})
    assert isinstance(model.named_steps["model"], LogisticRegression)
    assert 0.5 == model.named_steps["model"].C
