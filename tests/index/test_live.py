"""Rows that come and go: the next search sees it, compaction changes nothing, readers are never disturbed."""

import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from index import vector_index
from index.filters import Attributes, Filter
from index.kinds import HNSW, Exact, FastScan, IVFFastScan, IVFFlat
from index.vector_index import VectorIndex

KINDS = [Exact(), Exact(half=True), FastScan(), IVFFastScan(32, 16), IVFFlat(32, 16), HNSW()]
IDS = st.lists(st.integers(0, 12), unique=True, max_size=6)


class AgainstADictionary(RuleBasedStateMachine):
    """Whatever is done to the index is done to a dictionary; a sort of the dictionary is the answer."""

    @initialize(ids=IDS, seed=st.integers(0, 99))
    def build(self, ids, seed):
        self.rng = np.random.default_rng(seed)
        rows = self.draw(len(ids))
        self.index = VectorIndex.build(rows[0], np.array(ids, dtype=np.int64), attributes=rows[1])
        self.rows = {}
        self.remember(ids, rows)

    def draw(self, count):
        categories = [["x"] if self.rng.random() < 0.5 else [] for _ in range(count)]
        numbers = {"n": self.rng.integers(0, 4, count).astype(float)}
        return self.rng.integers(-1, 2, (count, 2)).astype(np.float32), Attributes(categories, numbers)

    def remember(self, ids, rows):
        for place, row_id in enumerate(ids):
            self.rows[row_id] = (rows[0][place], rows[1].categories[place], rows[1].numbers["n"][place])

    @rule(ids=IDS)
    def upsert(self, ids):
        rows = self.draw(len(ids))
        self.index.upsert(np.array(ids, dtype=np.int64), *rows)
        self.remember(ids, rows)

    @rule(ids=IDS)
    def delete(self, ids):
        self.index.delete(np.array(ids, dtype=np.int64))
        for row_id in ids:
            self.rows.pop(row_id, None)

    @rule()
    def compact(self):
        self.index.compact()

    @invariant()
    def same_answers(self):
        if not hasattr(self, "index"):
            return
        assert len(self.index) == len(self.rows)
        query = self.rng.integers(-1, 2, (1, 2)).astype(np.float32)
        deny = set(self.rng.integers(0, 12, 2).tolist())
        condition = Filter(any_of=["x"], deny=deny, ranges={"n": (1, None)} if self.rows else {})
        for filters in (None, condition):
            eligible = [
                (-float(vector @ query[0]), row_id)
                for row_id, (vector, categories, number) in self.rows.items()
                if filters is None or (categories and row_id not in deny and number >= 1)
            ]
            if filters is not None and "n" not in self.index._state.columns():
                continue
            want = [row_id for _, row_id in sorted(eligible)][:4]
            assert self.index.search(query, 4, filters=filters).ids[0].tolist() == want + [-1] * (4 - len(want))


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_next_search_sees_it_on_every_kind(clustered, kind):
    vectors, queries = clustered(3000)
    index = VectorIndex.build(vectors, np.arange(3000), kind=kind)
    new = queries[:1]  # a unit row that is not there yet: the best answer to itself
    for row_id in (5000, 7):  # a new id, then one the sealed block holds
        index.upsert([row_id], new)
        assert index.search(new, 1).ids.tolist() == [[row_id]]
        assert (index.search(vectors[:50], 3001).ids == row_id).sum() == 50
        index.compact()
        assert index.search(new, 1).ids.tolist() == [[row_id]]
        index.delete([row_id])
        assert row_id not in index.search(new, 3001).ids
        index.compact()
        assert row_id not in index.search(new, 3001).ids


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_compaction_changes_no_answer(clustered, brute_force, kind):
    vectors, queries = clustered(4000)
    ids = np.random.default_rng(1).permutation(10_000)[:4000]
    attributes = Attributes([["odd"] if i % 2 else ["even"] for i in ids], {"id": ids.astype(float)})
    index = VectorIndex.build(vectors[:2500], ids[:2500], kind=kind, attributes=attributes.part(slice(0, 2500)))
    index.upsert(ids[2000:], vectors[2000:], attributes.part(slice(2000, 4000)))
    index.delete(ids[:100])
    index.compact()
    state = index._state
    assert not state.waiting
    assert (state.sealed.ids == np.sort(ids[100:])).all()
    condition = Filter(any_of=["odd"], ranges={"id": (None, 5000)})
    found = index.search(queries, 50, filters=condition, exact=True)
    if kind.half:
        vectors = vectors.astype(np.float16).astype(np.float32)
    left = slice(100, None)
    mask = (ids % 2 == 1) & (ids <= 5000)
    assert (found.ids == brute_force(queries, vectors[left], ids[left], 50, mask[left])[0]).all()


