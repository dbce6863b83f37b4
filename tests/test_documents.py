"""What the documents say is true: commands parse, files, targets, keys and defaults exist, examples run."""

import functools
import re
import shlex
import sys

import mlflow
import numpy as np
import pytest
import yaml
from typer.main import get_command

from evergreen.deployments.cli.app import app
from evergreen.deployments.config_docs import CONFIG_DIR
from evergreen.deployments.demo.__main__ import STORY
from evergreen.deployments.deploy import FLOWS, schedules_of
from evergreen.tasks.core.config import ModelConfig, parse_model
from evergreen.tasks.core.config.explain import section_of
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.metrics.registry import metrics_of
from evergreen.tasks.core.registry import import_path
from evergreen.tasks.core.validation.validate import validate_version
from evergreen.tasks.core.verdict import Outcome, State
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.mlflow_store.model_files import load_foreign
from evergreen.tasks.io.mlflow_store.tracking import Tracker
from evergreen.tasks.io.prediction_log.store import Log
from tests.support.servers import ROOT
from tests.support.training_data import binary_context, model_config

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
MANUALS = [ROOT / "README.md", ROOT / "docs" / "guide.md"]
RULES = ROOT / "docs" / "rules.md"
OTHERS = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/install.md",
    "docs/limits.md",
    "docs/monitoring.md",
    "docs/serving.md",
    "docs/traffic.md",
    "docs/rules.md",
    "docs/architecture.md",
)
TEXTS = [*MANUALS, *(ROOT / name for name in OTHERS), *DECISIONS]
SECTIONS = "|".join(
    name for name in ModelConfig.model_fields if section_of(ModelConfig.model_fields[name].annotation)
)
KEY = re.compile(rf"(?:{SECTIONS})(?:\.[a-z0-9_]+)+")
PLACES = re.compile(r"(?:tasks|flows|deployments|config|docs|tests|benchmarks)/[\w./\-]*")
OF_PREFECT = {"train/payments", "validate/payments", "challenge/payments", "reconcile/hourly"}

every_text = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
every_manual = pytest.mark.parametrize("path", MANUALS, ids=lambda path: path.name)


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


def spans(path):
    """Return what stands between backticks, code blocks left out."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", prose)


def typed_commands(path):
    lines = [line for block in blocks(path, "bash") for line in block.splitlines()]
    typed = [words for line in lines if (words := shlex.split(line, comments=True))]
    return [words for words in typed if words[0] == "evergreen"]


@functools.cache
def commands():
    """Return what the command line offers, by name."""
    return get_command(app).commands


def parse(words):
    command = commands()[words[1]]
    return command.make_context(words[1], list(words[2:]))


@every_manual
def test_every_command_in_a_code_block_parses(path):
    found = typed_commands(path)
    assert len(found) > 5
    for words in found:
        parse(words)


def test_a_misspelt_option_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        parse(["evergreen", "train", "payments", "--untill", "2026-01-01"])


@every_text
def test_every_command_named_in_a_sentence_exists(path):
    known = commands()
    for words in (span.split() for span in spans(path) if span.startswith("evergreen ")):
        assert words[1] in known, words
        if len(words) > 2:
            parse(words)


def test_the_guide_names_each_deployment_that_has_a_schedule_and_no_other():
    text = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    section = text.partition("## Servers and schedules")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w-]+)/payments`", section.partition("```\n\n")[2]))
    config = model_config(promotion={"evidence": "ab"})
    assert {
        stage for stage, (entrypoint, _) in FLOWS.items() if schedules_of(stage, entrypoint, config)
    } == named


def test_the_readme_or_the_guide_shows_every_command():
    shown = {words[1] for path in MANUALS for words in typed_commands(path)}
    assert set(commands()) <= shown


@every_text
def test_every_make_target_exists(path):
    known = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    shown = [*spans(path), *(line for block in blocks(path, "bash") for line in block.splitlines())]
    named = {name for text in shown for name in re.findall(r"^make ([a-z][a-z-]*)", text)}
    assert set() == named - known


@every_text
def test_every_file_named_exists(path):
    for span in spans(path):
        if span not in OF_PREFECT and PLACES.fullmatch(span):
            assert (ROOT / span).exists(), span


@every_text
def test_every_link_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        place, _, anchor = link.partition("#")
        assert "://" in link or (path.parent / place).exists(), link
        assert place or anchor in anchors, link


@every_text
def test_every_configuration_key_named_exists(path):
    for span in spans(path):
        if found := KEY.match(span):
            default_of(found[0])


def default_of(key):
    """Return a key's default as base.yaml has it; fail when no section knows it."""
    section = ModelConfig
    for part in key.split("."):
        assert section is not None, key
        assert part in section.model_fields, key
        field = section.model_fields[part]
        section = section_of(field.annotation)
    value = field.get_default(call_default_factory=True)
    return value if isinstance(value, (bool, int, float, dict, list, type(None))) else str(value)


@pytest.mark.parametrize("path", [*MANUALS, RULES], ids=lambda path: path.name)
def test_defaults_in_tables_are_the_real_ones(path):
    rows = re.findall(rf"^\| `({KEY.pattern})` \| `([^`]+)` \|", path.read_text(encoding="utf-8"), re.M)
    assert len(rows) > 15 or path != RULES
    assert {key: default_of(key) for key, _ in rows} == {key: yaml.safe_load(text) for key, text in rows}


@functools.cache
def code_in(*folders):
    """Return the text of all Python files in some folders."""
    return "".join(file.read_text() for folder in folders for file in (ROOT / folder).rglob("*.py"))


