"""GPU kinds against brute force on the CPU. Skipped where FAISS finds no GPU."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from index import faiss_build
from index.filters import Attributes, Filter
from index.gpu import GpuEngine
from index.kinds import GpuCagra, GpuExact, GpuIVFFlat, GpuIVFPQ
from index.vector_index import VectorIndex

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(faiss_build.at_hand().gpus == 0, reason="FAISS finds no GPU"),
]

ROWS = 20_000
KINDS = [
    GpuExact(),
    GpuExact(half=True),
    GpuIVFFlat(nlist=128, nprobe=48),
    GpuIVFFlat(nlist=128, nprobe=48, half=True),
    GpuIVFPQ(nlist=128, nprobe=48, subquantizers=16, k_factor=8.0),
    pytest.param(GpuCagra(), marks=pytest.mark.skipif(not faiss_build.at_hand().cuvs, reason="this FAISS has no cuVS")),
]


@pytest.fixture(scope="module")
def rows(clustered):
    return clustered(ROWS, dim=64, queries=64)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def index(request, rows):
    draws = np.random.default_rng(5).random(ROWS)
    index = VectorIndex.build(rows[0], np.arange(ROWS), kind=request.param, attributes=Attributes(numbers={"u": draws}))
    assert isinstance(index._state.sealed.engine, GpuEngine)
    return index, draws


def recall(found, want):
    return np.mean([np.isin(w[w >= 0], f).mean() for w, f in zip(want, found, strict=True)])


@pytest.mark.parametrize("batch", [1, 64])
def test_recall_against_brute_force(index, rows, brute_force, batch):
    found = index[0].search(rows[1][:batch], 100)
    ids, scores = brute_force(rows[1][:batch], rows[0], np.arange(ROWS), 100)
    assert recall(found.ids, ids) > 0.95
    assert found.scores[:, 0] == pytest.approx(scores[:, 0], abs=2e-2)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.1, 0.5, 0.99])
def test_filters_are_right_whatever_the_gpu_makes_of_a_selector(index, rows, brute_force, share):
    built, draws = index
    mask = draws <= share
    found = built.search(rows[1], 100, filters=Filter(ranges={"u": (None, share)}))
    assert ((found.ids >= 0).sum(axis=1) == min(100, mask.sum())).all()
    assert mask[found.ids[found.ids >= 0]].all()
    assert recall(found.ids, brute_force(rows[1], rows[0], np.arange(ROWS), 100, mask)[0]) > 0.9


def test_each_user_has_seen_something_else(index, rows):
    seen = index[0].search(rows[1], 500, exact=True).ids
    found = index[0].search(rows[1], 100, filters=[Filter(deny=ids) for ids in seen])
    assert (found.ids >= 0).all()
    assert not any(np.isin(a, b).any() for a, b in zip(found.ids, seen, strict=True))


def test_k_beyond_what_a_gpu_answers(index, rows):
    assert (index[0].search(rows[1][:3], 5000).ids >= 0).all()


def test_updates_are_seen_by_the_next_search(rows):
    for kind in (GpuExact(), GpuIVFFlat(nlist=128, nprobe=48)):
        index = VectorIndex.build(rows[0], np.arange(ROWS), kind=kind)
        index.upsert([50_000], rows[1][:1])
        assert index.search(rows[1][:1], 1).ids.tolist() == [[50_000]]
        index.compact()
        assert index.search(rows[1][:1], 1).ids.tolist() == [[50_000]]
        index.delete([50_000])
        assert 50_000 not in index.search(rows[1][:1], 100).ids


@pytest.mark.parametrize("kind", [GpuIVFFlat(nlist=128, nprobe=48), GpuIVFPQ(nlist=128, nprobe=48, subquantizers=16)])
def test_searches_go_on_beside_a_save(rows, tmp_path, kind):
    """The copy that is written is made with the scratch memory of the searches: one at a time, or neither is right."""
    index = VectorIndex.build(rows[0], np.arange(ROWS), kind=kind)
    before = index.search(rows[1], 10).ids
    with ThreadPoolExecutor(2) as pool:
        saves = [pool.submit(index.save, tmp_path / str(turn)) for turn in range(5)]
        during = [index.search(rows[1], 10).ids for _ in range(50)]
        for save in saves:
            save.result()
    index.close()
    assert all(recall(found, before) > 0.99 for found in during)
    assert recall(VectorIndex.load(tmp_path / "4", keep_updates=False).search(rows[1], 10).ids, before) > 0.95


def test_a_round_trip(index, rows, tmp_path):
    before = index[0].search(rows[1], 10)
    index[0].save(tmp_path)
    loaded = VectorIndex.load(tmp_path)
    assert isinstance(loaded._state.sealed.engine, GpuEngine)
    assert recall(loaded.search(rows[1], 10).ids, before.ids) > 0.95