def test_updates_made_during_a_compaction_are_carried_over(clustered, tmp_path, monkeypatch):
    vectors, queries = clustered(1200)
    index = VectorIndex.build(vectors, np.arange(1200), kind=IVFFastScan(8, 8))
    index.save(tmp_path)
    index.upsert([2000, 2001, 2002], queries[:3], Attributes([["old"]] * 3))

    def slow_reseal(state, kind):
        sealed = real_reseal(state, kind)
        index.upsert([2001, 5], queries[3:5], Attributes([["new"], ["new"]]))  # one from each block
        index.delete([2002, 6])
        return sealed

    real_reseal = vector_index.reseal
    monkeypatch.setattr(vector_index, "reseal", slow_reseal)
    index.compact()
    index.close()
    for current in (index, VectorIndex.load(tmp_path)):
        assert len(current) == 1200 + 2 - 1
        assert current.search(queries[[0, 3, 4]], 1).ids[:, 0].tolist() == [2000, 2001, 5]
        everything = current.search(queries[:1], 2000).ids
        assert not np.isin([2002, 6], everything).any()
        assert (everything == 2001).sum() == (everything == 5).sum() == 1
        assert sorted(current.search(queries[:1], 9, filters=Filter(any_of=["new"])).ids[0, :3]) == [-1, 5, 2001]
        assert current.search(queries[:1], 2, filters=Filter(any_of=["old"])).ids.tolist() == [[2000, -1]]


def test_an_index_that_grows_is_trained_anew(clustered):
    vectors, _ = clustered(6000)
    index = VectorIndex.build(vectors[:2000], np.arange(2000), kind=IVFFlat(64, 8))
    engines = [index._state.sealed.engine]
    for start, stop in ((2000, 2100), (2100, 6000), (5990, 6000)):  # grown a little, threefold, not at all
        index.upsert(np.arange(start, stop), vectors[start:stop])
        index.compact()
        engines.append(index._state.sealed.engine)
    assert [engine.base.nlist for engine in engines] == [51, 53, 64, 64]
    centres = [engine.base.quantizer.reconstruct_n(0, 51) for engine in engines]
    assert [np.array_equal(a, b) for a, b in itertools.pairwise(centres)] == [False, False, True]


def test_vectors_come_back_in_the_order_asked(clustered):
    vectors, _ = clustered(50)
    index = VectorIndex.build(vectors[:40], np.arange(40))
    index.upsert(np.arange(35, 50), vectors[35:50])
    index.delete([3])
    assert (index.vectors_of([49, 0, 36, 0]) == vectors[[49, 0, 36, 0]]).all()
    with pytest.raises(ValueError, match=r"ids \[3, 77\]: not in the index"):
        index.vectors_of([1, 3, 77])


def test_an_update_is_seen_whole_or_not_at_all():
    """Eight ids always share one vector: a reader that sees two, or another number of ids, saw half an update."""
    ids = np.arange(8)
    index = VectorIndex.build(np.tile([[1.0, 0.0]], (8, 1)), ids)
    stop = threading.Event()
    faults = []

    def read():
        while not stop.is_set():
            found = index.search([[1.0, 0.0]], 20)
            scores = found.scores[found.ids >= 0]
            denied = index.search([[1.0, 0.0]], 20, filters=Filter(deny=[3])).ids
            if len(scores) != 8 or len(set(scores.tolist())) != 1 or 3 in denied or (denied >= 0).sum() != 7:
                faults.append(found)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for step in range(400):
        index.upsert(ids, np.tile([[1.0 + step, 0.0]], (8, 1)))
        if step % 50 == 49:
            index.compact()
    stop.set()
    for reader in readers:
        reader.join()
    assert not faults


def test_compaction_sets_in_by_itself_and_searches_go_on(clustered, monkeypatch):
    monkeypatch.setattr(vector_index, "COMPACT_AFTER_ROWS", 2000)
    vectors, queries = clustered(20_000)
    index = VectorIndex.build(vectors[:10_000], np.arange(10_000), kind=IVFFastScan(64, 32))
    for start in range(10_000, 20_000, 500):
        index.upsert(np.arange(start, start + 500), vectors[start : start + 500])
        index.search(queries, 10)
    deadline = time.monotonic() + 20
    while index._state.delta_rows >= 2000 and time.monotonic() < deadline:
        time.sleep(0.05)
    index.close()
    assert len(index._state.sealed) > 10_000
    assert index._state.delta_rows < 2000
    assert len(index) == 20_000
    assert (index.search(vectors[-20:], 1, exact=True).ids[:, 0] == np.arange(19_980, 20_000)).all()


def test_an_index_that_keeps_no_updates_leaves_its_directory_alone(tmp_path):
    """Several may be loaded from one directory, each changing what it alone sees."""
    VectorIndex.build(np.eye(3), [1, 2, 3]).save(tmp_path / "index")
    before = {path: path.read_bytes() for path in (tmp_path / "index").rglob("*") if path.is_file()}
    one, other = (VectorIndex.load(tmp_path / "index", keep_updates=False) for _ in range(2))
    one.upsert([9], [[0.0, 0.0, 2.0]])
    other.delete([3])
    one.compact()
    assert one.search([[0, 0, 1]], 2).ids.tolist() == [[9, 3]]
    assert other.search([[0, 0, 1]], 3).ids.tolist() == [[1, 2, -1]]
    assert {path: path.read_bytes() for path in (tmp_path / "index").rglob("*") if path.is_file()} == before
