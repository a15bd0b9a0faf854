"""The earlier run knows nothing of anybody's newest event, and its networks meet the evidence they have learnt from."""

import numpy as np
import pytest

from benchmarks.accuracy.earlier import EARLIER, judged, trained_earlier, without_last
from recsys.config import read_config
from recsys.report import RERANKED, TOWERS
from recsys.run import bundle_split, run_training
from tests.worlds import fashion_world

TINY = (
    "item_tower.text=false",
    "width=16",
    "user_tower.heads=2",
    "train.epochs=1",
    "rerank.second_tower=false",
    "train.tracker=none",
    "split.kind=leave-one-out",
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return run_training(*fashion_world(), read_config(overrides=TINY), tmp_path_factory.mktemp("kept") / "bundle")


def test_the_newest_event_of_each_user_is_gone_and_nothing_else():
    table, _ = fashion_world(users=5)
    cut = without_last(table)
    for user, first in enumerate(table.starts[:-1]):
        mine = cut.item_idx[cut.starts[user] : cut.starts[user + 1]]
        np.testing.assert_array_equal(mine, table.item_idx[first : table.starts[user + 1] - 1])


def test_its_test_cases_are_what_validation_asks_of_the_kept_run(kept, tmp_path):
    earlier = trained_earlier(kept, tmp_path / "earlier")
    table, ours = earlier.interactions, bundle_split(kept)
    asked = table.item_idx[bundle_split(earlier).test.target_rows]
    np.testing.assert_array_equal(asked, kept.interactions.item_idx[ours.validation.target_rows])
    figures = judged(kept, earlier, request_time=True)
    assert figures[EARLIER].mean() > figures[TOWERS].mean() + 0.2  # fashion is learnt earlier, too
    assert not np.array_equal(figures[EARLIER], figures[RERANKED])


def test_a_rerankers_own_networks_rank_as_it_does(kept):
    figures = judged(kept, kept, request_time=True)
    np.testing.assert_array_equal(figures[EARLIER], figures[RERANKED])
