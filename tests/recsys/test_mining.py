"""Hard negatives are the nearest chosen items, against a whole sort."""

import numpy as np
import torch

from recsys import mining
from recsys.mining import Near, mine


def world():
    vectors = torch.nn.functional.normalize(torch.randn(90, 6, generator=torch.Generator().manual_seed(0)), dim=-1)
    counts = np.random.default_rng(0).integers(0, 4, size=90)
    counts[0] = 0
    return vectors, counts


def test_the_nearest_are_those_of_a_whole_sort():
    vectors, counts = world()
    near = mine(vectors, counts, rng=np.random.default_rng(0))
    chosen = np.flatnonzero(counts)
    assert near.item_idx.tolist() == chosen.tolist()
    for item, found in zip(near.item_idx, near.nearest, strict=True):
        others = chosen[chosen != item]
        cosines = (vectors[others] @ vectors[item]).numpy()
        assert found.tolist() == others[np.argsort(-cosines)][:50].tolist()


def test_of_a_large_catalogue_popular_items_are_looked_around(monkeypatch):
    monkeypatch.setattr(mining, "MINED_AROUND", 10)
    vectors, counts = world()
    counts[counts > 0] = 1
    counts[[3, 70]] = 10**9
    near = mine(vectors, counts, rng=np.random.default_rng(0))
    assert len(near.item_idx) == 10
    assert {3, 70} <= set(near.item_idx.tolist())
    assert (np.diff(near.item_idx) > 0).all()


def test_what_was_not_looked_around_has_no_neighbours():
    near = Near(np.array([2, 5]), np.array([[1, 3], [4, 6]]))
    assert near.of(np.array([9, 5, 0, 2, 3])).tolist() == [[4, 6], [1, 3]]
