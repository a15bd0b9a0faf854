"""Training batches: what is asked, what is excluded and what sampling is expected to do, against slow loops."""

import numpy as np
import pytest

from recsys.batches import BatchMaker
from recsys.config import Config
from recsys.histories import Windows, training_windows, window_batches
from recsys.mining import Near
from recsys.train import item_counts
from tests.worlds import chain_world


def maker(loss, *, length=4, **knobs):
    train, catalogue = chain_world(users=20, events=9)
    config = Config.model_validate({"train": {"loss": loss, "exclude_seen": True, **knobs}}).train
    counts = item_counts(train, num_items=len(catalogue))
    windows = training_windows(train, length=length)
    return BatchMaker(train, windows, counts, config, request_time=True), windows, train


@pytest.mark.parametrize("loss", ["full", "sampled", "in_batch"])
def test_every_position_asks_for_the_event_that_followed(loss):
    batches, windows, train = maker(loss, negatives=50)
    which = np.array([0, 5, 7, 11])
    batch = batches.make(which, rng=np.random.default_rng(0))
    asked = 0
    for row, window in enumerate(which):
        start, stop = windows.starts[window], windows.stops[window]
        for position in range(stop - start - 1):
            at = start + position
            assert batch.item_idx[batch.history_rows[row, position]] == train.item_idx[at]
            assert batch.item_idx[batch.positives[asked]] == train.item_idx[at + 1]
            assert batch.histories.occurred_at[row, position] == train.occurred_at[at]
            assert batch.histories.asked_at[row, position] == train.occurred_at[at + 1]
            asked += 1
    assert asked == len(batch.positives) == int(batch.asked.sum())


@pytest.mark.parametrize("loss", ["full", "sampled", "in_batch"])
def test_excluded_is_what_the_user_had_by_then(loss):
    batches, windows, train = maker(loss, negatives=60)
    which = np.arange(0, len(windows), 3)
    batch = batches.make(which, rng=np.random.default_rng(1))
    excluded = batch.excluded[:]
    asked = 0
    for window in which:
        start, stop, first = windows.starts[window], windows.stops[window], windows.user_starts[window]
        for at in range(start, stop - 1):
            had = set(train.item_idx[first : at + 1].tolist())  # the window's user had more before the window
            for column, row in enumerate(batch.negatives.tolist()):
                item = int(batch.item_idx[row])
                never = batches.counts[item] == 0
                assert bool(excluded[asked, column]) == (item in had or bool(never))
            asked += 1


def test_windows_ask_for_every_event_but_the_first_exactly_once():
    train, _ = chain_world(users=15, events=9)
    for length in (1, 3, 50):
        windows = training_windows(train, length=length)
        targets = np.concatenate([np.arange(a + 1, b) for a, b in zip(windows.starts, windows.stops, strict=True)])
        wanted = np.setdiff1d(np.arange(len(train)), train.starts[:-1])
        assert sorted(targets.tolist()) == wanted.tolist()
        assert (windows.stops - windows.starts).max() <= length + 1


def test_a_batch_holds_the_events_it_may_and_every_window_comes_once():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, size=200)
    starts = np.cumsum(lengths + 1)
    windows = Windows(starts, starts + lengths + 1, starts)
    batches = window_batches(windows, batch_events=50, rng=rng)
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    padded = [len(which) * lengths[which].max() for which in batches]
    assert all(size <= 50 for which, size in zip(batches, padded, strict=True) if len(which) > 1)
    assert sum(padded) < 1.3 * lengths.sum()  # of like length
    assert any(len(which) == 1 and lengths[which[0]] > 50 for which in batches)
    again = window_batches(windows, batch_events=50, rng=rng)
    assert [which.tolist() for which in again] != [which.tolist() for which in batches]


def claims_and_counts(batches, windows, draws):
    """What log_q says of each item, and how often the items stood among the negatives, per batch of all windows."""
    rng = np.random.default_rng(0)
    seen, claimed = np.zeros(len(batches.counts)), {}
    for _ in range(draws):
        batch = batches.make(np.arange(len(windows)), rng=rng)
        items = batch.item_idx[batch.negatives].numpy()
        np.add.at(seen, items, 1 / draws)
        claimed |= dict(zip(items.tolist(), batch.log_q.tolist(), strict=True))
    return claimed, seen


@pytest.mark.parametrize("hard", [0, 300])
def test_log_q_is_the_log_of_what_sampling_does(hard):
    batches, windows, _ = maker("sampled", negatives=200, hard_negatives=hard)
    if hard:  # around two items, of which the one is met far more often than the other
        batches.near = Near(np.array([2, 5]), np.array([[1, 3, 4], [3, 6, 7]]))
    claimed, seen = claims_and_counts(batches, windows, 300)
    assert len(claimed) > 10
    for item, log_q in claimed.items():
        assert np.log(seen[item]) == pytest.approx(log_q, abs=0.15)


def test_only_mined_negatives_are_said_to_be():
    batches, windows, _ = maker("sampled", negatives=10, hard_negatives=4)
    batches.near = Near(np.array([2]), np.array([[9]]))
    batch = batches.make(np.arange(len(windows)), rng=np.random.default_rng(0))
    assert batch.mined.tolist() == [False] * 10 + [True] * 4
    assert batch.item_idx[batch.negatives][batch.mined].tolist() == [9] * 4


def test_in_batch_log_q_expects_as_many_as_the_batch_holds():
    batches, windows, train = maker("in_batch", length=50)
    batch = batches.make(np.arange(len(windows)), rng=np.random.default_rng(0))
    items = batch.item_idx[batch.negatives].numpy()
    targets = np.delete(train.item_idx, train.starts[:-1])
    counts = np.bincount(targets, minlength=len(batches.counts))
    assert np.allclose(batch.log_q.exp().numpy(), len(items) * counts[items] / counts.sum(), rtol=1e-4)
