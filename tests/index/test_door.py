"""Whatever is handed in, the answer is the right shape or a clear refusal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from index.errors import VectorIndexError
from index.filters import Attributes, Filter
from index.kinds import HNSW, Exact, FastScan, IVFFastScan, IVFFlat
from index.vector_index import VectorIndex

KINDS = [Exact(), Exact(half=True), FastScan(), IVFFastScan(16, 8), IVFFlat(16, 8), HNSW()]
arrays = npst.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.uint64, np.bool_, np.complex64]),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
anything = arrays | st.lists(st.floats() | st.integers() | st.text(max_size=2) | st.lists(st.floats(), max_size=3))
numbers = st.integers(-3, 5) | st.floats() | st.text(max_size=2) | st.none()


@pytest.fixture(scope="module")
def small():
    return VectorIndex.build(np.eye(3, dtype=np.float32), [0, 1, 2], attributes=Attributes(numbers={"n": [1, 2, 3]}))


@settings(max_examples=300, deadline=None)
@given(vectors=anything, ids=anything | st.lists(st.integers(-2, 5)))
def test_rows_are_taken_or_refused(vectors, ids):
    try:
        index = VectorIndex.build(vectors, ids)
    except VectorIndexError:
        return
    assert len(index) == len(np.asarray(ids))


@settings(max_examples=300, deadline=None)
@given(queries=anything, k=numbers)
def test_a_search_answers_or_refuses(small, queries, k):
    try:
        found = small.search(queries, k)
    except VectorIndexError:
        return
    assert found.ids.shape == found.scores.shape == (len(np.asarray(queries)), k)
    assert np.isfinite(found.scores[found.ids >= 0]).all()


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Filter,
        allow=st.none() | st.lists(st.integers(-5, 5)),
        deny=st.lists(st.integers(-5, 2**62)),
        ranges=st.dictionaries(
            st.sampled_from(["n", "m"]), st.tuples(st.none() | st.floats(), st.none() | st.floats()), max_size=2
        ),
    )
)
def test_a_filter_answers_or_refuses(small, condition):
    try:
        found = small.search(np.ones((2, 3)), 3, filters=condition)
    except VectorIndexError:
        return
    assert found.ids.shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.search(np.ones((1, 2)), 1), r"queries \(1, 2\): expected a 2-D array with rows of width 3"),
        (lambda i: i.search([[1, 2, np.nan]], 1), "queries, row 0: holds a number that is not finite"),
        (lambda i: i.search([[1, 2], [1, 2, 3]], 1), "rows of different widths"),
        (lambda i: i.search(np.ones((1, 3)), 0), "k is 0: give a whole number, 1 or more"),
        (lambda i: i.search(np.ones((2, 3)), 1, filters=[None]), "1 filters for 2 queries"),
        (lambda i: i.search(np.ones((1, 3)), 1, filters=Filter(ranges={"m": (0, 1)})), "'m': no row has it.*here: n"),
        (lambda i: i.upsert([-4], np.ones((1, 3))), "-4 is negative"),
        (lambda i: i.upsert([4, 4], np.ones((2, 3))), r"ids \[4\] stand more than once"),
        (lambda i: i.upsert([4], np.ones((2, 3))), "1 ids for 2 vectors"),
        (lambda i: i.upsert([1.5], np.ones((1, 3))), "whole numbers"),
        (lambda i: i.upsert([4], [[0, 0, 1e20]]), r"vectors, row 0: .* beyond 1e\+15"),
        (lambda i: i.upsert([4], np.ones((1, 3)), Attributes([["a"], []])), "2 lists of categories for 1 rows"),
        (lambda i: i.upsert([4], np.ones((1, 3)), Attributes(["war"])), "row 0: 'war' is not a list of strings"),
        (lambda i: i.upsert([4], np.ones((1, 3)), Attributes([["war", 7]])), "row 0: .* is not a list of strings"),
        (lambda i: i.upsert([4], np.ones((1, 3)), Attributes(numbers={"n": [1, 2]})), "expected one number for each"),
        (lambda i: i.delete([-1]), "-1 is negative"),
    ],
)
def test_a_refusal_says_what_and_what_to_do(small, call, message):
    with pytest.raises(VectorIndexError, match=message):
        call(small)
    assert len(small) == 3


def test_half_refuses_what_a_float16_cannot_hold():
    with pytest.raises(VectorIndexError, match="beyond 60000"):
        VectorIndex.build([[7e4]], [1], kind=Exact(half=True))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("row", [[0.0] * 6, [1.0, 0, 0, 0, 0, 0]], ids=["zeros", "equal"])
def test_rows_that_are_all_the_same_come_in_the_order_of_their_ids(kind, row):
    index = VectorIndex.build(np.tile(row, (1200, 1)), np.arange(1200)[::-1], kind=kind)
    for batch in (1, 30):
        found = index.search(np.ones((batch, 6)), 40)
        assert (found.ids >= 0).all()
        assert (np.diff(found.ids, axis=1) > 0).all()
        if isinstance(kind, Exact):
            assert (found.ids == np.arange(40)).all()


def test_no_queries_and_no_rows(small):
    assert small.search(np.empty((0, 3)), 4).ids.shape == (0, 4)
    assert small.search(np.empty((0, 3)), 4, filters=[]).ids.shape == (0, 4)
    small.upsert(np.empty(0, dtype=int), np.empty((0, 3)))
    small.delete([])
    assert len(small) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e15, 3e38])
@pytest.mark.parametrize("kind", [Exact(), IVFFastScan(16, 8)], ids=str)
def test_queries_that_need_no_conversion_are_checked_like_any_other(clustered, kind, value):
    vectors, queries = clustered(1500)
    index = VectorIndex.build(vectors, np.arange(1500), kind=kind)
    bad = queries.copy()
    bad[7, 3] = value
    for rows, row in ((bad, 7), (bad[7:8], 0), (np.asfortranarray(bad), 7), (bad[::7], 1)):
        with pytest.raises(VectorIndexError, match=rf"queries, row {row}: holds a number that is not finite or beyond"):
            index.search(rows, 5)
    with pytest.raises(VectorIndexError, match=r"rows of width 32"):
        index.search(queries[:, :31], 5)
    expected = index.search(queries, 5)
    for rows, k in ((queries.astype(np.float64), 5), (np.asfortranarray(queries), np.int64(5))):
        assert (index.search(rows, k).ids == expected.ids).all()