@every_text
def test_environment_variables_named_are_read_somewhere(path):
    code = code_in("tasks", "deployments")
    for name in re.findall(r"\bEVERGREEN_[A-Z_]+\b", path.read_text(encoding="utf-8")):
        assert f'"{name}"' in code, name


def test_the_readme_is_short():
    assert 200 >= len(MANUALS[0].read_text(encoding="utf-8").splitlines())


def test_the_readme_shows_the_demo_that_there_is():
    output = next(block for block in blocks(MANUALS[0], "text") if "Train the first model" in block)
    assert all(len(line) <= 80 for line in output.splitlines())
    shown = re.findall(r"^ ?\d+/\d+  (.+): \w+$", output, re.M)
    assert [chapter.title for chapter in STORY] == shown


def test_the_guide_tells_what_to_do_in_every_state():
    told = re.findall(r"^\| ([A-Z]\w+) \|", MANUALS[1].read_text(encoding="utf-8"), re.M)
    assert {state.value for state in State} == set(told)


def test_reasons_in_the_guide_are_said_by_the_code():
    code = code_in("tasks")
    table = MANUALS[1].read_text(encoding="utf-8").split("## Reasons that come up")[1].split("\n## ")[0]
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.M)))
    assert named
    built = {"below_persistence": "below_{kind}"}  # by the baseline's kind
    for name in named:
        assert built.get(name, f'"{name}"') in code, name


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_short_whole_and_listed(path):
    text = path.read_text(encoding="utf-8")
    assert 40 >= len(text.splitlines())
    assert all(
        part in text for part in ("\nStatus: ", "\n## Context\n", "\n## Choice\n", "\n## Consequences\n")
    )
    assert "\n- Good: " in text
    assert "\n- Bad: " in text
    title = re.match(r"# (\d{4}) (.+)\n", text)
    line = f"| [{title[1]}]({path.name}) | {title[2]} |"
    assert line in (path.parent / "README.md").read_text(encoding="utf-8").splitlines()


def examples(language, *, containing):
    return next(block for block in blocks(MANUALS[1], language) if containing in block)


def test_configurations_of_the_guide_are_read_without_an_error():
    minimal = yaml.safe_load((CONFIG_DIR / "payments.yaml").read_text())
    found = blocks(MANUALS[1], "yaml")
    assert 4 == len(found)
    for block in found:
        parse_model({"model": "example", **minimal, **yaml.safe_load(block)}, origin="docs/guide.md")


@pytest.fixture
def team(tmp_path, monkeypatch):
    """Lay the guide's Python examples down as a team would."""
    for block in blocks(MANUALS[1], "python"):
        file = tmp_path / re.match(r"# (\S+)\n", block)[1]
        file.parent.mkdir(exist_ok=True)
        file.write_text(block)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("team", "elsewhere", "serve")]:
        del sys.modules[name]


def test_the_guides_metric_decides(team):
    config = model_config(evaluation=yaml.safe_load(examples("yaml", containing="top_percent"))["evaluation"])
    scored = binary_context(400).scored
    metric = metrics_of(config, custom=custom_metrics(config))[0]
    best = np.argsort(-scored.score, kind="stable")[:4]
    assert ("top_percent", True, scored.y[best].mean()) == (metric.name, metric.bounded, metric(scored))
    assert np.isnan(metric(scored.take(scored.y == 0)))


@pytest.mark.parametrize(("limit", "expected"), [(0.2, Outcome.FAIL), (0.9, Outcome.PASS)])
def test_the_guides_gate_rejects_what_calls_too_much(team, limit, expected):
    config = model_config(validation=yaml.safe_load(examples("yaml", containing="team.gates"))["validation"])
    paths = config.validation.gates
    gates = {path: import_path(path, key="validation.gates") for path in paths}
    sys.modules["team.gates"].LIMIT = limit
    context = binary_context(2000, config=config)
    decision = validate_version(context, gates=gates, rng=np.random.default_rng(0))
    outcomes = {check.name: check.verdict.outcome for check in decision.checks}
    assert {"team.gates:few_enough_alarms": expected} == {path: outcomes[path] for path in paths}
    assert ("alarms" in [reason.code for reason in decision.verdict.reasons]) == (expected is Outcome.FAIL)


def test_the_guides_foreign_model_can_be_brought_in(team, mlflow_uri, monkeypatch):
    monkeypatch.chdir(team)  # MLflow's default experiment keeps its files in the current folder
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)  # MLflow sets it too; this takes it back afterwards
    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.set_experiment(
        "Default"
    )  # an earlier test of this process may have left another store's experiment
    context = binary_context(200)
    features = context.holdout.frame[["x", "z"]]
    uri = import_path("elsewhere:log_elsewhere", key="the guide")(features, context.scored.y)
    foreign = load_foreign(uri, tracker=Tracker(mlflow_uri), config=model_config())
    assert ("x", "z") == foreign.inputs
    assert (len(features), 2) == foreign.predict_proba(features).shape


def test_the_guides_answers_reach_the_log(team):
    log = Log(f"sqlite:///{team / 'log.db'}")
    served = import_path("serve.answers:log_answer", key="the guide")
    came_true = import_path("serve.answers:log_outcome", key="the guide")
    asked = {"model": "payments", "name": "p-1"}
    assert 1 == served(log, **asked, features={"amount": 12.5}, score=0.8, decision=1, version=3)
    assert 1 == came_true(log, **asked, outcome=1)
    rows = log.read_predictions("payments", Window(), target="fraud").rows
    assert {
        "amount": 12.5,
        "fraud": 1,
        "@score": 0.8,
        "@decision": 1,
        "@version": 3,
    }.items() <= rows.frame.iloc[0].to_dict().items()
