"""Typical changes from outside, as docs/extending.md writes them: each touches as many files as the house allows."""

import re
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from mlflow import MlflowClient
from prefect import flow
from prefect.client.orchestration import get_client

from evergreen.deployments import cli
from evergreen.deployments.cli.app import build_app
from evergreen.deployments.deploy import find_flows, schedules_of
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.data.strategy import training_start
from evergreen.tasks.core.drift.columns import measure_columns
from evergreen.tasks.core.drift.fixed_thresholds import read_measures
from evergreen.tasks.core.drift.measures import CellCounts
from evergreen.tasks.core.drift.policy import drift_policy, shown_measures
from evergreen.tasks.core.drift.types import DriftKind, Level
from evergreen.tasks.core.errors import ConfigError, UnknownName
from evergreen.tasks.core.metrics.registry import metrics_of
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.core.registry import DRIFT_MEASURES, GATES, STRATEGIES, TRIGGERS
from evergreen.tasks.core.retraining.decide import decide_retrain
from evergreen.tasks.core.retraining.history import RetrainHistory
from evergreen.tasks.core.retraining.types import Labels, Moment, RetrainingRequest, retrain_policy
from evergreen.tasks.core.training.estimators import build_pipeline, load_estimator_class
from evergreen.tasks.core.training.weights import training_weights
from evergreen.tasks.core.validation.gate import configured_gates
from evergreen.tasks.core.validation.validate import judge_gates
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.compare_files import compare_files
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.mlflow_store.model_files import load_skops, types_to_trust
from evergreen.tasks.io.plugins import OUTCOME_SOURCES, offer_plugins
from evergreen.tasks.io.prediction_log.records import KnownOutcome, Prediction
from evergreen.tasks.io.sources.base import detect_format
from evergreen.tasks.io.sources.open import open_source
from evergreen.tasks.io.windows import LogWindows
from evergreen.tasks.runtime.publish import Artifact, log_team_artifacts, show
from tests.house import ROOT
from tests.support.champions import ModelStores
from tests.support.memory_stores import MemoryLog
from tests.support.training_data import binary_context, model_config

