"""Compiled models answer as the estimators they were made from."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler

from evergreen.tasks.core.data.rows import Rows, SplitPlan
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.serving.answers import RequestLimits, RequestRefused
from evergreen.tasks.core.serving.batch import Batch
from evergreen.tasks.core.serving.compile import compile_model
from evergreen.tasks.core.training.features import class_labels, feature_frame, outcomes
from evergreen.tasks.core.training.fitting import fit_candidate
from evergreen.tasks.core.training.scoring import Recipe, Scorer, Threshold
from evergreen.tasks.core.training.training import with_threshold
from evergreen.tasks.io.mlflow_store.model_files import ForeignModel
from tests.support.training_data import make_rows, model_config, schema

NUMBERS, CATEGORIES = ("a", "b", "c"), ("colour", "grade")
LIMITS = RequestLimits()
COLOURS = ["red", "green", "blue", "plum"]


def served_frame(problem="binary", *, n=400, seed=0):
    """Return rows with missing values, text categories and categories that are numbers."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "b": rng.normal(size=n) * 100 + 7,
            "c": rng.integers(0, 5, size=n).astype(float),
            "colour": rng.choice(COLOURS, size=n),
            "grade": rng.choice(np.array([1, 2, 3, True, 7], dtype=object), size=n),
        }
    )
    frame.loc[rng.random(n) < 0.1, "a"] = np.nan
    frame.loc[rng.random(n) < 0.1, "colour"] = None
    strength = frame["a"].fillna(0.5) + frame["b"] / 100 + (frame["colour"] == "red") - (frame["c"] == 2)
    strength += rng.normal(scale=0.3, size=n)
    if problem == "binary":
        frame["y"] = np.where(strength > 0, "yes", "no")
    elif problem == "multiclass":
        frame["y"] = pd.cut(strength, [-np.inf, -1, 1, np.inf], labels=["low", "mid", "top"]).astype(str)
    else:
        frame["y"] = np.exp(strength / 3)
    return frame


def train(
    path,
    problem="binary",
    *,
    params=None,
    n=400,
    numeric=NUMBERS,
    categorical=CATEGORIES,
    threshold=0.4,
    data=None,
    **candidate,
):
    """Return a version as `evergreen.tasks.core.learning` trains it, and its configuration."""
    chosen = {"name": "tested", "estimator": path, "params": params or {}, **candidate}
    config = model_config(problem, candidates=(chosen,), data=data)
    schema = Schema(target="y", numeric=numeric, categorical=categorical)
    frame = served_frame(problem, n=n)
    rows = Rows(frame, np.arange(n) * 3600.0)
    classes = class_labels(outcomes(frame, schema, config), config)
    model = fit_candidate(config.training.candidates[0], rows, schema=schema, config=config)
    cut = Threshold(value=threshold if problem == "binary" else 0.5, method="fixed")
    recipe = Recipe(problem=problem, candidate=config.training.candidates[0], classes=classes, threshold=cut)
    estimator = with_threshold(model, cut, classes=classes)
    return Scorer(estimator=estimator, schema=schema, plan=plan(), recipe=recipe), config


def plan():
    """Return a plan; serving does not look at it."""
    return SplitPlan.__new__(SplitPlan)


def batch_of(frame, signature):
    """Return rows of a frame as a batch."""
    numbers = [column.name for column in signature.numbers]
    texts = [column.name for column in signature.texts]
    return Batch(
        signature=signature,
        n=len(frame),
        numbers=frame[numbers].to_numpy(dtype=np.float64).reshape(len(frame), len(numbers)),
        texts=tuple([None if pd.isna(value) else value for value in frame[name]] for name in texts),
    )


