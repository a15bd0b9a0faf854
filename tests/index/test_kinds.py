import numpy as np
import pytest

from index import kinds
from index.approximate import LEAST_ROWS, CpuEngine
from index.errors import VectorIndexError
from index.kinds import HNSW, Exact, FastScan, GpuCagra, GpuExact, GpuIVFFlat, GpuIVFPQ, IVFFastScan, IVFFlat
from index.vector_index import VectorIndex
from index.vectors import SealedVectors

EVERY = [Exact(half=True), FastScan(4.5), IVFFastScan(7, 2), IVFFlat(9, 3, half=True), HNSW(8, 9, 10)]
EVERY_GPU = [GpuExact(), GpuIVFFlat(5, 4), GpuIVFPQ(5, 4, 16), GpuCagra(16, 2)]
APPROXIMATE = [
    FastScan(),
    FastScan(half=True),
    IVFFastScan(nlist=64, nprobe=24),
    IVFFlat(nlist=64, nprobe=24),
    IVFFlat(nlist=64, nprobe=24, half=True),
    HNSW(ef_search=300),
]


@pytest.mark.parametrize("kind", [*EVERY, *EVERY_GPU], ids=lambda kind: type(kind).__name__)
def test_a_kind_survives_json(kind):
    assert kinds.from_json(kinds.to_json(kind)) == kind


@pytest.mark.parametrize("make", [lambda: IVFFlat(nlist=0), lambda: FastScan(k_factor=-1), lambda: HNSW(ef_search="9")])
def test_a_field_must_be_above_zero(make):
    with pytest.raises(VectorIndexError, match="Give a number above 0"):
        make()


def test_an_unknown_kind_or_field_is_named():
    with pytest.raises(VectorIndexError, match="'Annoy' is unknown"):
        kinds.from_json({"name": "Annoy"})
    with pytest.raises(VectorIndexError, match="trees"):
        kinds.from_json({"name": "Exact", "trees": 3})


@pytest.mark.parametrize("kind", APPROXIMATE, ids=str)
@pytest.mark.parametrize("batch", [1, 20])
def test_recall_against_brute_force(clustered, brute_force, kind, batch):
    vectors, queries = clustered(8000)
    index = VectorIndex.build(vectors, np.arange(8000), kind=kind)
    assert isinstance(index._state.sealed.engine, CpuEngine)
    found = index.search(queries[:batch], 100)
    want, _ = brute_force(queries[:batch], vectors, np.arange(8000), 100)
    assert np.mean([np.isin(w, f).mean() for w, f in zip(want, found.ids, strict=True)]) > 0.97
    assert (np.diff(found.scores, axis=1) <= 0).all()


@pytest.mark.parametrize("kind", [Exact(), *APPROXIMATE], ids=str)
def test_k_beyond_two_thousand_and_beyond_the_rows(clustered, kind):
    vectors, queries = clustered(5000)
    index = VectorIndex.build(vectors, np.arange(5000), kind=kind)
    found = index.search(queries[:2], 5003)
    assert (np.sort(found.ids[:, :5000]) == np.arange(5000)).all()
    assert (found.ids[:, 5000:] == -1).all()
    assert (found.scores[:, 5000:] == -np.inf).all()
    assert (index.search(queries[:2], 2500).ids >= 0).all()


@pytest.mark.parametrize("kind", APPROXIMATE, ids=str)
def test_few_rows_are_searched_exactly(clustered, brute_force, kind):
    vectors, queries = clustered(LEAST_ROWS - 1)
    index = VectorIndex.build(vectors, np.arange(len(vectors)), kind=kind)
    assert isinstance(index._state.sealed.engine, SealedVectors)
    found = index.search(queries, 10)
    if kind.half:
        vectors = vectors.astype(np.float16).astype(np.float32)
    assert (found.ids == brute_force(queries, vectors, np.arange(len(vectors)), 10)[0]).all()


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("kind", APPROXIMATE, ids=str)
def test_every_width_can_be_built(clustered, kind, dim):
    vectors, queries = clustered(LEAST_ROWS, dim=dim)
    index = VectorIndex.build(vectors, np.arange(len(vectors)), kind=kind)
    assert (index.search(queries, 5).ids >= 0).all()


def test_half_rounds_the_scores_and_no_more(clustered):
    vectors, queries = clustered(2000)
    whole = VectorIndex.build(vectors, np.arange(2000)).search(queries, 10)
    for batch in (1, 20):
        half = VectorIndex.build(vectors, np.arange(2000), kind=Exact(half=True)).search(queries[:batch], 10)
        assert half.scores == pytest.approx(whole.scores[:batch], abs=1e-3)
        assert not np.array_equal(half.scores, whole.scores[:batch])
