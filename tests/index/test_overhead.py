"""What the benchmark says our interface costs, on an index that is slow in a place we know."""

import time

import numpy as np

from benchmarks.index import overhead
from index.kinds import FastScan
from index.vector_index import VectorIndex


class Slow:
    """A FAISS index that takes two milliseconds more while ``asked_by_us``."""

    asked_by_us = False

    def __init__(self, index):
        self.index = index

    def search(self, queries, k, *, params):
        if self.asked_by_us:
            time.sleep(0.002)
        return self.index.search(queries, k, params=params)


def test_time_within_faiss_is_not_ours_and_time_around_it_is(clustered, monkeypatch):
    vectors, queries = clustered(2000)
    index = VectorIndex.build(vectors, np.arange(2000), kind=FastScan())
    engine = index._state.sealed.engine
    raw, search = engine._searched, engine.search

    def unlucky(*given):
        """Our call, whose search within FAISS happens to be slow."""
        slow.asked_by_us = True
        found = search(*given)
        slow.asked_by_us = False
        return found

    engine._searched = slow = Slow(raw)
    monkeypatch.setattr(engine, "search", unlucky)
    inside = overhead._one_query(index, queries, 10, seconds=0.05)
    assert engine._searched is slow  # what was put in its place is gone
    engine._searched = raw
    monkeypatch.setattr(engine, "search", lambda *given: (time.sleep(0.002), search(*given))[1])
    outside = overhead._one_query(index, queries, 10, seconds=0.05)
    assert inside["ours_ms"] > 2 > inside["faiss_ms"]
    assert inside["more_us"] < 1000
    assert outside["more_us"] > 2000
