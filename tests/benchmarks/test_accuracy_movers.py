"""A difference between groups that is there is told, and one that is chance has an interval around none."""

import numpy as np
import pytest

from benchmarks.accuracy.movers import more_with_movers


def told(towers, reranked, moved, others):
    return more_with_movers(towers, reranked, moved, others, draws=500, rng=np.random.default_rng(0))


def test_gains_are_ratios_of_sums_by_hand():
    moved = [True, True, False, False, False]
    others = [False, False, True, True, False]  # the last has too few events
    rows = ([1, 0.5, 0.4, 0.6, 1.0], [1, 0.8, 0.4, 0.7, 0.0], moved, others)
    found = told(*(np.tile(each, 20) for each in rows))
    assert found["gain_moved"] == pytest.approx(0.2)
    assert found["gain_others"] == pytest.approx(0.1)
    assert found["difference"] == pytest.approx(0.1)


def test_what_is_there_is_told_from_chance():
    rng = np.random.default_rng(1)
    towers, moved = rng.random(2_000), rng.random(2_000) < 0.3
    alike = told(towers, towers * rng.normal(1.1, 0.2, size=2_000), moved, ~moved)
    assert alike["low"] < 0 < alike["high"]
    more = told(towers, towers * np.where(moved, 1.3, 1.1) * rng.normal(1, 0.2, size=2_000), moved, ~moved)
    assert 0 < more["low"] < 0.2 < more["high"]