PAGES = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("extending.md", "connecting.md")]
PAGE = "\n".join(PAGES)
BLOCKS = re.compile(r"^## (?P<title>[^\n]+)\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"```python\n# (?P<file>[\w/]+\.py)\n(?P<code>.*?)```", re.DOTALL)
YAML = re.compile(r"```yaml\n(?P<text>.*?)```", re.DOTALL)


class Door:
    """One section of the page: its modules, written to a folder that Python finds, and its keys."""

    def __init__(self, title, folder):
        text = next(found["text"] for found in BLOCKS.finditer(PAGE) if found["title"] == title)
        self.files = {found["file"]: found["code"] for found in CODE.finditer(text)}
        self.keys = yaml.safe_load(YAML.search(text)["text"]) if YAML.search(text) else {}
        for name, code in self.files.items():
            (folder / name).write_text(code, encoding="utf-8")


@pytest.fixture
def door(tmp_path, monkeypatch):
    """Open a section of the page by its title; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield lambda title: Door(title, tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("team_"):
            del sys.modules[name]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package that registers modules of the page by entry points."""

    def install(group, name, value):
        info = tmp_path / "acme-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
        monkeypatch.syspath_prepend(str(tmp_path / "nothing"))
        monkeypatch.syspath_prepend(str(tmp_path))
        offer_plugins()

    yield install
    monkeypatch.undo()
    offer_plugins()


@pytest.fixture
def stores(prefect_server, mlflow_uri, tmp_path, monkeypatch):
    """Open a model on stores and a server of the test's own."""
    return ModelStores(tmp_path, mlflow_uri, monkeypatch)


def test_a_metric_is_one_file(door):
    own = door("A metric")
    config = model_config(evaluation={**own.keys["evaluation"], "metric": "hit_rate"})
    deciding = metrics_of(config, custom=custom_metrics(config))[0]
    scored = binary_context().scored
    assert (len(own.files), deciding.name) == (1, "hit_rate")
    assert float((scored.label == scored.y).mean()) == deciding(scored)


def test_a_gate_is_one_file(door):
    own = door("A gate")
    config = model_config(**own.keys)
    decision = judge_gates(binary_context(config=config), gates=configured_gates(config))
    assert (len(own.files), decision.state) == (1, State.REJECTED)
    assert ["too_many_alarms"] == [reason.code for reason in decision.verdict.reasons]


def test_a_gate_of_a_team_says_which_of_its_options_is_unknown(door):
    door("A gate")
    config = model_config(validation={"gates": [{"team_gates:alarm_rate": {"mots": 0.2}}]})
    with pytest.raises(ConfigError, match=r"Unknown key 'mots'.*Did you mean 'most'"):
        judge_gates(binary_context(config=config), gates=configured_gates(config))


def test_a_gate_of_a_package_is_used_by_its_name(door, package):
    door("A gate")
    package("evergreen.gates", "few_alarms", "team_gates:alarm_rate")
    config = model_config(validation={"gates": [{"few_alarms": {"most": 0.2}}]})
    decision = judge_gates(binary_context(config=config), gates=configured_gates(config))
    assert ["too_many_alarms"] == [reason.code for reason in decision.verdict.reasons]


def test_a_metric_of_a_package_is_used_by_its_name(door, package, tmp_path):
    door("A metric")
    made = (
        "from evergreen.tasks.core.metrics.base import custom_metric\nfrom team_metrics import hit_rate\n"
        "metric = custom_metric('hit_rate', hit_rate, greater_is_better=True, bounded=True)\n"
    )
    (tmp_path / "team_offer.py").write_text(made)
    package("evergreen.metrics", "hits", "team_offer:metric")
    assert "hits" == metrics_of(model_config(evaluation={"metric": "hits"}))[0].name


def test_a_gate_that_nobody_registered_is_named_with_what_is_known():
    with pytest.raises(
        ConfigError, match=r"'leakge' for 'validation.gates.*did you mean 'leakage'.*known are 'base"
    ):
        model_config(validation={"gates": ["leakge"]})


def test_a_package_that_takes_the_name_of_a_built_in_gate_is_refused(door, package):
    door("A gate")
    package("evergreen.gates", "rows", "team_gates:alarm_rate")
    with pytest.raises(ConfigError, match="A package offers the gate 'rows'"):
        configured_gates(model_config(validation={"gates": ["rows"]}))


def compared(config, moved):
    """Measure a column whose rows moved by a share against its reference."""
    before = pd.DataFrame({"x": np.arange(1000.0)})
    stay = np.linspace(0, 999, 1000 - moved).round()
    after = pd.DataFrame({"x": np.r_[np.zeros(moved), stay]})
    grid = make_grid(before, categorical=frozenset())
    pair = [measure_profile(frame, grid) for frame in (before, after)]
    return measure_columns(*pair, measures=shown_measures(config))


def test_a_drift_measure_is_shown_and_decides_by_one_file(door):
    own = door("A drift measure")
    config = model_config(**own.keys)
    policy = drift_policy(config)
    (measure,) = compared(config, 100)
    assert (len(own.files), 0.09) == (1, pytest.approx(measure.to_dict()["team_drift:Largest"], abs=0.02))
    (small,) = read_measures(compared(config, 50), (DriftKind.DATA,), policy)
    (large,) = read_measures(compared(config, 130), (DriftKind.DATA,), policy)
    assert (small.level, large.level) == (Level.QUIET, Level.DRIFT)
    assert (large.moved.signal, large.moved.limit) == ("team_drift:Largest", 0.1)


def test_a_drift_measure_without_a_level_decides_nothing(door):
    door("A drift measure")
    config = model_config(drift={"policy": "fixed_thresholds", "measures": ["team_drift:Largest"]})
    assert {} == drift_policy(config).criticals
    assert "team_drift:Largest" in compared(config, 100)[0].to_dict()


def test_a_level_of_a_built_in_measure_is_a_key_that_its_registration_makes():
    config = model_config(drift={"policy": "fixed_thresholds", "kl_critical": 0.1})
    assert {"kl": 0.1} == drift_policy(config).criticals


def test_no_other_file_names_the_divergences_that_are_registered():
    named = re.compile(r"['\"](kl|js)(_critical)?['\"]|\b(one|measure|drift|column)\.(kl|js)\b")
    files = [
        path for path in (ROOT / "tasks").rglob("*.py") if named.search(path.read_text(encoding="utf-8"))
    ]
    assert [ROOT / "tasks" / "core" / "drift" / "measures.py"] == files


@pytest.mark.parametrize("name", ["kl", "js", "hellinger"])
def test_what_a_measure_exceeds_by_chance_it_exceeds_once_in_twenty(name):
    rng = np.random.default_rng(7)
    counts = [rng.multinomial(2000, np.full(10, 0.1), size=4000).astype(float) for _ in range(2)]
    cells = CellCounts(reference=counts[0], current=counts[1], exist=np.ones((4000, 10), dtype=bool))
    measure = DRIFT_MEASURES.get(name)
    assert (measure.statistic(cells) > measure.null(cells)).mean() == pytest.approx(0.05, abs=0.015)


NOW = datetime(2026, 4, 20, tzinfo=UTC)


def asked(config, *, champion_since):
    request = RetrainingRequest(champion_since=champion_since, labels=Labels(positions=np.arange(500.0)))
    return decide_retrain(Moment(at=NOW), RetrainHistory(), request, retrain_policy(config))


def test_a_trigger_is_one_file(door):
    own = door("A trigger of retraining")
    config = model_config(**own.keys)
    started = asked(config, champion_since=NOW - timedelta(days=60))
    assert (len(own.files), started.starts) == (1, True)
    assert [("team_triggers:season", "The season's first day is 2026-04-01.")] == [
        (reason.code, reason.message) for reason in started.reasons
    ]
    waits = asked(config, champion_since=NOW - timedelta(days=3))
    assert not waits.starts
    assert "The season's first day is 2027-04-01" in waits.reasons[0].message


def test_a_trigger_that_is_not_known_is_said_when_the_configuration_is_read():
    with pytest.raises(ConfigError, match=r"'peridic'.*it is no trigger .did you mean 'periodic'"):
        model_config(retraining={"triggers": ["peridic"]})


def test_a_strategy_is_one_file(door):
    own = door("A strategy of retraining")
    config = model_config(data={"time": "t", "clock": "rows"}, **own.keys)
    frame = pd.DataFrame({"x": np.arange(4000.0), "y": 1})
    rows = Rows(frame, np.arange(4000.0))
    weights = training_weights(
        rows, np.ones(4000), schema=Schema(target="y", numeric=("x",)), config=config, class_weights=False
    )
    assert (len(own.files), 2.0) == (1, pytest.approx(weights[-1] / weights[0]))
    assert 3000.0 == training_start(np.arange(4000.0), end=4000.0, config=config)


@pytest.mark.parametrize(
    ("key", "value", "known"), [("weighted", "recncy", "recency"), ("window", "fulll", "full")]
)
def test_a_strategy_that_is_not_known_is_said_when_the_configuration_is_read(key, value, known):
    with pytest.raises(ConfigError, match=rf"'{value}'.*it is no strategy .did you mean '{known}'"):
        model_config(retraining={key: value})


def test_a_strategy_for_the_other_key_is_refused():
    with pytest.raises(ConfigError, match=r"'recency' says nothing for retraining.window"):
        training_start(np.arange(9.0), end=9.0, config=model_config(retraining={"window": "recency"}))


def test_a_data_source_is_one_file(door):
    own = door("A data source")
    opened = open_source(model_config(**own.keys), base=ROOT)
    assert (len(own.files), ["amount", "year", "y"]) == (1, opened.columns())
    assert [2026] == opened.read(columns=["year"])["year"].unique().tolist()


def test_a_source_of_a_package_is_opened_by_its_scheme_for_models_and_for_drift(door, package):
    door("A data source")
    package("evergreen.sources", "orders", "team_sources:orders")
    opened = open_source(model_config(data={"source": "orders://2025", "target": "y"}), base=ROOT)
    assert 300 == len(opened.read())
    drift = compare_files("orders://2025", "orders://2026").drift
    assert ["year"] == [one.column for one in drift.drifted]


def test_a_kind_of_source_that_nobody_registered_is_named_with_what_is_known():
    with pytest.raises(UnknownName, match=r"Unknown kind of source 'parqet'.*Did you mean 'parquet'"):
        open_source(model_config(data={"source": "x", "target": "y", "format": "parqet"}), base=ROOT)


STUMPS = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class Stump(ClassifierMixin, BaseEstimator):
    def __init__(self, depth=1):
        self.depth = depth

    def fit(self, x, y):
        self.classes_, self.cut_ = np.unique(y), float(np.nanmedian(x))
        return self

    def predict_proba(self, x):
        high = np.nan_to_num(np.asarray(x)[:, 0]) > self.cut_
        return np.column_stack([1.0 - high, high])

    def predict(self, x):
        return self.classes_[self.predict_proba(x).argmax(axis=1)]
"""


def test_a_model_library_is_one_row(door, tmp_path):
    (tmp_path / "stumplib.py").write_text(STUMPS, encoding="utf-8")
    own = door("A model library")
    config = model_config(**own.keys)
    frame = pd.DataFrame({"x": [1.0, np.nan, 3.0, 4.0]})
    schema = Schema(target="y", numeric=("x",))
    (candidate,) = config.training.candidates
    model = build_pipeline(candidate, schema, config).fit(frame, [0, 0, 1, 1])
    assert (len(own.files), 2) == (1, model.named_steps["model"].depth)
    assert ["float", "finite"] == [name for name, _ in model.named_steps["columns"].transformers[0][1].steps]
    assert "stumplib.Stump" in types_to_trust(model, allow=config.training.allow)
    (tmp_path / "model.skops").write_bytes(skops.io.dumps(model))
    loaded = load_skops(tmp_path / "model.skops", allow=config.training.allow)
    assert model.predict(frame).tolist() == loaded.predict(frame).tolist()


def test_an_estimator_of_a_library_without_a_row_is_refused(door, tmp_path):
    (tmp_path / "stumplib.py").write_text(STUMPS, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'stumplib.Stump' is not allowed"):
        load_estimator_class("stumplib.Stump")


def test_an_outcome_source_is_one_file_and_its_outcomes_are_joined_by_prediction(door):
    own = door("An outcome source")
    config = model_config(data={"clock": "seconds", "time": "t"}, **own.keys)
    log = MemoryLog()
    served = [
        Prediction(prediction_id=str(n), position=float(n), features={"x": n}, score=0.5) for n in range(20)
    ]
    log.append_predictions(config.model, served, at=NOW)
    log.append_outcomes(config.model, [KnownOutcome(prediction_id="3", outcome=0, known_at=15.0)], at=NOW)
    rows = LogWindows(log, config).read(Window(0.0, 10.0))
    assert (len(own.files), [1] * 10) == (1, rows.frame["y"].tolist())
    assert [0.0] * 10 == rows.frame["@known_at"].tolist()
    by_log = model_config(data={"clock": "seconds", "time": "t"}, monitoring={"source": "log"})
    assert 1 == LogWindows(log, by_log).read(Window(0.0, 10.0)).frame["y"].notna().sum()


class Written:
    """A tracker that keeps what it is handed."""

    def __init__(self):
        self.items = []

    def write_items(self, run_id, items):
        self.items += items


def test_what_a_team_logs_beside_a_stage_is_one_file(door):
    own = door("What a stage logs besides its own")
    context, tracker = binary_context(config=model_config(**own.keys)), Written()
    wrong = log_team_artifacts(
        tracker, "run", config=context.config, stage="validate", context=context, decision=None
    )
    assert (len(own.files), []) == (1, wrong)
    assert ["team/holdout.json", "team/note.txt"] == [item.path for item in tracker.items]
    assert context.scored.y.tolist() == tracker.items[0].columns["y"]


def test_a_team_function_that_fails_is_a_warning(door):
    door("What a stage logs besides its own")
    config = model_config(artifacts=["team_artifacts:holdout", "team_artifacts:absent"])
    wrong = log_team_artifacts(Written(), "run", config=config, stage="validate")
    assert ["KeyError", "ConfigError"] == [text.split(": ")[1] for text in wrong]


@pytest.mark.server
def test_a_report_is_one_file_shown_in_prefect_and_kept_in_mlflow(door, stores):
    own, setup = door("A report"), stores.setup()
    setup.stores.registry.ensure_model(setup.model, description="")
    report_roles = flow(import_module("team_report").report_roles, persist_result=False)
    run = report_roles(str(setup.path))
    shown = f"# Who serves {setup.model}\nChampion: None. Next in line: None.\n"
    client = MlflowClient(setup.settings.tracking_uri)
    assert (len(own.files), "roles") == (1, client.get_run(run["run_id"]).data.tags["evergreen.stage"])
    assert ["roles.json", "roles.md"] == sorted(file.path for file in client.list_artifacts(run["run_id"]))
    with get_client(sync_client=True) as prefect:
        artifacts = {artifact.key: artifact for artifact in prefect.read_latest_artifacts()}
    assert (shown, "Who serves") == (
        artifacts[f"roles-{setup.model}"].data,
        artifacts[f"roles-{setup.model}"].description,
    )
    assert f"roles-{setup.model}-run" not in artifacts, "a store without pages has none to link to"


@pytest.mark.server
def test_a_report_links_to_its_run_where_the_store_has_pages(stores):
    setup = stores.setup()
    page = Artifact("audit-{model}", "Audit", lambda run_url: f"see {run_url}")
    link = Artifact("audit-{model}-run", link="The audit")
    flow(persist_result=False)(lambda: show(setup.model, page, link, run_url="http://pages/1"))()
    with get_client(sync_client=True) as prefect:
        artifacts = {artifact.key: artifact.data for artifact in prefect.read_latest_artifacts()}
    assert "see http://pages/1" == artifacts[f"audit-{setup.model}"]
    assert "[The audit](http://pages/1)" == artifacts[f"audit-{setup.model}-run"]


@pytest.fixture
def flow_file(tmp_path, monkeypatch):
    """Write the flow of the page to a folder of flows; return that folder, the package ``team_flows``."""
    folder = tmp_path / "team_flows"
    folder.mkdir()
    own = Door("A flow", folder)
    assert ["audit.py"] == list(own.files)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("team_flows")]:
        del sys.modules[name]


def test_a_flow_is_found_with_its_schedule_by_its_file_alone(flow_file):
    found = find_flows(flow_file, package="team_flows")
    assert {"audit": ("team_flows.audit.audit", "Say who serves.")} == found
    (weekly,) = schedules_of("audit", found["audit"][0], model_config())
    assert ("audit", timedelta(days=7), True) == (weekly.slug, weekly.schedule.interval, weekly.active)
    (off,) = schedules_of("audit", found["audit"][0], model_config(monitoring={"run_mode": "disabled"}))
    assert not off.active


@pytest.mark.server
def test_a_flow_ends_in_a_state_of_its_own_that_the_ledger_keeps(flow_file, stores):
    setup = stores.setup()
    setup.stores.registry.ensure_model(setup.model, description="")
    state = import_module("team_flows.audit").audit(str(setup.path), return_state=True)
    assert ("Audited", "Champion: None.") == (state.name, state.message)
    entry = setup.stores.ledger.last(setup.model, "decisions")
    stored = StageResult.from_dict(entry.payload)
    assert ("audit", "Audited") == (entry.kind, stored.state.value)
    assert stored.state is State("Audited")
    assert "Audited" not in set(State)
    with pytest.raises(ValueError, match="'Auditted' is not a valid State"):
        StageResult.from_dict({**entry.payload, "state": "Auditted"})


def test_a_page_of_examples_can_be_read_at_once():
    assert all(page.count("\n") <= 150 for page in PAGES)


COMMAND = """
def add_commands(app):
    @app.command()
    def audit(model: str) -> None:
        \"\"\"Say who asked for what.\"\"\"
        print(f"audited {model}")
"""


def test_a_command_is_found_by_its_file_alone(tmp_path, monkeypatch):
    (tmp_path / "team_audit.py").write_text(COMMAND, encoding="utf-8")
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    whole = build_app()
    names = [command.name or command.callback.__name__ for command in whole.registered_commands]
    assert ("train" in names, "audit") == (True, names[-1])
    del sys.modules["evergreen.deployments.cli.team_audit"], cli.team_audit


def test_a_scheme_that_a_package_reads_is_its_own(package):
    package("evergreen.sources", "made", "team_rows:MadeLoader")
    assert "made" == detect_format("made://2025")


def test_a_scheme_that_nothing_knows_is_called_so():
    with pytest.raises(ConfigError, match="'maed://…' is of no kind that is known here"):
        detect_format("maed://2025")
    assert ["sql", "sql"] == [detect_format(f"{one}://host/db") for one in ("postgresql+psycopg", "sqlite")]


def test_a_package_whose_import_fails_is_named(package, tmp_path):
    (tmp_path / "broken_gates.py").write_text("raise RuntimeError('no licence')")
    package("evergreen.gates", "broken", "broken_gates:gate")
    with pytest.raises(ConfigError, match=r"'broken' in evergreen.gates.*RuntimeError: no licence"):
        GATES.get("broken")


def test_a_drift_measure_that_nobody_registered_is_named_when_the_configuration_is_read():
    with pytest.raises(ConfigError, match=r"'hellingr' for 'drift.measures.*did you mean 'hellinger'"):
        model_config(drift={"measures": ["hellingr"]})


def nothing(_):
    """Stand for what a team plugs in without options."""


@pytest.mark.parametrize(
    ("where", "call"),
    [
        (
            "validation.gates: mine",
            lambda most: replace(GATES.read("mine", nothing), options=most)(binary_context()),
        ),
        ("retraining.triggers: mine", lambda most: TRIGGERS.read("mine", nothing)(None, most)),
        ("retraining.window: full", lambda most: STRATEGIES.get("full").call("start", None, options=most)),
        ("monitoring.outcomes: mine", lambda most: OUTCOME_SOURCES.read("mine", nothing).ask(None, most)),
    ],
)
def test_options_of_what_takes_none_are_refused(where, call):
    with pytest.raises(ConfigError, match=f"{where} takes no options. Write its name alone."):
        call({"most": 1})
