import numpy as np
import pytest

from evergreen.tasks.core.challenge.blocks import DAY, HOUR, make_blocks
from evergreen.tasks.core.errors import ConfigError, NotLearnable


def test_seven_days_of_half_hours_are_seven_blocks():
    codes = make_blocks(np.arange(7 * 48) * 1800.0)
    assert [48] * 7 == np.bincount(codes).tolist()


def test_a_short_last_piece_joins_its_neighbour():
    codes = make_blocks(np.arange(7 * 48 + 10) * 1800.0)
    assert [48] * 6 + [58] == np.bincount(codes).tolist()


def test_rows_of_less_than_a_week_are_blocked_by_the_hour():
    codes = make_blocks(np.arange(0, 2 * DAY, 600.0))
    assert [6] * 48 == np.bincount(codes).tolist()


def test_a_clock_of_rows_is_cut_into_thirty_runs_of_at_least_ten():
    assert 30 == make_blocks(np.arange(900), unit="rows").max() + 1
    assert 10 == make_blocks(np.arange(100), unit="rows").max() + 1


def test_a_length_of_ones_own_is_kept():
    assert 14 == make_blocks(np.arange(14 * 24) * HOUR, length=DAY).max() + 1
    with pytest.raises(ConfigError, match="block length is 0"):
        make_blocks(np.arange(100), unit="rows", length=0)


def test_blocks_are_numbered_in_time_order_whatever_the_order_of_rows():
    rng = np.random.default_rng(0)
    order = rng.permutation(336)
    codes = make_blocks((np.arange(336) * 1800.0)[order])
    assert np.repeat(np.arange(7), 48)[order].tolist() == codes.tolist()


def test_too_few_blocks_say_how_many_are_needed():
    with pytest.raises(NotLearnable, match="3 blocks, and at least 7") as error:
        make_blocks(np.arange(30), unit="rows")
    assert ("too_few_blocks", 3, 7) == (error.value.reason_code, error.value.observed, error.value.limit)


def test_no_rows_are_too_few_blocks():
    with pytest.raises(NotLearnable, match="0 blocks"):
        make_blocks(np.empty(0))


def test_a_row_without_a_time_is_named():
    with pytest.raises(NotLearnable, match="1 rows have no time"):
        make_blocks(np.array([0.0, np.nan]))


def test_entities_are_blocks_in_order_of_appearance():
    keys = np.array(["z", "a", "z", "m", "b", "c", "d", "e"])
    assert [0, 1, 0, 2, 3, 4, 5, 6] == make_blocks(None, entity=keys).tolist()
    with pytest.raises(ConfigError, match="time column or an entity key"):
        make_blocks(None)


def test_a_race_is_never_torn_apart():
    positions = np.arange(14) * DAY / 2
    races = np.arange(14) // 3
    codes = make_blocks(positions, group=races, min_blocks=2)
    assert all(len(set(codes[races == race])) == 1 for race in range(5))


def test_an_unknown_unit_is_refused():
    with pytest.raises(ConfigError, match="Unknown clock unit 'weeks'"):
        make_blocks(np.arange(10), unit="weeks")