HGB = "sklearn.ensemble.HistGradientBoosting"
RECIPES = [
    ("sklearn.linear_model.LogisticRegression", "binary", {}, "linear"),
    ("sklearn.linear_model.LogisticRegression", "multiclass", {}, "linear"),
    ("sklearn.linear_model.Ridge", "regression", {}, "linear"),
    (f"{HGB}Classifier", "binary", {"max_iter": 12}, "trees as bits"),
    (f"{HGB}Classifier", "multiclass", {"max_iter": 6}, "trees as bits"),
    (
        f"{HGB}Classifier",
        "binary",
        {"max_iter": 4, "max_leaf_nodes": 50, "min_samples_leaf": 1},
        "trees as bits",
    ),
    (
        f"{HGB}Classifier",
        "binary",
        {"max_iter": 4, "max_leaf_nodes": None, "min_samples_leaf": 1},
        "trees as bits",
    ),
    (f"{HGB}Regressor", "regression", {"max_iter": 8}, "trees as bits"),
    (f"{HGB}Regressor", "regression", {"max_iter": 8, "loss": "gamma"}, "trees as bits"),
    (f"{HGB}Regressor", "regression", {"max_iter": 8, "categorical_features": [2]}, "trees as bits"),
    ("sklearn.ensemble.RandomForestClassifier", "binary", {"n_estimators": 5}, "trees"),
    ("sklearn.ensemble.ExtraTreesClassifier", "multiclass", {"n_estimators": 5}, "trees"),
    ("sklearn.ensemble.RandomForestRegressor", "regression", {"n_estimators": 5}, "trees"),
    ("sklearn.tree.DecisionTreeClassifier", "multiclass", {}, "trees"),
    ("lightgbm.LGBMClassifier", "binary", {"n_estimators": 6, "deterministic": True}, "trees as bits"),
    ("lightgbm.LGBMClassifier", "multiclass", {"n_estimators": 4}, "trees as bits"),
    (
        "lightgbm.LGBMRegressor",
        "regression",
        {"n_estimators": 4, "num_leaves": 80, "min_child_samples": 1},
        "trees as bits",
    ),
    ("lightgbm.LGBMRegressor", "regression", {"n_estimators": 4, "objective": "poisson"}, "trees as bits"),
    ("lightgbm.LGBMRegressor", "regression", {"n_estimators": 4, "use_missing": False}, "trees as bits"),
    (
        "lightgbm.LGBMRegressor",
        "regression",
        {"n_estimators": 4, "zero_as_missing": True},
        "estimator on arrays",
    ),
    ("sklearn.svm.LinearSVC", "binary", {}, "estimator on arrays"),
    ("sklearn.ensemble.GradientBoostingRegressor", "regression", {"n_estimators": 5}, "estimator on arrays"),
    ("sklearn.linear_model.PoissonRegressor", "regression", {}, "estimator on arrays"),
]


def foreign(model, types, problem="binary", *, classes=("no", "yes"), data=None):
    recipe = Recipe(problem=problem, candidate=None, classes=classes if problem == "binary" else ())
    scorer = Scorer(estimator=ForeignModel(model, types), schema=None, plan=plan(), recipe=recipe)
    return scorer, model_config(problem, data=data)


def strange_frame(problem, *, n=60):
    """Return rows the model has not seen, with unknown categories and all values missing in one of them."""
    frame = served_frame(problem, n=n, seed=9)
    frame.loc[:4, "colour"] = "never seen"
    frame.loc[5:8, "grade"] = 99
    frame.loc[9, ["a", "b", "c"]] = np.nan
    frame.loc[9, ["colour", "grade"]] = None
    frame.loc[10:12, "b"] = [1e4, -1e4, 0.0]
    return frame


def own_answers(scorer, frame, problem):
    """Return scores and decisions of the estimator itself."""
    rows = feature_frame(frame, scorer.schema)
    if problem == "regression":
        return scorer.estimator.predict(rows), [None] * len(rows)
    scores = scorer.estimator.predict_proba(rows)
    return (scores[:, 1] if problem == "binary" else scores), scorer.estimator.predict(rows).tolist()


