"""Filters against brute force: the right rows, all k of them, whatever path was taken."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import sealed
from index.errors import VectorIndexError
from index.filters import Attributes, Filter
from index.kinds import HNSW, Exact, FastScan, IVFFastScan, IVFFlat
from index.vector_index import VectorIndex

ROWS = 6000
SELECTIVITIES = [0.0001, 0.01, 0.1, 0.5, 0.99]
EXACT = [Exact(), Exact(half=True)]
APPROXIMATE = [
    FastScan(),
    FastScan(half=True),
    IVFFastScan(nlist=64, nprobe=16),
    IVFFlat(nlist=64, nprobe=16),
    IVFFlat(nlist=64, nprobe=16, half=True),
    HNSW(ef_search=200),
]
IDS = np.arange(1, ROWS + 1)
every_kind = pytest.mark.parametrize("kind", [*EXACT, *APPROXIMATE], ids=str)


def kept(index):
    """The rows as an index keeps them: rounded, where its kind is half."""
    return index.vectors_of(IDS)


def recall(found, want):
    return np.mean([np.isin(w[w >= 0], f).mean() for w, f in zip(want, found, strict=True)])


@pytest.fixture(scope="module")
def drawn():
    return np.random.default_rng(5).random(ROWS)


@pytest.fixture(scope="module")
def indexes(clustered, drawn):
    vectors, queries = clustered(ROWS, queries=12)
    attributes = Attributes(
        categories=[["even"] if row % 2 == 0 else ["odd", "every"] for row in range(ROWS)], numbers={"u": drawn}
    )
    built = {kind: VectorIndex.build(vectors, IDS, kind=kind, attributes=attributes) for kind in [*EXACT, *APPROXIMATE]}
    return vectors, queries, built


@pytest.mark.parametrize("batch", [1, 12])
@pytest.mark.parametrize("share", SELECTIVITIES)
@every_kind
def test_every_kind_is_right_at_every_selectivity(indexes, drawn, brute_force, kind, share, batch):
    """As full as can be, eligible, of true score; and the very answer of brute force where that is said."""
    _, queries, built = indexes
    rows, asked = kept(built[kind]), queries[:batch]
    mask = drawn <= np.quantile(drawn, share)
    found = built[kind].search(asked, 100, filters=Filter(ranges={"u": (None, np.quantile(drawn, share))}))
    ids, scores = brute_force(asked, rows, IDS, 100, mask)
    assert ((found.ids >= 0).sum(axis=1) == min(100, mask.sum())).all()
    assert mask[found.ids[found.ids >= 0] - 1].all()
    true = np.einsum("bkd,bd->bk", rows[found.ids - 1], asked)
    assert found.scores[found.ids >= 0] == pytest.approx(true[found.ids >= 0], abs=1e-5)
    if isinstance(kind, Exact) or share <= 0.1:
        assert (found.ids == ids).all()
        assert found.scores == pytest.approx(scores, abs=1e-6)
    else:
        assert recall(found.ids, ids) > 0.97


@pytest.mark.parametrize("share", [0.5, 0.99])
@pytest.mark.parametrize("kind", APPROXIMATE, ids=str)
def test_a_filter_that_leaves_much_costs_no_recall(indexes, drawn, brute_force, monkeypatch, kind, share):
    """Even where no exact way is taken, an approximate kind finds as much as it does without a filter."""
    monkeypatch.setattr(sealed, "WORTH_BEING_EXACT", 1e-9)
    _, queries, built = indexes
    rows, mask = kept(built[kind]), drawn <= share
    plain = recall(built[kind].search(queries, 100).ids, brute_force(queries, rows, IDS, 100)[0])
    found = built[kind].search(queries, 100, filters=Filter(ranges={"u": (None, share)})).ids
    ids = brute_force(queries, rows, IDS, 100, mask)[0]
    assert recall(found, ids) >= plain - 0.002


@pytest.mark.parametrize("kind", APPROXIMATE, ids=str)
def test_exact_can_be_asked_of_any_kind(indexes, drawn, brute_force, kind):
    _, queries, built = indexes
    found = built[kind].search(queries, 50, filters=Filter(ranges={"u": (0.3, 0.9)}), exact=True)
    ids, _ = brute_force(queries, kept(built[kind]), IDS, 50, (drawn >= 0.3) & (drawn <= 0.9))
    assert (found.ids == ids).all()


@every_kind
def test_what_a_user_has_seen_is_the_best_and_is_left_out(indexes, kind):
    """The seen items are the very ones a search would return: over-fetching by the average share finds too few."""
    _, queries, built = indexes
    best = built[kind].search(queries, 800, exact=True).ids
    found = built[kind].search(queries, 100, filters=[Filter(deny=seen[:700]) for seen in best])
    assert (found.ids >= 0).all()
    assert not any(np.isin(ids, seen[:700]).any() for ids, seen in zip(found.ids, best, strict=True))
    assert recall(found.ids, best[:, 700:]) > 0.95


def test_filters_of_one_batch_do_not_mix(indexes, brute_force):
    vectors, queries, built = indexes
    filters = [Filter(any_of={"even"}), None, Filter(allow=[3, 4, 5]), Filter(deny=IDS[:3000])] * 3
    masks = np.array([IDS % 2 == 1, IDS > 0, np.isin(IDS, [3, 4, 5]), IDS > 3000] * 3)
    found = built[Exact()].search(queries, 20, filters=filters)
    assert (found.ids == brute_force(queries, vectors, IDS, 20, masks)[0]).all()


SMALL = 30
CATEGORIES = ["a", "b", "c"]
filters = st.builds(
    Filter,
    allow=st.none() | st.sets(st.integers(0, 40)),
    deny=st.sets(st.integers(0, 40)),
    any_of=st.sets(st.sampled_from([*CATEGORIES, "unknown"]), max_size=2),
    all_of=st.sets(st.sampled_from(CATEGORIES), max_size=1),
    none_of=st.sets(st.sampled_from(CATEGORIES), max_size=1),
    ranges=st.dictionaries(
        st.just("price"), st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)), max_size=1
    ),
)


def fits(condition, row_id, categories, price):
    """What the documentation of Filter says, spelt out."""
    bounds = condition.ranges.get("price", (None, None))
    return (
        (condition.allow is None or row_id in condition.allow)
        and row_id not in condition.deny
        and (not condition.any_of or bool(categories & condition.any_of))
        and categories >= condition.all_of
        and not categories & condition.none_of
        and ("price" not in condition.ranges or not np.isnan(price))
        and (bounds[0] is None or price >= bounds[0])
        and (bounds[1] is None or price <= bounds[1])
    )


@settings(max_examples=150, deadline=None)
@given(
    conditions=st.lists(st.none() | filters, min_size=1, max_size=12),
    seed=st.integers(0, 1000),
    upserted=st.integers(0, SMALL),
)
def test_any_filter_over_both_blocks_equals_brute_force(brute_force, conditions, seed, upserted):
    """Coordinates of −1, 0, 1: exact arithmetic, and ties throughout."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, size=(SMALL, 3)).astype(np.float32)
    ids = rng.permutation(SMALL + 5)[:SMALL]
    categories = [{name for name in CATEGORIES if rng.random() < 0.4} for _ in ids]
    prices = np.where(rng.random(SMALL) < 0.2, np.nan, rng.integers(0, 10, SMALL))
    split = SMALL - upserted
    first = Attributes(categories[:split], {"price": prices[:split]})
    index = VectorIndex.build(vectors[:split], ids[:split], attributes=first)
    index.upsert(ids[split:], vectors[split:], Attributes(categories[split:], {"price": prices[split:]}))

    queries = rng.integers(-1, 2, size=(len(conditions), 3)).astype(np.float32)
    masks = np.array(
        [[c is None or fits(c, *row) for row in zip(ids.tolist(), categories, prices, strict=True)] for c in conditions]
    )
    found = index.search(queries, 7, filters=conditions)
    want_ids, want_scores = brute_force(queries, vectors, ids, 7, masks)
    assert found.ids.tolist() == want_ids.tolist()
    assert found.scores.tolist() == want_scores.tolist()


def test_one_string_is_not_a_list_of_categories():
    with pytest.raises(VectorIndexError, match="any_of: 'horror' is one string"):
        Filter(any_of="horror")
