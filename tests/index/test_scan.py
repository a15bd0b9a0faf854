import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from index import vectors
from index.scan import scan
from index.vectors import SealedVectors


def parts(table):
    return (table[start : start + 4] for start in range(0, len(table), 4))


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.integers(-3, 3), max_size=40),
    k=st.integers(1, 12),
    hidden=st.sets(st.integers(0, 39)),
)
def test_it_is_a_stable_sort(scores, k, hidden):
    """One-dimensional vectors of few values: ties everywhere, and each must go to the earlier row."""
    table = np.array(scores, dtype=np.float32).reshape(-1, 1)
    eligible = [slot for slot in range(len(scores)) if slot not in hidden]
    want = sorted(eligible, key=lambda slot: (-scores[slot], slot))[:k]
    found, slots = scan(
        np.ones((1, 1), dtype=np.float32), parts(table), k, rows=len(table), eligible=[BitMap(eligible)]
    )
    assert slots[0].tolist() == want + [-1] * (k - len(want))
    assert found[0, : len(want)].tolist() == [scores[slot] for slot in want]


def test_each_query_of_a_batch_is_on_its_own():
    rng = np.random.default_rng(0)
    table, queries = rng.normal(size=(101, 5)).astype(np.float32), rng.normal(size=(9, 5)).astype(np.float32)
    odd, even = BitMap(range(1, 101, 2)), BitMap(range(0, 101, 2))
    _, slots = scan(queries, parts(table), 7, rows=101, eligible=[odd] * 4 + [even] * 5)
    scores = queries @ table.T
    scores[:4, ::2] = scores[4:, 1::2] = -np.inf
    assert (slots == np.argsort(-scores, axis=1)[:, :7]).all()


def test_a_query_alone_among_many_rows_is_answered_like_one_among_few(monkeypatch):
    """Coordinates of −1, 0, 1: exact arithmetic, and ties throughout."""
    rng = np.random.default_rng(0)
    table = rng.integers(-1, 2, size=(3000, 6)).astype(np.float32)
    query = np.array([[1, 1, 0, -1, 0, 1]], dtype=np.float32)
    sealed = SealedVectors.of([table], 6, half=False)
    few = sealed.search(query, 50)
    monkeypatch.setattr(vectors, "_MANY_ROWS", 3000)
    monkeypatch.setattr(vectors, "ROWS_AT_ONCE_ALONE", 1024)
    many = sealed.search(query, 50)
    scores = (query @ table.T)[0]
    expected = np.lexsort((np.arange(3000), -scores))[:50]
    for found in (few, many):
        assert found[1][0].tolist() == expected.tolist()
        assert found[0][0].tolist() == scores[expected].tolist()
