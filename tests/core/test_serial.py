"""Structs that serialise themselves; what earlier code stored is read, and written again, to the byte."""

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evergreen.tasks.core.promotion.ledger import canonical_json
from evergreen.tasks.core.serial import Struct, from_plain, to_plain

STORED = json.loads(Path(__file__).with_name("stored_structs.json").read_text(encoding="utf-8"))


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Part(Struct):
    code: str
    n: int | None = field(default=None, metadata={"sparse": True})


@dataclass(frozen=True, kw_only=True, eq=False)
class Whole(Struct):
    also = ("loud",)
    name: str = field(metadata={"key": "label"})
    colour: Colour
    part: Part = field(metadata={"flat": True})
    parts: tuple[Part, ...] = ()
    by_colour: dict[Colour, Part] = field(default_factory=dict)
    at: datetime | None = None
    held: timedelta = timedelta()
    worth: float = 0.0
    grid: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    text: str = field(default="", metadata={"write": str.upper, "read": str.lower})
    nick: str | None = field(default=None, metadata={"write": str.upper, "read": str.lower})
    here: int = field(default=0, metadata={"stored": False})

    @property
    def loud(self) -> str:
        return self.name.upper()


WHOLE = Whole(
    name="a",
    colour=Colour.RED,
    part=Part(code="x", n=3),
    parts=(Part(code="y"),),
    by_colour={Colour.RED: Part(code="z")},
    at=datetime(2026, 1, 2, tzinfo=UTC),
    held=timedelta(minutes=2),
    worth=math.nan,
    grid=np.array([1.0, math.inf]),
    text="abc",
    here=7,
)
PLAIN = {
    "label": "a",
    "colour": "red",
    "code": "x",
    "n": 3,
    "parts": [{"code": "y"}],
    "by_colour": {"red": {"code": "z"}},
    "at": "2026-01-02T00:00:00+00:00",
    "held": 120.0,
    "worth": None,
    "grid": [1.0, None],
    "text": "ABC",
    "nick": None,
    "loud": "A",
}


def test_fields_are_written_by_their_types_and_metadata():
    assert PLAIN == WHOLE.to_dict()
    assert all(type(key) is str for key in WHOLE.to_dict()["by_colour"])


def test_what_was_written_is_read_back():
    again = Whole.from_dict(PLAIN)
    assert PLAIN == again.to_dict()
    assert (Colour.RED, WHOLE.at, WHOLE.held, "abc", 0) == (
        again.colour,
        again.at,
        again.held,
        again.text,
        again.here,
    )
    assert math.isnan(again.worth)
    assert np.isnan(again.grid[1])


def test_a_key_that_is_missing_takes_its_default_and_an_unknown_one_is_passed_over():
    assert Part(code="x") == Part.from_dict({"code": "x", "later": 1})
    with pytest.raises(KeyError, match="code"):
        Part.from_dict({"n": 3})


def test_null_is_not_a_number_in_a_float_and_none_where_it_may_be():
    assert math.isnan(from_plain(float, None))
    assert from_plain(float | None, None) is None


@pytest.mark.parametrize("value", ["text", 3, True, None, 0.5])
def test_what_json_knows_stays_as_it_is(value):
    assert value is to_plain(value)


@pytest.mark.parametrize("number", range(len(STORED)), ids=lambda n: STORED[n]["struct"].rpartition(":")[2])
def test_what_earlier_code_stored_is_read_and_written_to_the_byte(number):
    stored = STORED[number]["stored"]
    module, name = STORED[number]["struct"].split(":")
    struct = getattr(import_module(f"evergreen.{module}"), name)
    assert canonical_json(stored) == canonical_json(struct.from_dict(stored).to_dict())
