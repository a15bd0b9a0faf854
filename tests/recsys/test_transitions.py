"""The transition counter against a double loop, and a count done by hand."""

import numpy as np
import polars as pl
import pytest
import torch

from recsys import transitions
from recsys.config import PriorConfig
from recsys.interactions import read_interactions
from recsys.transitions import TransitionCounter
from tests.worlds import chain_world

CONFIG = PriorConfig(window=3, backward=0.25, step_decay=0.5, history_decay=0.75, history_items=2)


def slow_counts(interactions, config, num_items):
    counts = np.zeros((num_items + 1, num_items + 1))
    for user in range(len(interactions.user_ids)):
        items = interactions.item_idx[interactions.of_user(user)]
        for early in range(len(items)):
            for late in range(early + 1, len(items)):
                if late - early <= config.window:
                    weight = config.step_decay ** (late - early - 1)
                    counts[items[early], items[late]] += weight
                    counts[items[late], items[early]] += weight * config.backward
    return counts


def slow_scores(counts, history, config):
    newest_first = history[::-1][: config.history_items]
    return sum(counts[item] * config.history_decay**back for back, item in enumerate(newest_first))


@pytest.fixture(scope="module")
def world():
    return chain_world(users=30, events=7, items=12)[0]


@pytest.mark.parametrize(
    "config",
    [CONFIG, PriorConfig(), PriorConfig(window=1, backward=0.0), PriorConfig(window=50, step_decay=1.0, backward=1.0)],
)
def test_counts_and_scores_equal_a_double_loop(world, config):
    counter = TransitionCounter.of(world, config, num_items=12)
    expected = slow_counts(world, config, 12)
    np.testing.assert_allclose(counter.counts.toarray(), expected, rtol=1e-5)
    histories = torch.tensor([[3, 4, 5, 0], [7, 7, 7, 2], [0, 0, 0, 0], [1, 0, 0, 0]])
    scores = counter.scores(histories)
    for row, history in enumerate([[3, 4, 5], [7, 7, 7, 2], [], [1]]):
        np.testing.assert_allclose(scores[row], slow_scores(expected, history, config) + np.zeros(13), rtol=1e-5)


@pytest.mark.parametrize("written_out", [0, 100])
def test_candidates_are_counted_as_among_all_items(world, monkeypatch, written_out):
    monkeypatch.setattr(transitions, "WRITTEN_OUT", written_out)
    monkeypatch.setattr(transitions, "HISTORIES_AT_ONCE", 2)
    counter = TransitionCounter.of(world, PriorConfig(), num_items=12)
    histories = torch.tensor([[3, 4, 5, 0], [7, 7, 7, 2], [0, 0, 0, 0], [1, 0, 0, 0], [2, 9, 99, 3]])
    candidates = torch.stack([torch.randperm(12)[:6] + 1 for _ in histories])
    candidates[:, 4:] = 0  # no candidate
    counted = counter.among(histories, candidates)
    whole = torch.from_numpy(counter.scores(histories))
    torch.testing.assert_close(counted.times, whole.gather(1, candidates))
    torch.testing.assert_close(counted.total, whole.sum(1, keepdim=True))
    assert counted.times.any()
    assert (counted.times[2] == 0).all()
    nobody = counter.among(histories[:0], candidates[:0])
    assert nobody.log_share(floor=0.1).shape == (0, 6)


def test_counts_by_hand():
    visits = [("a", "x", 1), ("a", "y", 2), ("a", "z", 3), ("b", "y", 1), ("b", "x", 2)]
    table = pl.DataFrame(visits, schema=["user_id", "item_id", "position"], orient="row")
    interactions, _, _ = read_interactions(table)  # x, y, z are 1, 2, 3
    counts = TransitionCounter.of(interactions, CONFIG, num_items=3).counts.toarray()
    np.testing.assert_allclose(
        counts,
        [
            [0, 0, 0, 0],
            [0, 0, 1 + 0.25, 0.5],  # x→y by a, y←x backward by b, x→z two steps apart
            [0, 1 + 0.25, 0, 1],
            [0, 0.5 * 0.25, 0.25, 0],
        ],
    )


def test_no_pair_crosses_from_one_user_to_the_next():
    table = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "position": [1, 1]})
    interactions, _, _ = read_interactions(table)
    assert TransitionCounter.of(interactions, CONFIG, num_items=2).counts.nnz == 0


def test_padding_on_either_side_asks_the_same(world):
    counter = TransitionCounter.of(world, CONFIG, num_items=12)
    right, left = torch.tensor([[5, 3, 4, 0, 0]]), torch.tensor([[0, 0, 5, 3, 4]])
    np.testing.assert_array_equal(counter.scores(right), counter.scores(left))


def test_the_parts_add_up(world):
    counter = TransitionCounter.of(world, CONFIG, num_items=12)
    history, candidate = [5, 3, 4], 6
    parts = [counter.part_of(item, candidate, back) for back, item in enumerate(history[::-1])]
    assert parts[2] == 0.0  # only the newest two are asked
    assert sum(parts) == pytest.approx(counter.scores(torch.tensor([history]))[0, candidate], rel=1e-5)


def test_tensors_there_and_back(world):
    counter = TransitionCounter.of(world, CONFIG, num_items=12)
    again = TransitionCounter.from_tensors(counter.tensors(), CONFIG)
    assert (again.counts != counter.counts).nnz == 0
    assert (again.history_decay, again.history_items) == (0.75, 2)


def test_an_item_that_came_after_the_counting_takes_its_step_and_is_followed_by_nothing(world):
    counter = TransitionCounter.of(world, CONFIG, num_items=12)
    late = counter.scores(torch.tensor([[5, 4, 99]]))
    # The newest two are asked: 99 knows nothing, and 4 stands one step back.
    np.testing.assert_allclose(late[0], 0.75 * counter.counts[4].toarray()[0], rtol=1e-6)
    assert late.any()
