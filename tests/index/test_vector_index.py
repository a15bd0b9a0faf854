import numpy as np
import pytest

from index.errors import VectorIndexError
from index.filters import Attributes, Filter
from index.vector_index import VectorIndex

ROWS = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]], dtype=np.float32)
IDS = np.array([5, 6, 7, 8])


def test_best_first_with_fillers():
    found = VectorIndex.build(ROWS, IDS).search(np.array([[1.0, 0.0]]), 5)
    assert found.ids.tolist() == [[5, 8, 7, 6, -1]]
    assert found.scores[0, :4] == pytest.approx([1.0, 0.8, 0.6, 0.0])
    assert found.scores[0, 4] == -np.inf


def test_each_query_has_its_own_filter():
    attributes = Attributes(
        categories=[{"a"}, {"b"}, {"a", "b"}, set()], numbers={"price": np.array([1, 2, 3, np.nan])}
    )
    index = VectorIndex.build(ROWS, IDS, attributes=attributes)
    queries = np.ones((4, 2), dtype=np.float32)
    filters = [Filter(deny=[8, 7]), Filter(all_of={"a", "b"}), Filter(ranges={"price": (None, 2)}), None]
    assert index.search(queries, 2, filters=filters).ids.tolist() == [[5, 6], [7, -1], [5, 6], [7, 8]]


def test_saved_index_answers_the_same(tmp_path):
    index = VectorIndex.build(ROWS, IDS, fingerprint="abc")
    index.upsert(np.array([5, 9]), np.array([[0.0, -1.0], [1.0, 0.0]]))
    index.save(tmp_path / "index")
    loaded = VectorIndex.load(tmp_path / "index", fingerprint="abc")
    assert loaded.search(np.array([[1.0, 0.0]]), 5).ids.tolist() == [[9, 8, 7, 5, 6]]
    with pytest.raises(VectorIndexError, match="fingerprint"):
        VectorIndex.load(tmp_path / "index", fingerprint="other")
