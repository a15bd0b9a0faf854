from types import SimpleNamespace

import numpy as np
import pytest

from index.approximate import CpuEngine
from index.kinds import HNSW, FastScan, IVFFastScan, IVFFlat
from index.plan import WORTH_BEING_EXACT, cheapest
from index.vectors import SealedVectors

ROWS, DIM = 1_000_000, 128


class Quick:
    """An engine of fixed price that takes no selector."""

    exact, takes_selector, most = False, False, 2048

    def cost_ns(self, queries, k, share=1.0, *, selects=False):
        return queries * (1e6 + 1000 * k)


class Flat(SealedVectors):
    def __init__(self, rows=ROWS):
        self.dim, self._batch, self.rows, self._table = DIM, 8, rows, np.empty(0, dtype=np.float32)

    def __len__(self):
        return self.rows


def plan(eligible, *, queries=1, batch=None, k=100, quick=True, worth=1.0):
    engines = [Quick(), Flat()] if quick else [Flat()]
    among_ns = Flat().among_cost_ns(queries, eligible)
    batch = batch or queries
    found = cheapest(
        engines, rows=ROWS, eligible=eligible, queries=queries, batch=batch, k=k, among_ns=among_ns, worth=worth
    )
    return type(found.engine), found.selects, found.fetch


def test_what_few_queries_may_see_is_scored_alone():
    for eligible in (100, ROWS // 100, ROWS // 2):
        assert plan(eligible, quick=False) == (type(None), False, 100)


def test_a_few_seen_items_are_fetched_on_top():
    assert plan(ROWS - 50) == (Quick, False, 150)
    assert plan(ROWS - 50, quick=False) == (Flat, False, 150)


def test_being_exact_is_worth_something():
    # A twentieth: 2.9 ms to score, 2.3 where 1349 are fetched from Quick. Half: 29 ms against 1.3.
    few, half = ROWS // 20, ROWS // 2
    assert plan(few, k=50, worth=1.0) == (Quick, False, 1349)
    assert plan(few, k=50, worth=4.0) == (type(None), False, 50)
    assert plan(half, worth=4.0) == (Quick, False, 294)
    assert plan(half, worth=float("inf")) == (type(None), False, 100)


def test_an_engine_is_not_asked_for_more_than_it_gives():
    assert plan(ROWS - 50, k=3000)[0] is Flat


def test_a_batch_of_many_filters_shares_one_scan():
    assert plan(ROWS // 2, batch=64, quick=False) == (Flat, True, 100)
    assert plan(ROWS // 50, batch=64, quick=False)[0] is type(None)


@pytest.mark.parametrize("rows", [100_000, ROWS])
@pytest.mark.parametrize("kind", [FastScan(), IVFFastScan(4096, 64), IVFFlat(4096, 256), HNSW()], ids=str)
def test_a_tenth_of_the_rows_is_searched_exactly_on_every_kind(kind, rows):
    flat = Flat(rows)
    engine = CpuEngine.__new__(CpuEngine)
    engine.kind, engine.base, engine._vectors = kind, SimpleNamespace(nlist=4096), flat
    engine.takes_selector = not isinstance(kind, FastScan)
    for eligible in (rows // 10_000, rows // 100, rows // 10):
        for queries in (1, 64):
            asked = {"rows": rows, "eligible": eligible, "queries": queries, "batch": queries, "k": 100}
            among_ns = flat.among_cost_ns(queries, eligible)
            found = cheapest([engine, flat], **asked, among_ns=among_ns, worth=WORTH_BEING_EXACT)
            assert found.engine in (None, flat), (eligible, queries)
