import dataclasses

import pytest
import torch

from recsys.embed import embed_histories
from recsys.histories import Histories, gather_histories, stacked
from serving.vector_cache import VectorCache, history_digests


@pytest.fixture(scope="module")
def histories(bundle):
    table = bundle.interactions
    return gather_histories(
        table, table.starts[:6], table.starts[1:7] - [0, 1, 2, 3, 4, 5], length=50, requested_at=None
    )


class Counted:
    """The real tower, and how many histories it was asked about."""

    def __init__(self, bundle):
        self._bundle = bundle
        self.asked = []

    def __call__(self, histories):
        self.asked.append(len(histories.item_idx))
        return embed_histories(self._bundle.model, torch.from_numpy(self._bundle.item_vectors), histories)


def rows(histories, which):
    parts = {f.name: getattr(histories, f.name)[which] for f in dataclasses.fields(Histories)}
    return Histories(**parts)


def test_what_was_asked_before_is_not_computed_again(bundle, histories):
    tower = Counted(bundle)
    cache = VectorCache(tower, most=100)
    first = cache(rows(histories, [0, 1, 2]))
    again = cache(rows(histories, [2, 3, 0]))
    assert tower.asked == [3, 1]
    torch.testing.assert_close(again[[0, 2]], first[[2, 0]], rtol=0, atol=0)
    torch.testing.assert_close(cache(histories), Counted(bundle)(histories))
    assert cache.take_counts() == {"hit": 2 + 4, "miss": 3 + 1 + 2}
    assert cache.take_counts() == {"hit": 0, "miss": 0}


def test_padding_is_no_part_of_a_history(histories):
    wider = rows(histories, [0, 1])
    wider = stacked([wider, rows(histories, [0])])
    assert history_digests(wider)[0] == history_digests(wider)[2] == history_digests(rows(histories, [0]))[0]
    longer = Histories(
        **{f.name: torch.nn.functional.pad(getattr(wider, f.name), (0, 7)) for f in dataclasses.fields(Histories)}
    )
    assert history_digests(longer) == history_digests(wider)


@pytest.mark.parametrize("field", ["item_idx", "event", "value", "occurred_at", "asked_at"])
def test_everything_the_tower_reads_is_part_of_the_key(histories, field):
    one = rows(histories, [0])
    values = getattr(one, field).clone()
    values[0, 1] = values[0, 1] + 1 if field != "event" else 1 - values[0, 1]
    assert history_digests(one) != history_digests(dataclasses.replace(one, **{field: values}))


def test_the_least_recently_used_goes_first(bundle, histories):
    tower = Counted(bundle)
    cache = VectorCache(tower, most=2)
    for which in (0, 1, 0, 2):  # 1 is now the oldest
        cache(rows(histories, [which]))
    tower.asked.clear()
    cache(rows(histories, [0, 2]))
    assert tower.asked == []
    cache(rows(histories, [1]))
    assert tower.asked == [1]


def test_a_batch_larger_than_the_cache_is_answered_whole(bundle, histories):
    tower = Counted(bundle)
    for most in (0, 2):
        torch.testing.assert_close(VectorCache(tower, most=most)(histories), tower(histories))


def test_cleared_it_remembers_nothing(bundle, histories):
    tower = Counted(bundle)
    cache = VectorCache(tower, most=100)
    cache(histories)
    cache.clear()
    cache(histories)
    assert tower.asked == [6, 6]


def test_an_empty_history_has_a_vector_of_zeros_here_too(bundle, histories):
    empty = rows(histories, [0])
    empty = dataclasses.replace(empty, item_idx=torch.zeros_like(empty.item_idx))
    cache = VectorCache(Counted(bundle), most=10)
    assert not cache(empty).any()
    assert not cache(empty).any()
