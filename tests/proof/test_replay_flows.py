"""The same history through the real flows, on a real server with a stopped clock, and through a replay."""

import pytest
import yaml

from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.settings import FROZEN
from tests.support.commands import command, machine
from tests.support.replays import begin_small, history_frame, place_of, replay_config, replayed

pytestmark = [pytest.mark.proof, pytest.mark.server, pytest.mark.timeout(1800)]
START, DAYS = 26, 36


@pytest.fixture
def stores(prefect_server, mlflow_template, tmp_path):
    with machine(tmp_path / "home", mlflow_template) as opened:
        yield opened


def lay_down(folder, frame, config):
    frame.to_csv(folder / "rows.csv", index=False)
    path = folder / "tested.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


@pytest.mark.parametrize(("seed", "flip"), [(1, 2), (4, 2), (2, None)])
def test_live_flows_and_replay_decide_the_same(stores, tmp_path, monkeypatch, seed, flip):
    frame = history_frame(days=START + DAYS, seed=seed, flip=None if flip is None else START + flip)
    config = replay_config(contract={"enabled": False}, monitoring={"report_rows": 0})
    beginning = begin_small(frame, config, start=place_of(START))
    steps = replayed(beginning).policies[0].steps
    path = lay_down(tmp_path, frame, config)
    first = as_of(beginning.start, monkeypatch)
    for verb, options in (("train", ("--until", first)), ("validate", ()), ("challenge", ("--until", first))):
        answer = command(verb, path, *options)
    assert "Promoted" == answer.state
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        now = as_of(step.step, monkeypatch)
        looked = command("monitor", path, "--to", now)
        assert looked.exit_code == 0
        found = command("retrain", path, "--trigger", "schedule", "--until", now)
        assert (now, step.decision["outcome"]) == (now, found.json["outcome"])
        assert (now, step.decision["causes"]) == (now, found.json["causes"])
        if step.state is not None:
            assert (now, step.state.value, step.made) == (now, found.state, found.json["version"])
        champion = stores.registry.aliases(config.model)["champion"]
        assert after is None or after.version == champion
    made = {step.state for step in steps} - {None}
    assert (State.PROMOTED in made) == (flip is not None)


def as_of(step, monkeypatch):
    """Stop the clock at a step and return its moment as text."""
    monkeypatch.setenv(FROZEN, step.at.isoformat())
    return format_position(step.until, clock="timestamp")
