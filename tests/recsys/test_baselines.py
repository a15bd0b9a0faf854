"""Each baseline against a slow loop on a small table, and the borders of its window."""

import numpy as np
import polars as pl
import pytest

from recsys.baselines import choose, item_cosines, nearest_items, popularity, recent_popularity, revisits, transitions
from recsys.config import PriorConfig
from recsys.histories import case_histories
from recsys.interactions import read_interactions
from recsys.split import Cases, leave_one_out
from recsys.transitions import TransitionCounter
from tests.worlds import chain_world, round_world

DAY_S = 86_400


def table(rows, order="occurred_at"):
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", order], orient="row")
    interactions, catalogue, _ = read_interactions(frame, keep_duplicates=True)
    return interactions, catalogue


def asked_at(*instants):
    """Cases of which only the request's time matters."""
    rows = np.zeros(len(instants), np.int64)
    return Cases(rows, rows, rows, rows, np.arange(len(instants)), np.array(instants))


@pytest.fixture(scope="module")
def world():
    interactions, catalogue = chain_world(users=25, events=8, items=15)
    return leave_one_out(interactions), len(catalogue)


def test_popularity_counts_training_rows(world):
    split, num_items = world
    expected = [int((split.train.item_idx == item).sum()) for item in range(num_items + 1)]
    scores = popularity(split.train, num_items=num_items)(split.test)
    assert scores.shape == (len(split.test), num_items + 1)
    assert (scores.numpy() == expected).all()


def test_recent_popularity_equals_a_slow_count(world):
    split, num_items = world
    train = split.train
    for days in (0.1, 1, 4, 365):
        scores = recent_popularity(train, num_items=num_items, days=days)(split.test).numpy()
        for row, now in enumerate(split.test.requested_at):
            lately = (train.occurred_at >= now - days * DAY_S) & (train.occurred_at < now)
            expected = np.bincount(train.item_idx[lately], minlength=num_items + 1)
            np.testing.assert_array_equal(scores[row], expected)


def test_the_window_holds_its_first_instant_and_not_that_of_the_request():
    train, _ = table([("a", "old", 999), ("b", "first", 1000), ("c", "now", 1000 + DAY_S)])
    scores = recent_popularity(train, num_items=3, days=1)(asked_at(1000 + DAY_S, 999, 10 * DAY_S, 1000 + DAY_S + 1))
    assert scores.tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_without_a_clock_the_newest_five_of_each_user_are_recent():
    rows = [("a", f"i{place}", place) for place in range(7)] + [("b", "i0", 0), ("b", "i6", 1)]
    train, catalogue = table(rows, order="position")
    scores = recent_popularity(train, num_items=len(catalogue), days=7)(asked_at(0))
    counted = {catalogue.item_ids[item]: scores[0, item].item() for item in range(1, 8)}
    assert counted == {"i0": 1, "i1": 0, "i2": 1, "i3": 1, "i4": 1, "i5": 1, "i6": 2}


def test_item_knn_by_hand():
    # x was chosen by a, b, c; y by a, b; z by c. cos(x, y) = 2/√6, cos(x, z) = 1/√3, cos(y, z) = 0.
    rows = [("a", "x", 1), ("a", "y", 2), ("b", "y", 1), ("b", "x", 2), ("b", "x", 3), ("c", "x", 1), ("c", "z", 2)]
    train, _ = table(rows, order="position")
    cases = Cases(*(np.array(part) for part in ([0, 2], [0, 5], [2, 6], [0, 5], [0, 1])), None)  # a's x, y; c's x
    scores = nearest_items(train, item_cosines(train, num_items=4), neighbours=5)(cases).numpy()
    xy, xz = 2 / np.sqrt(6), 1 / np.sqrt(3)
    np.testing.assert_allclose(scores, [[0, xy, xy, xz, 0], [0, 0, xy, xz, 0]], atol=1e-6)
    nearest = nearest_items(train, item_cosines(train, num_items=4), neighbours=1)(cases).numpy()
    np.testing.assert_allclose(nearest, [[0, xy, xy, 0, 0], [0, 0, xy, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("neighbours", [2, 100])
def test_item_knn_equals_a_slow_loop(world, neighbours):
    split, num_items = world
    interactions, train = split.interactions, split.train
    users = [set(train.user_idx[train.item_idx == item].tolist()) for item in range(num_items + 1)]
    cosine = np.zeros((num_items + 1, num_items + 1), np.float32)
    for one in range(1, num_items + 1):
        for other in range(1, num_items + 1):
            if one != other and users[one] and users[other]:
                both = len(users[one] & users[other])
                cosine[one, other] = both / np.sqrt(len(users[one]) * len(users[other]))
    for one in range(num_items + 1):
        keep = sorted(range(num_items + 1), key=lambda other, row=cosine[one]: (-round(float(row[other]), 5), other))
        cosine[one, keep[neighbours:]] = 0
    scores = nearest_items(interactions, item_cosines(train, num_items=num_items), neighbours=neighbours)(
        split.test
    ).numpy()
    for case in range(len(split.test)):
        had = interactions.item_idx[split.test.starts[case] : split.test.stops[case]]
        np.testing.assert_allclose(scores[case], cosine[had].sum(0), atol=1e-4)


def test_transitions_ask_the_counter_with_the_history(world):
    split, num_items = world
    counter = TransitionCounter.of(split.train, PriorConfig(history_items=3), num_items=num_items)
    scores = transitions(split.interactions, counter)(split.test).numpy()
    whole = case_histories(split.interactions, split.test, length=100)
    np.testing.assert_array_equal(scores, counter.scores(whole.item_idx))


def test_revisits_by_hand():
    interactions, catalogue = round_world(users=3, events=7)
    scores = revisits(interactions, num_items=len(catalogue), half_life=3.0)(leave_one_out(interactions).test)
    first, second, third = interactions.item_idx[:3]  # the history of the first user is theirs twice, in this order
    assert scores[0, [first, second, third]].tolist() == pytest.approx(
        [2 ** -(2 / 3) + 2 ** -(5 / 3), 2 ** -(1 / 3) + 2 ** -(4 / 3), 1 + 1 / 2]
    )
    assert (scores[0] > 0).sum() == 3


def test_the_knob_that_validation_likes_best_is_chosen():
    liked = {"few": 0.1, "some": 0.3, "many": 0.2}
    assert choose(list(liked), liked.__getitem__) == "some"
