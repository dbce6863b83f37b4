"""Batch scoring: what comes out, what a repeat changes (nothing), what a killed run leaves, and that it is watched."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.errors import Blocked, DataError, InputError, NotLearnable, UnknownName
from evergreen.tasks.io import batch as batch_stage
from evergreen.tasks.io.batch import BatchStage, hold_stage, read_parts
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.scoring import describe_batch, plan_batch, score_batch
from tests.support.champions import (
    PER_HOUR,
    TRAINED,
    make_rows,
    run_monitor,
    train_champion,
    use_stores,
    values_of,
    window_entries,
)
from tests.support.training_data import write_yaml

NEW = 12
"""Hours to score, past what the champion has learned from."""


class Killed(BaseException):
    """What nothing catches, as a kill."""


@pytest.fixture
def rows():
    """Rows without their outcome, as they come before anybody knows it."""
    return make_rows(hours=TRAINED + NEW).iloc[TRAINED * PER_HOUR :].drop(columns="y").reset_index(drop=True)


@pytest.fixture
def scoring(monitored, rows, tmp_path, monkeypatch):
    """A model with a champion, and new rows beside it."""
    monkeypatch.chdir(tmp_path)
    rows.to_csv("new.csv", index=False)
    return monitored.setup(make_rows(hours=TRAINED + NEW))


def score(setup, to="out.parquet", source="new.csv", **options):
    return score_batch.fn(setup, plan_batch(setup, to=str(to), source=source, **options))


def logged(setup):
    return setup.stores.log.read_predictions(setup.model, Window()).rows.frame


def test_scores_are_those_of_the_champion_and_each_row_has_an_id(scoring, rows):
    work = score(scoring, keep=["at", "z"])
    out = pd.read_parquet("out.parquet")
    assert ["prediction_id", "at", "z", "score", "decision", "version"] == list(out)
    champion = load_model(scoring, 1)
    features = rows[list(champion.schema.features)]
    expected = champion.estimator.predict_proba(features)[:, 1]
    assert np.allclose(expected, out["score"], rtol=1e-11, atol=0)
    assert champion.estimator.predict(features).tolist() == out["decision"].tolist()
    assert (len(rows), len(rows), 1) == (out["prediction_id"].nunique(), work.written, work.parts)
    assert rows["z"].tolist() == out["z"].tolist()


def test_predictions_are_logged_as_live_ones_are(scoring, rows):
    assert len(rows) == score(scoring).logged
    found = logged(scoring)
    out = pd.read_parquet("out.parquet")
    assert out["score"].tolist() == found["@score"].tolist()
    assert out["decision"].tolist() == found["@decision"].tolist()
    assert {1} == set(found["@version"])
    assert rows["x"].tolist() == found["x"].tolist()


@pytest.mark.parametrize(
    ("private", "how"), [([], "hash"), (["z", "who"], "hash"), (["z", "who"], "leave_out")]
)
def test_entities_are_logged_and_private_columns_are_concealed(scoring, rows, private, how):
    data = scoring.config.data.model_copy(update={"entity": "who", "private": private})
    serving = scoring.config.serving.model_copy(update={"private": how})
    setup = replace(scoring, config=scoring.config.model_copy(update={"data": data, "serving": serving}))
    rows.assign(who=np.arange(len(rows)) % 7).to_csv("new.csv", index=False)
    score(setup)
    found = logged(setup)
    who = set(found["@entity"])
    if private:
        kept = [] if how == "leave_out" else found["z"].tolist()
        assert all(str(value).startswith("h:") for value in [*kept, *who])
        assert 7 == len(who)
        assert (how == "hash") == ("z" in found)
    else:
        assert rows["z"].tolist() == found["z"].tolist()
        assert {str(n) for n in range(7)} == who


def test_whole_numbers_are_logged_alike_from_any_format(scoring, rows):
    whole = rows.assign(x=np.arange(len(rows)) % 5)
    whole.to_csv("whole.csv", index=False)
    whole.astype({"x": float}).to_parquet("whole.parquet")
    assert len(rows) == score(scoring, source="whole.csv").logged
    assert 0 == score(scoring, source="whole.parquet").logged


def test_without_the_log_nothing_is_logged(scoring):
    assert 0 == score(scoring, log=False).logged
    assert logged(scoring).empty


def test_the_same_rows_are_the_same_predictions_in_any_part_order_and_format(scoring, rows):
    first = score(scoring)
    expected = pd.read_parquet("out.parquet")
    again = score(scoring, rows=37)
    assert (0, first.rows, 13) == (again.logged, again.written, again.parts)
    assert expected.equals(pd.read_parquet("out.parquet"))
    rows.iloc[::-1].to_parquet("new.parquet")
    assert 0 == score(scoring, source="new.parquet", to="other.parquet").logged
    other = pd.read_parquet("other.parquet").iloc[::-1].reset_index(drop=True)
    assert expected.equals(other)


def test_other_features_or_another_moment_are_another_prediction(scoring, rows):
    score(scoring)
    rows.assign(x=rows["x"] + 1.0).to_csv("moved.csv", index=False)
    rows.assign(at=rows["at"] + pd.Timedelta("1s")).to_csv("later.csv", index=False)
    assert [len(rows)] * 2 == [score(scoring, source=name).logged for name in ("moved.csv", "later.csv")]


def test_a_run_killed_at_any_step_leaves_no_target_and_is_taken_up(scoring, monkeypatch):
    """Each write of a whole file is a step: five parts and the target; killed before and after its rename."""
    score(scoring, to="whole.parquet", log=False)
    expected = pd.read_parquet("whole.parquet")
    real = batch_stage.write_whole
    for step in range(6):
        for after in (False, True):
            calls = iter(range(99))

            def dying(path, tables, step=step, after=after, calls=calls):
                last = next(calls) == step
                if last and not after:
                    raise Killed
                count = real(path, tables)
                if last:
                    raise Killed
                return count

            with monkeypatch.context() as patch:
                patch.setattr(batch_stage, "write_whole", dying)
                patch.setattr("evergreen.tasks.scoring.write_whole", dying)
                with pytest.raises(Killed):
                    score(scoring, to=f"out{step}{after}.parquet", rows=100)
            there = list(scoring.base.glob(f"out{step}{after}*"))
            assert (step == 5 and after) == bool(there)
            work = score(scoring, to=f"out{step}{after}.parquet", rows=100)
            assert (5, min(step + after, 5)) == (work.parts, work.taken_up)
            assert expected.equals(pd.read_parquet(f"out{step}{after}.parquet"))
    assert [] == list((scoring.settings.home / "scoring").glob("*/part*"))
    assert len(expected) == len(logged(scoring))


def test_a_half_written_file_is_never_under_the_targets_name(scoring, tmp_path, monkeypatch):
    def torn():
        yield batch_stage.pa.table({"a": [1]})
        raise Killed

    with pytest.raises(Killed):
        batch_stage.write_whole(tmp_path / "torn.parquet", torn())
    assert [] == [path.name for path in tmp_path.iterdir() if "torn" in path.name]


def test_a_part_of_other_rows_is_scored_again(scoring, rows, monkeypatch):
    def undelivered(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("evergreen.tasks.scoring.deliver", undelivered)
        with pytest.raises(Killed):
            score(scoring, rows=100)
    rows.loc[150, "x"] += 1.0
    rows.to_csv("new.csv", index=False)
    assert 4 == score(scoring, rows=100).taken_up


def test_a_job_that_another_run_does_is_held(scoring):
    batch = plan_batch(scoring, to="out.parquet", source="new.csv")
    with hold_stage(scoring.settings.home, batch.job), pytest.raises(Blocked):
        score_batch.fn(scoring, batch)


# databases


def table(url, name="scores"):
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return pd.read_sql(sa.text(f"SELECT * FROM {name} ORDER BY prediction_id"), connection)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return (
        f"sqlite:///{tmp_path}/out.db"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )


def test_a_table_is_appended_to_and_repeats_change_nothing(scoring, rows, url):
    assert len(rows) == score(scoring, to=url, to_table="scores", keep=["at", "colour"], rows=100).written
    before = table(url)
    assert 0 == score(scoring, to=url, to_table="scores", keep=["at", "colour"]).written
    assert before.equals(table(url))
    rows.head(10).assign(x=7.0).to_csv("more.csv", index=False)
    assert 10 == score(scoring, source="more.csv", to=url, to_table="scores", keep=["at", "colour"]).written
    assert len(rows) + 10 == len(table(url))


def test_a_repeated_batch_says_that_it_changed_nothing(scoring, rows, tmp_path):
    options = {"to": f"sqlite:///{tmp_path}/out.db", "to_table": "scores", "source": "new.csv"}
    first, again = (
        describe_batch(plan_batch(scoring, **options).job, score(scoring, **options)) for _ in "12"
    )
    assert f"{len(rows)} are new in table 'scores'" in first
    assert "were in table 'scores'" in again
    assert again.endswith("nothing was changed. The log held all of these predictions already.")
    assert "already" not in first


def test_replacing_leaves_this_batch_alone(scoring, rows, url):
    score(scoring, to=url, to_table="scores")
    rows.head(10).to_csv("more.csv", index=False)
    assert 10 == score(scoring, source="more.csv", to=url, to_table="scores", mode="replace").written
    assert 10 == len(table(url))


def test_a_database_gets_all_or_nothing(scoring, rows, url, monkeypatch):
    score(scoring, to=url, to_table="scores")
    real = BatchStage.tables

    def dying(self, count):
        for number, one in enumerate(real(self, count)):
            if number == 3:
                raise Killed
            yield one

    moved = rows.assign(x=0.5)
    moved.to_csv("moved.csv", index=False)
    with monkeypatch.context() as patch:
        patch.setattr(BatchStage, "tables", dying)
        with pytest.raises(Killed):
            score(scoring, source="moved.csv", to=url, to_table="scores", mode="replace", rows=100)
    assert len(rows) == len(table(url))
    work = score(scoring, source="moved.csv", to=url, to_table="scores", mode="replace", rows=100)
    assert (5, len(rows)) == (work.taken_up, work.written)


def test_equal_rows_are_one_prediction_in_a_table_and_two_lines_in_a_file(scoring, rows, tmp_path):
    pd.concat([rows.head(3), rows.head(2)]).to_csv("twice.csv", index=False)
    work = score(scoring, source="twice.csv", to=f"sqlite:///{tmp_path}/out.db", to_table="scores")
    assert (5, 3, 3) == (work.rows, work.written, work.logged)
    assert 5 == score(scoring, source="twice.csv").written


def test_a_table_with_other_columns_is_refused_by_name(scoring, tmp_path):
    url = f"sqlite:///{tmp_path}/out.db"
    score(scoring, to=url, to_table="scores")
    with pytest.raises(DataError, match="Table 'scores' has no column 'z'"):
        score(scoring, to=url, to_table="scores", keep=["z"])


# sources


@pytest.fixture
def sources(rows, tmp_path, monkeypatch):
    """The same rows in every kind of source."""
    monkeypatch.chdir(tmp_path)
    rows.to_csv("a.csv", index=False)
    rows.iloc[:200].to_parquet("b-1.parquet")
    rows.iloc[200:].to_parquet("b-2.parquet")
    engine = sa.create_engine(f"sqlite:///{tmp_path}/in.db")
    rows.to_sql("t", engine, index=False)
    engine.dispose()
    (tmp_path / "made_rows.py").write_text(
        "import pandas\n\ndef rows():\n    yield pandas.read_csv('a.csv', float_precision='round_trip')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return {
        "csv": {"source": "a.csv"},
        "parquet": {"source": "b-*.parquet"},
        "sql": {"source": f"sqlite:///{tmp_path}/in.db", "table": "t"},
        "query": {"source": f"sqlite:///{tmp_path}/in.db", "query": "SELECT * FROM t"},
        "python": {"source": "made_rows:rows"},
    }


def test_every_kind_of_source_gives_the_same_predictions(scoring, rows, sources):
    score(scoring)
    expected = pd.read_parquet("out.parquet").sort_values("prediction_id", ignore_index=True)
    for kind, named in sources.items():
        assert 0 == score(scoring, to=f"{kind}.parquet", rows=64, **named).logged, kind
        found = pd.read_parquet(f"{kind}.parquet").sort_values("prediction_id", ignore_index=True)
        assert expected.equals(found), kind


def test_parts_have_the_rows_that_were_asked_for_whatever_the_source_hands_out(scoring, rows, sources):
    for kind, named in sources.items():
        source = plan_batch(scoring, to="x.parquet", **named).source
        for size in (1000, 200, 64, 1):
            parts = list(read_parts(source, columns=["x"], rows=size, window=Window()))
            assert [size] * (len(parts) - 1) == [len(part) for part in parts[:-1]], kind
            assert rows["x"].tolist() == [x for part in parts for x in part.frame["x"]], kind


def test_a_slice_of_the_clock_is_scored(scoring, rows):
    begin, end = rows["at"].iloc[40], rows["at"].iloc[120]
    assert 80 == score(scoring, since=begin.isoformat(), until=end.isoformat()).rows
    with pytest.raises(NotLearnable, match="There is nothing to score"):
        score(scoring, since="2031-01-01")
    typed = "2026-12-01T00:00:00+00:00 to 2026-11-01T00:00:00+00:00"
    with pytest.raises(InputError, match=re.escape(f"must not end before it starts: {typed}. Swap them.")):
        score(scoring, since="2026-12-01", until="2026-11-01")


def test_the_configured_source_is_the_default(scoring):
    assert (TRAINED + NEW) * PER_HOUR == score(scoring, source=None).rows


def test_another_version_is_scored_by_number_or_alias_and_is_another_prediction(scoring, rows):
    score(scoring)
    scoring.stores.registry.set_alias(scoring.model, "candidate", 1)
    assert 0 == score(scoring, version="1", to="one.parquet").logged
    assert 0 == score(scoring, version="@candidate", to="two.parquet").logged
    with pytest.raises(UnknownName):
        score(scoring, version="9")
    with pytest.raises(UnknownName, match="Unknown version or alias 'canddate'"):
        score(scoring, version="canddate")
    scoring.stores.registry.delete_alias(scoring.model, "champion")
    with pytest.raises(NotLearnable, match="has no champion"):
        score(scoring)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "out.csv"}, "neither a Parquet file nor a database"),
        ({"to": "out"}, "neither a Parquet file nor a database"),
        ({"to": "sqlite:///x.db"}, "name the table with --to-table"),
        ({"to_table": "scores"}, "--to-table needs a database"),
        ({"source": None, "table": "t"}, "are of a --source"),
        ({"at": "2026-01-01"}, "--at is for models without a clock"),
        ({"keep": ["score"]}, "Column 'score' cannot be kept"),
        ({"keep": ["colr"]}, "Did you mean 'colour'"),
        ({"rows": 0}, "Parts of 0 rows"),
        ({"source": "none.csv"}, "no file 'none.csv'"),
        ({"since": "yesterday"}, "yesterday"),
        ({"to": "nosuch://x/y", "to_table": "t"}, "driver"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_written(scoring, options, said):
    with pytest.raises(InputError, match=said):
        score(scoring, **options)
    assert logged(scoring).empty


def test_rows_that_cannot_be_scored_are_named_with_their_column(scoring, rows):
    rows.drop(columns="colour").to_csv("short.csv", index=False)
    with pytest.raises(DataError, match="Column 'colour' is not in"):
        score(scoring, source="short.csv")
    rows["x"] = rows["x"].astype(object)
    rows.loc[5, "x"] = "much"
    rows.to_csv("text.csv", index=False)
    with pytest.raises(DataError, match="Column 'x' should hold numbers"):
        score(scoring, source="text.csv")


# monitoring


def test_batches_are_watched_like_live_predictions(monitored, rows, tmp_path, monkeypatch):
    """The same windows, once from the data and once from the log that batch scoring filled: the same is said."""
    monkeypatch.chdir(tmp_path)
    rows.to_csv("new.csv", index=False)
    data = make_rows(hours=TRAINED + NEW)
    plain = monitored.setup(data)
    direct = run_monitor(plain)
    again = monitored.restarted()
    setup = again.setup(data, monitoring={"source": "log"})
    score(setup)
    seen = run_monitor(setup)
    assert direct.state == seen.state
    counted, expected = ([one["n"] for one in window_entries(each, "inputs")] for each in (setup, plain))
    assert NEW - 1 == len(counted)  # the newest hour ends with a row that has not come
    assert expected[1 - NEW :] == counted


@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_other_problems_have_a_score_a_class_or_one_number(problem, mlflow_template, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = make_rows(problem, hours=90)
    trained = train_champion(tmp_path / "trained", mlflow_template, rows, values_of(problem), ends=(90,))
    use_stores(tmp_path, f"sqlite:///{trained}", monkeypatch)
    setup = open_setup(str(write_yaml(tmp_path, rows, values_of(problem))))
    score(setup, source=None)
    out, found = pd.read_parquet("out.parquet"), logged(setup)
    if problem == "regression":
        assert out["score"].tolist() == out["decision"].tolist() == found["@score"].tolist()
        return
    wide = out[["score_low", "score_mid", "score_top"]]
    assert np.allclose(1.0, wide.sum(axis=1))
    assert wide.idxmax(axis=1).str.removeprefix("score_").tolist() == out["decision"].tolist()
    assert wide["score_top"].tolist() == found["@score:top"].tolist()


@pytest.fixture
def clockless(scoring, rows):
    """The same model under a configuration without a clock."""
    data = scoring.config.data.model_copy(update={"time": None})
    return replace(scoring, config=scoring.config.model_copy(update={"data": data}))


def test_without_a_clock_the_log_needs_a_moment_for_all_rows(clockless, rows):
    with pytest.raises(InputError, match="Add --at MOMENT"):
        score(clockless)
    assert 0 == score(clockless, log=False).logged
    assert len(rows) == score(clockless, at="2026-05-01").logged
    assert 0 == score(clockless, at="2026-05-01", rows=50).logged
    assert len(rows) == score(clockless, at="2026-05-02").logged
