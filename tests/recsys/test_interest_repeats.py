"""Single items of a past: by hand, and told apart where the interest's own rhythm is the same."""

import numpy as np

from recsys.interest_features import rhythm
from recsys.interest_pasts import Pasts
from recsys.interest_repeats import AGES, DUE, FEW_RETURNS, ItemsHad, repeats
from recsys.taxonomy import Taxonomy
from tests.recsys.test_interest_features import case, interactions

SHOP = Taxonomy.of([(), ("tea",), ("tea",), ("cake",), ("tea", "cake")])
HORIZON_S = 10
FIRST_ONCE = 2 + len(DUE) - 1
"""The column in which those that came once begin."""


def pasts_of(events, requested_at):
    table = interactions([*[(4, 1)] * 2], events)  # another user's events must not be counted
    return Pasts.of_cases(case(1, 2, 2 + len(events), requested_at), table, SHOP, horizon_s=HORIZON_S)


def test_items_are_gathered_by_hand():
    """Tea 1 in three visits though four times, of which two in one; cake 3 once, tea and cake 4 once."""
    had = ItemsHad.of(pasts_of([(1, 0), (1, 41), (3, 42), (1, 43), (1, 75), (4, 99)], 100))
    assert had.owner.tolist() == [0, 0, 0]
    assert had.came.tolist() == [3, 1, 1]
    np.testing.assert_allclose(had.newest, [2.5, 5.8, 0.1])
    np.testing.assert_allclose(had.oldest, [10.0, 5.8, 0.1])
    assert had.by_interest(np.array([1.0, 10.0, 100.0])).tolist() == [[110.0, 101.0]]  # cake, tea


def test_columns_by_hand():
    """Tea 1 returned three times in eleven horizons, and is due .857 of its usual time; what came once has its age."""
    columns = np.stack(repeats(pasts_of([(1, 0), (1, 41), (3, 42), (1, 43), (1, 75), (4, 99)], 100)), axis=2)[0]
    cake, tea = columns
    np.testing.assert_allclose(np.exp(cake[:2]) - 1, [2, 0], atol=1e-9)
    np.testing.assert_allclose(np.exp(tea[:2]) - 1, [2, 1])
    due = np.exp(tea[2:FIRST_ONCE]) - FEW_RETURNS
    expected = np.zeros(len(DUE) - 1)
    expected[np.searchsorted(DUE, 3.0 * 3 / 10.5, side="right") - 1] = 3 / 11
    np.testing.assert_allclose(due, expected, atol=1e-9)
    np.testing.assert_allclose(np.exp(cake[FIRST_ONCE:]) - 1, [1, 1, 0, 0], atol=1e-9)  # .1 and 5.8 ago
    np.testing.assert_allclose(np.exp(tea[FIRST_ONCE:]) - 1, [1, 0, 0, 0], atol=1e-9)
    assert len(columns[0]) == 2 + len(DUE) - 1 + len(AGES) - 1


def test_users_alike_in_the_interest_are_told_apart_by_its_items():
    """Both had tea at the same instants; of one it was two teas in turn, and the one of long ago is due."""
    turns = pasts_of([(1, 5), (2, 15), (1, 25), (2, 35), (1, 45), (2, 55)], 60)
    blocks = pasts_of([(1, 5), (1, 15), (1, 25), (2, 35), (2, 45), (2, 55)], 60)
    for one, other in zip(rhythm(turns, turns.visits()), rhythm(blocks, blocks.visits()), strict=True):
        np.testing.assert_array_equal(one, other)
    one, other = (np.stack(repeats(pasts), axis=2) for pasts in (turns, blocks))
    assert (np.abs(one - other).max(axis=2) > 0.1).tolist() == [[False, True]]