@pytest.mark.parametrize(("path", "problem", "params", "form"), RECIPES)
def test_a_trained_recipe_answers_as_its_estimator(path, problem, params, form):
    scorer, config = train(path, problem, params=params, n=240)
    model = compile_model(scorer, config=config)
    assert form == model.form
    frame = strange_frame(problem)
    scores, decisions = own_answers(scorer, frame, problem)
    batch = batch_of(frame, model.signature)
    answers = model.score(batch)
    assert decisions == answers.decisions
    np.testing.assert_allclose(answers.scores, scores, rtol=1e-12, atol=1e-12)
    for i in (0, 7, 9):
        single = model.score(batch.take([i]))
        assert [decisions[i]] == single.decisions
        np.testing.assert_allclose(single.scores, scores[i : i + 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", [f"{HGB}Classifier", "sklearn.linear_model.LogisticRegression"])
def test_who_shares_a_batch_changes_no_bit_of_a_rows_answer(path):
    scorer, config = train(path, params={"max_iter": 20}, n=240)
    model = compile_model(scorer, config=config)
    batch = batch_of(strange_frame("binary", n=200), model.signature)
    alone = np.concatenate([model.score(batch.take([i])).scores for i in range(batch.n)])
    assert alone.tobytes() == model.score(batch).scores.tobytes()
    assert alone[:30].tobytes() == model.score(batch.take(range(30))).scores.tobytes()


def test_boosted_trees_are_added_up_to_the_same_last_bit():
    scorer, config = train(f"{HGB}Classifier", params={"max_iter": 30}, n=400)
    frame = strange_frame("binary", n=600)
    model = compile_model(scorer, config=config)
    scores, _ = own_answers(scorer, frame, "binary")
    assert scores.tobytes() == model.score(batch_of(frame, model.signature)).scores.tobytes()


def test_the_signature_tells_text_from_other_categories():
    scorer, config = train(f"{HGB}Classifier", params={"max_iter": 2}, data={"entity": "who", "time": "at"})
    signature = compile_model(scorer, config=config).signature
    assert {"a": "number", "b": "number", "c": "number", "colour": "text", "grade": "any"} == {
        column.name: column.kind for column in signature.columns
    }
    assert (("who", "at"), "who", "at") == (signature.context, signature.entity, signature.time)


def test_scores_turn_with_the_positive_class_and_decisions_stay():
    scorer, config = train("sklearn.linear_model.LogisticRegression")
    turned = model_config(data={"positive_class": "no"})
    batch = batch_of(served_frame(n=20, seed=3), compile_model(scorer, config=config).signature)
    before, after = (compile_model(scorer, config=each).score(batch) for each in (config, turned))
    assert (("no", "yes"), ("yes", "no")) == (before.classes, after.classes)
    assert before.decisions == after.decisions
    np.testing.assert_allclose(before.scores, 1 - after.scores)
    with pytest.raises(NotLearnable, match="'maybe' is unknown"):
        compile_model(scorer, config=model_config(data={"positive_class": "maybe"}))


def test_a_version_whose_positive_class_comes_first_is_scored_towards_it():
    scorer, config = train(f"{HGB}Classifier", params={"max_iter": 5}, data={"positive_class": "no"})
    model = compile_model(scorer, config=config)
    assert "trees as bits" == model.form
    frame = strange_frame("binary")
    answers = model.score(batch_of(frame, model.signature))
    rows = feature_frame(frame, scorer.schema)
    np.testing.assert_allclose(answers.scores, scorer.estimator.predict_proba(rows)[:, 0], rtol=1e-12)
    assert scorer.estimator.predict(rows).tolist() == answers.decisions


@pytest.mark.parametrize(
    "scaler", [StandardScaler(), RobustScaler(), MinMaxScaler(), MaxAbsScaler(), "passthrough"]
)
@pytest.mark.parametrize("threshold", [None, 0.3])
def test_a_foreign_pipeline_of_scaler_and_trees_is_compiled(scaler, threshold):
    frame = served_frame(n=300)
    inputs = frame[list(NUMBERS)]
    pipeline = make_pipeline(scaler, HistGradientBoostingClassifier(max_iter=8)).fit(inputs, frame["y"])
    if threshold is not None:
        pipeline = FixedThresholdClassifier(pipeline, threshold=threshold, pos_label="yes")
    scorer, config = foreign(pipeline, dict.fromkeys(NUMBERS, "double"))
    model = compile_model(scorer, config=config)
    assert "trees as bits" == model.form
    rows = strange_frame("binary")
    answers = model.score(batch_of(rows, model.signature))
    np.testing.assert_allclose(
        answers.scores, pipeline.predict_proba(rows[list(NUMBERS)])[:, 1], rtol=1e-12, atol=1e-12
    )


def test_a_foreign_model_fitted_on_an_array_is_compiled():
    frame = served_frame("regression", n=300)
    model = HistGradientBoostingRegressor(max_iter=5).fit(frame[["a", "b"]], frame["y"])
    scorer, config = foreign(model, {"a": "double", "b": "double"}, "regression")
    compiled = compile_model(scorer, config=config)
    batch = batch_of(strange_frame("regression"), compiled.signature)
    assert "trees as bits" == compiled.form
    assert (
        model.predict(strange_frame("regression")[["a", "b"]]).tobytes()
        == compiled.score(batch).scores.tobytes()
    )


def test_a_column_of_32_bits_is_left_to_the_estimator():
    frame = served_frame("regression", n=200)
    trees = HistGradientBoostingRegressor(max_iter=2).fit(frame[["a", "b"]], frame["y"])
    scorer, config = foreign(trees, {"a": "float", "b": "double"}, "regression")
    model = compile_model(scorer, config=config)
    assert "frame" == model.form
    narrow = frame[["a", "b"]].astype({"a": np.float32})
    assert trees.predict(narrow).tolist() == model.score(batch_of(frame, model.signature)).plain_scores()


def test_trees_without_preprocessing_are_compiled():
    scorer, config = train(
        f"{HGB}Regressor", "regression", params={"max_iter": 5}, categorical=(), preprocess="none"
    )
    model = compile_model(scorer, config=config)
    frame = strange_frame("regression")
    assert "trees as bits" == model.form
    scores, _ = own_answers(scorer, frame, "regression")
    assert scores.tolist() == model.score(batch_of(frame, model.signature)).plain_scores()


def test_a_ranker_is_compiled_and_decides_nothing():
    candidate = {"name": "ranker", "estimator": "lightgbm.LGBMRanker", "params": {"n_estimators": 4}}
    config = model_config("ranking", candidates=(candidate,), data={"group": "race"})
    rows, columns = make_rows("ranking"), schema(group="race")
    fitted = fit_candidate(config.training.candidates[0], rows, schema=columns, config=config)
    recipe = Recipe(problem="ranking", candidate=config.training.candidates[0])
    model = compile_model(Scorer(estimator=fitted, schema=columns, plan=plan(), recipe=recipe), config=config)
    answers = model.score(batch_of(rows.frame, model.signature))
    assert ("trees as bits", ("race",)) == (model.form, model.signature.context)
    assert ({None}, ()) == (set(answers.decisions), answers.classes)
    np.testing.assert_allclose(answers.scores, fitted.predict(feature_frame(rows.frame, columns)), atol=1e-12)


def test_missing_values_are_allowed_where_a_foreign_model_takes_them():
    frame = served_frame("regression", n=200).fillna({"a": 0.0})
    linear = LinearRegression().fit(frame[["a", "b"]], frame["y"])
    scorer, config = foreign(linear, {"a": "double", "b": "long"}, "regression")
    strict = compile_model(scorer, config=config)
    assert [(False, ""), (False, "int64")] == [(c.nullable, c.only) for c in strict.signature.columns]
    trees = HistGradientBoostingRegressor(max_iter=2).fit(frame[["a", "b"]], frame["y"])
    scorer, config = foreign(trees, {"a": "double", "b": "long"}, "regression")
    loose = compile_model(scorer, config=config)
    assert [True, False] == [column.nullable for column in loose.signature.columns]


def test_what_a_foreign_model_refuses_is_a_refusal():
    frame = served_frame(n=200).fillna({"a": 0.0, "colour": "red"})
    encoder = ColumnTransformer([("colour", OneHotEncoder(), ["colour"])], remainder="passthrough")
    pipeline = make_pipeline(encoder, LogisticRegression(max_iter=500)).fit(
        frame[["colour", "a"]], frame["y"]
    )
    scorer, config = foreign(pipeline, {"colour": "string", "a": "double"})
    model = compile_model(scorer, config=config, example=frame[["colour", "a"]])
    assert ("frame", [False, False]) == (model.form, [column.nullable for column in model.signature.columns])
    bad = batch_of(frame[:2].assign(colour="never seen"), model.signature)
    with pytest.raises(RequestRefused, match="cannot score these rows") as caught:
        model.score(bad)
    assert (422, "model_refuses") == (caught.value.status, caught.value.code)


def test_numbers_too_great_for_a_forest_are_refused_as_it_does():
    scorer, config = train("sklearn.ensemble.RandomForestClassifier", params={"n_estimators": 3})
    model = compile_model(scorer, config=config)
    batch = batch_of(served_frame(n=2).assign(b=[1.0, 1e39]), model.signature)
    with pytest.raises(RequestRefused, match="row 1"):
        model.score(batch)


def test_a_form_that_answers_differently_is_not_taken(monkeypatch):
    scorer, config = train(f"{HGB}Classifier", params={"max_iter": 3})
    monkeypatch.setattr(
        "evergreen.tasks.core.serving.trees.expit", lambda sums: 1 / (1 + np.exp(-sums)) + 1e-9
    )
    model = compile_model(scorer, config=config)
    assert "estimator on arrays" == model.form


def test_trees_whose_tables_would_be_too_large_are_left_to_the_estimator(monkeypatch):
    scorer, config = train(f"{HGB}Classifier", params={"max_iter": 3})
    monkeypatch.setattr("evergreen.tasks.core.serving.trees.MOST_BYTES", 100)
    model = compile_model(scorer, config=config)
    assert "estimator on arrays" == model.form


def test_predictions_are_what_predict_returns():
    scorer, config = train("sklearn.linear_model.Ridge", "regression")
    model = compile_model(scorer, config=config)
    frame = served_frame("regression", n=5)
    answers = model.score(batch_of(frame, model.signature))
    assert isinstance(frame, pd.DataFrame)
    np.testing.assert_allclose(
        answers.plain_scores(), scorer.estimator.predict(feature_frame(frame, scorer.schema))
    )
