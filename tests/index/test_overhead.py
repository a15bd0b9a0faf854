"""What the benchmark says our interface costs, on an index that is slow in a place we know."""

import time

import numpy as np

from benchmarks.index import overhead
from index.kinds import FastScan
from index.vector_index import VectorIndex


def reading_of(index, queries):
    return overhead._one_query(index, queries, 10, seconds=0.02)


def test_time_within_faiss_is_not_ours_and_time_around_it_is(clustered, monkeypatch):
    vectors, queries = clustered(2000)
    index = VectorIndex.build(vectors, np.arange(2000), kind=FastScan())
    engine = index._state.sealed.engine
    plain = reading_of(index, queries)
    raw, search = engine._searched, engine.search
    slow_raw = type(
        "Slow", (), {"search": lambda self, *given, **how: (time.sleep(0.002), raw.search(*given, **how))[1]}
    )
    engine._searched = slow_raw()
    slow_inside = reading_of(index, queries)
    engine._searched = raw
    monkeypatch.setattr(engine, "search", lambda *given: (time.sleep(0.002), search(*given))[1])
    slow_outside = reading_of(index, queries)
    assert plain["more_us"] < 1000
    assert slow_inside["faiss_ms"] > 2
    assert slow_inside["more_us"] < 1000
    assert slow_outside["more_us"] > 2000
    assert engine._searched is raw  # what was put in its place is gone
