"""Many readers and one writer, with compaction under way: nothing is lost, and nobody waits for it."""

import threading

import numpy as np
import pytest

from benchmarks.index.waiting import Watch
from index import vector_index
from index.filters import Attributes, Filter
from index.kinds import Exact, IVFFastScan
from index.vector_index import VectorIndex


@pytest.mark.parametrize("kind", [Exact(), IVFFastScan(64, 32)], ids=str)
def test_readers_always_find_what_was_acknowledged(clustered, tmp_path, monkeypatch, kind):
    """The writer moves ids round; each reader checks that what was acknowledged before its search is in its answer."""
    monkeypatch.setattr(vector_index, "COMPACT_AFTER_ROWS", 100)
    monkeypatch.setattr(vector_index, "COMPACT_AFTER_SHARE", 0.0)
    vectors, queries = clustered(4000, queries=300)
    index = VectorIndex.build(vectors, np.arange(4000), kind=kind)
    index.save(tmp_path)
    acknowledged, deleted, faults = 0, 0, []
    stop = threading.Event()

    def read(seed):
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            first, last = deleted, acknowledged
            if last <= first:
                continue
            pick = int(rng.integers(first, last))
            found = index.search(queries[pick][None], 3).ids[0]
            gone = deleted
            if 10_000 + pick not in found and pick >= gone + 1:
                faults.append(("lost", pick, found))
            found = index.search(queries[pick][None], 3, filters=Filter(deny=[10_000 + pick])).ids[0]
            if 10_000 + pick in found:
                faults.append(("denied", pick, found))

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for reader in readers:
        reader.start()
    for step in range(160):
        index.upsert([10_000 + step, 20_000 + step], np.stack([queries[step], -queries[step]]))
        acknowledged = step + 1
        if step >= 80:
            deleted = step - 79  # announced first: from here on a reader may miss it
            index.delete([10_000 + step - 80])
    stop.set()
    for reader in readers:
        reader.join()
    index.close()
    assert not faults
    found = VectorIndex.load(tmp_path).search(queries[80:160], 1)
    assert found.ids[:, 0].tolist() == list(range(10_080, 10_160))


def test_no_search_is_blocked_by_a_compaction(clustered, tmp_path):
    """While 60,000 rows are sealed anew and saved, no search waits for a lock, the interpreter's included."""
    vectors, queries = clustered(60_000, dim=64)
    categories = [[f"c{row % 500}", f"d{row % 7}"] for row in range(60_000)]
    first, later = slice(0, 50_000), slice(50_000, 59_000)
    index = VectorIndex.build(
        vectors[first], np.arange(50_000), kind=IVFFastScan(128, 16), attributes=Attributes(categories[first])
    )
    index.save(tmp_path)
    worst = []
    for _ in range(3):  # a real wait shows every time
        index.upsert(np.arange(50_000, 59_000), vectors[later], Attributes(categories[later]))
        compaction = threading.Thread(target=index.compact)
        spent = []
        compaction.start()
        watch = Watch()
        while compaction.is_alive():
            spent.append(watch.time(lambda: index.search(queries[:1], 100)))
        compaction.join()
        watch.close()
        assert not index._state.waiting
        assert len(spent) > 50
        worst.append(max(one.blocked_ms for one in spent))
        if worst[-1] < 20:
            break
    index.close()
    assert min(worst) < 20, worst
