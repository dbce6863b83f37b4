"""States: Evergreen's own, and those that a flow declares."""

import copy
import pickle

import pytest

from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.verdict import StageResult, State


def test_a_stored_state_that_nothing_declared_raises():
    stored = StageResult(state=State.CHAMPION_KEPT, model="fraud").to_dict()
    with pytest.raises(ValueError, match="'ChampionKeptt' is not a valid State"):
        StageResult.from_dict({**stored, "state": "ChampionKeptt"})


def test_a_state_that_was_declared_is_one_and_the_same_wherever_it_is_read():
    inspected = State.declare("Inspected")
    stored = StageResult(state=inspected, model="fraud").to_dict()
    copies = [StageResult.from_dict(stored).state, State.declare("Inspected"), State("Inspected")]
    copies += [copy.deepcopy(inspected), pickle.loads(pickle.dumps(inspected))]
    assert all(one is inspected for one in copies)
    assert ("Inspected", "Inspected") == (stored["state"], str(inspected))
    assert State.declare("Trained") is State.TRAINED


@pytest.mark.parametrize("name", ["audited", "Two Words", "V2", "A", "", "Held"])
def test_a_name_that_could_not_be_read_back_is_no_state(name):
    with pytest.raises(ConfigError, match=f"'{name}' is no name for a state"):
        State.declare(name)
