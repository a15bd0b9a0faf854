from index.plan import cheapest
from index.vectors import SealedVectors

ROWS, DIM = 1_000_000, 128


class Quick:
    """An engine of fixed price that takes no selector."""

    takes_selector, most = False, 2048

    def cost_ns(self, queries, k, share=1.0):
        return queries * (1e6 + 1000 * k)


class Flat(SealedVectors):
    def __init__(self):
        self.dim, self._batch = DIM, 8

    def __len__(self):
        return ROWS


def plan(eligible, *, queries=1, batch=None, k=100, quick=True):
    engines = [Quick(), Flat()] if quick else [Flat()]
    found = cheapest(engines, rows=ROWS, dim=DIM, eligible=eligible, queries=queries, batch=batch or queries, k=k)
    return type(found.engine), found.selects, found.fetch


def test_few_eligible_rows_are_gathered():
    assert plan(100) == (type(None), False, 100)
    assert plan(10_000, quick=False) == (type(None), False, 100)


def test_a_few_seen_items_are_fetched_on_top():
    assert plan(ROWS - 50) == (Quick, False, 150)


def test_half_the_rows_are_selected_where_one_query_scans():
    assert plan(ROWS // 10, quick=False) == (Flat, True, 100)


def test_an_engine_is_not_asked_for_more_than_it_gives():
    assert plan(ROWS - 50, k=3000)[0] is Flat


def test_a_batch_of_many_filters_shares_one_scan():
    alone, together = plan(ROWS // 10, quick=False), plan(ROWS // 10, batch=64, quick=False)
    assert alone == together == (Flat, True, 100)
    assert plan(ROWS // 50, batch=1, quick=False)[0] is type(None)
