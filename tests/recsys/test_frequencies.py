import numpy as np
import pytest

from recsys.batches import BatchMaker
from recsys.config import TrainConfig
from recsys.frequencies import StreamedShares
from recsys.histories import training_windows
from recsys.train import item_counts
from tests.worlds import chain_world


def batches(rng, share, *, steps, size):
    for _ in range(steps):
        yield rng.choice(len(share), size, p=share)


def zipf(num_items):
    share = np.concatenate([[0], 1 / np.arange(1, num_items + 1)])
    return share / share.sum()


def test_shares_by_hand():
    streamed = StreamedShares(3)
    streamed.meet(np.array([1, 1, 2, 2]))  # gaps: 1 every 2 targets, 2 every 2
    assert streamed.shares.tolist() == [0, 1 / 2, 1 / 2, 0]
    streamed.meet(np.array([1, 3, 3, 3]))  # 1 after 4 more: (2 + 2 + 4) / 3; 3 thrice in 8
    assert streamed.shares == pytest.approx([0, 3 / 8, 1 / 2, 3 / 8])


def test_a_short_memory_forgets_by_hand():
    streamed = StreamedShares(2, memory=2)
    for batch in ([1, 2], [1, 2], [1, 1]):  # gaps of 1: 2, 2, then 1 twice, which is all that is remembered
        streamed.meet(np.array(batch))
    assert 1 / streamed.shares[1] == pytest.approx(1)


def test_the_stream_comes_to_the_true_shares():
    share = zipf(500)
    streamed = StreamedShares(500)
    for batch in batches(np.random.default_rng(0), share, steps=400, size=512):
        streamed.meet(batch)
    found = streamed.shares
    assert found.sum() == pytest.approx(1, abs=0.05)
    assert np.abs(np.log(found[1:] / share[1:])).mean() < 0.1  # ten log units lie between popular and rare
    assert found[1:51] == pytest.approx(share[1:51], rel=0.35)


def test_a_popularity_that_turns_round_is_followed():
    share = zipf(100)
    turned = np.concatenate([[0], share[:0:-1]])
    rng, streamed = np.random.default_rng(0), StreamedShares(100)
    counted = np.zeros(101)
    for world in (share, turned):
        for batch in batches(rng, world, steps=200, size=512):
            streamed.meet(batch)
            counted += np.bincount(batch, minlength=101)
    of_all = counted / counted.sum()
    # The item that became the most popular: the plain count still says half of it.
    assert of_all[100] < 0.6 * turned[100]
    assert streamed.shares[100] == pytest.approx(turned[100], rel=0.25)


def test_what_was_saved_goes_on_alike():
    rng = np.random.default_rng(0)
    whole, killed = StreamedShares(50), StreamedShares(50)
    passed = list(batches(rng, zipf(50), steps=20, size=64))
    for batch in passed[:10]:
        whole.meet(batch)
        killed.meet(batch)
    resumed = StreamedShares(50)
    resumed.go_on_from(killed.state())
    for batch in passed[10:]:
        whole.meet(batch)
        resumed.meet(batch)
    assert np.array_equal(whole.shares, resumed.shares)
    assert not np.array_equal(killed.shares, resumed.shares)  # its own arrays, not the saved ones


@pytest.mark.parametrize("loss", ["sampled", "in_batch"])
def test_the_corrections_of_a_batch_come_from_the_stream(loss):
    interactions, _ = chain_world()
    counts = item_counts(interactions, num_items=int(interactions.item_idx.max()))
    windows = training_windows(interactions, length=20)
    makers = {
        log_q: BatchMaker(
            interactions, windows, counts, TrainConfig(loss=loss, negatives=64, log_q=log_q), request_time=True
        )
        for log_q in ("counted", "streamed")
    }
    for step in range(30):
        which = np.random.default_rng(step).choice(len(windows.starts), 8)
        made = {name: maker.make(which, rng=np.random.default_rng(step)) for name, maker in makers.items()}
    counted, streamed = made["counted"].log_q, made["streamed"].log_q
    assert counted.shape == streamed.shape
    assert (counted - streamed).abs().mean() < 0.2
    assert not (counted == streamed).all()
