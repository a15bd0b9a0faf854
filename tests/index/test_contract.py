"""One suite for every index: on this machine, on milvus-lite, and on a Milvus server.

The server is the package ``milvus==2.3.5`` in an environment of its own (it needs ``setuptools<81``); give the path of
that environment's interpreter in MILVUS_SERVER_PYTHON to run these tests against it.
"""

import os
import subprocess
from dataclasses import replace

import faiss
import numpy as np
import pytest

from index.errors import VectorIndexError
from index.filters import Attributes, Filter
from index.kinds import HNSW, Exact, FastScan, IVFFastScan, IVFFlat
from index.milvus import MilvusIndex
from index.vector_index import VectorIndex

ROWS, DIM = 2500, 16
IDS = np.arange(100, 100 + ROWS)
CATEGORIES = [["喜剧", f'in "{row % 7}"'] if row % 2 else [] for row in range(ROWS)]
PRICES = np.where(np.arange(ROWS) % 3 == 0, np.nan, np.arange(ROWS) / 10)

LOCAL = [Exact(), FastScan(), IVFFastScan(16, 12), IVFFlat(16, 12), HNSW()]
LITE = [Exact(), IVFFlat(128, 110), HNSW()]  # milvus-lite makes 128 clusters, whatever it is asked for
SERVED = [Exact(), IVFFlat(16, 12), IVFFastScan(16, 12), HNSW()]

SERVE = """
import sys
from milvus import default_server
default_server.set_base_dir(sys.argv[1])
default_server.start()
print(default_server.listen_port, flush=True)
sys.stdin.read()
default_server.stop()
"""


@pytest.fixture(scope="module")
def rows(clustered):
    return clustered(ROWS, dim=DIM, queries=8)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    python = os.environ.get("MILVUS_SERVER_PYTHON")
    if not python:
        pytest.skip("no Milvus server: give MILVUS_SERVER_PYTHON, the interpreter of an environment with milvus==2.3.5")
    command = [python, "-c", SERVE, tmp_path_factory.mktemp("milvus")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def backends():
    for kind in LOCAL:
        yield pytest.param(("local", kind), id=f"local-{type(kind).__name__}")
    for kind in LITE:
        yield pytest.param(("lite", kind), id=f"lite-{type(kind).__name__}")
    for kind in SERVED:
        yield pytest.param(("server", kind), id=f"server-{type(kind).__name__}", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=backends())
def make(request, tmp_path_factory):
    """→ a function that builds an index of rows on the backend, and how exact its kind is."""
    where, kind = request.param
    if where != "local":
        pytest.importorskip("pymilvus")
    uri = request.getfixturevalue("server") if where == "server" else str(tmp_path_factory.mktemp("lite") / "test.db")
    made = []

    def build(vectors, ids, attributes=None):
        if where == "local":
            index = VectorIndex.build(vectors, ids, kind=kind, attributes=attributes)
        else:
            index = MilvusIndex.build(uri, f"items{len(made)}", vectors, ids, kind=kind, attributes=attributes)
        made.append(index)
        return index

    build.kind, build.uri, build.where = kind, uri, where
    yield build
    for index in made:
        index.close()


@pytest.fixture(scope="module")
def index(make, rows):
    return make(rows[0], IDS, Attributes(CATEGORIES, {"price": PRICES, "余量": np.arange(ROWS) % 5}))


def recall(found, want):
    return np.mean([np.isin(w[w >= 0], f).mean() for w, f in zip(want, found, strict=True)])


def test_the_best_rows_come_first(make, index, rows, brute_force):
    assert (len(index), index.dim) == (ROWS, DIM)
    for batch in (1, 8):
        found = index.search(rows[1][:batch], 20)
        ids, _ = brute_force(rows[1][:batch], rows[0], IDS, 20)
        if make.kind == Exact():
            assert (found.ids == ids).all()
        assert recall(found.ids, ids) > 0.9
        true = np.einsum("bkd,bd->bk", rows[0][found.ids - 100], rows[1][:batch])
        assert found.scores == pytest.approx(true, abs=1e-4)


FILTERS = {
    "allow": (Filter(allow=[103, 104, 2599, 9999]), np.isin(IDS, [103, 104, 2599])),
    "deny": (Filter(deny=IDS[:2000]), IDS >= 2100),
    "any": (Filter(any_of=["喜剧", "nothing"]), np.arange(ROWS) % 2 == 1),
    "all": (Filter(all_of=["喜剧", 'in "3"']), (np.arange(ROWS) % 2 == 1) & (np.arange(ROWS) % 7 == 3)),
    "none": (Filter(none_of=["喜剧"]), np.arange(ROWS) % 2 == 0),
    "range": (Filter(ranges={"price": (20, 60.1)}), (PRICES >= 20) & (PRICES <= 60.1)),
    "two ranges": (Filter(ranges={"price": (None, 90), "余量": (2, 2)}), (PRICES <= 90) & (np.arange(ROWS) % 5 == 2)),
    "known": (Filter(ranges={"price": (None, None)}), ~np.isnan(PRICES)),
    "nobody": (Filter(allow=[]), np.zeros(ROWS, bool)),
    "few": (Filter(any_of=["喜剧"], ranges={"price": (None, 1)}), (np.arange(ROWS) % 2 == 1) & (PRICES <= 1)),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_are_right_and_fill_k(make, index, rows, brute_force, name):
    condition, mask = FILTERS[name]
    found = index.search(rows[1], 30, filters=condition)
    ids, _ = brute_force(rows[1], rows[0], IDS, 30, mask)
    assert ((found.ids >= 0) == (ids >= 0)).all()
    assert (found.scores[ids < 0] == -np.inf).all()
    assert mask[found.ids[found.ids >= 0] - 100].all()
    if make.kind == Exact():
        assert (found.ids == ids).all()
    if mask.any():
        assert recall(found.ids, ids) > 0.9


def test_each_query_has_its_own_filter(index, rows, brute_force):
    conditions = [FILTERS["deny"], FILTERS["few"], (None, np.ones(ROWS, bool)), FILTERS["deny"]]
    found = index.search(rows[1][:4], 5, filters=[condition for condition, _ in conditions])
    ids, _ = brute_force(rows[1][:4], rows[0], IDS, 5, np.array([mask for _, mask in conditions]))
    assert recall(found.ids, ids) > 0.9


def test_an_unknown_column_is_named(index, rows):
    with pytest.raises(VectorIndexError, match="'prize': no row has it"):
        index.search(rows[1], 3, filters=Filter(ranges={"prize": (1, 2)}))


def test_updates_are_seen_by_the_next_search(make, rows):
    index = make(rows[0], IDS)
    new = rows[1][:1]
    index.upsert([9000, 100], np.concatenate([new, new]), Attributes([["war"], []], {"price": [1, 2]}))
    assert index.search(new, 2).ids.tolist() == [[100, 9000]]
    assert index.search(new, 2, filters=Filter(any_of=["war"])).ids.tolist() == [[9000, -1]]
    assert index.search(new, 2, filters=Filter(ranges={"price": (2, None)})).ids.tolist() == [[100, -1]]
    assert (index.vectors_of([9000, 101]) == np.concatenate([new, rows[0][1:2]])).all()
    index.delete([9000, 77])
    assert index.search(new, 1).ids.tolist() == [[100]]
    assert len(index) == ROWS
    with pytest.raises(VectorIndexError, match=r"\[9000\]: not in the index"):
        index.vectors_of([9000])


def test_more_than_there_are(index, rows):
    found = index.search(rows[1][:1], ROWS + 2)
    assert sorted(found.ids[0, :ROWS]) == IDS.tolist()
    assert found.ids[0, ROWS:].tolist() == [-1, -1]


def test_an_empty_index_answers_with_nobody(make):
    index = make(np.empty((0, DIM)), np.empty(0, dtype=int))
    assert index.search(np.ones((2, DIM)), 3).ids.tolist() == [[-1] * 3] * 2
    index.upsert([5], np.ones((1, DIM)))
    assert index.search(np.ones((2, DIM)), 2).ids.tolist() == [[5, -1]] * 2


SERVED_AS = {Exact: "FLAT", IVFFlat: "IVF_FLAT", IVFFastScan: "SCANN", HNSW: "HNSW"}
MADE_OF = {
    Exact: faiss.IndexFlat,
    FastScan: faiss.IndexPQFastScan,
    IVFFastScan: faiss.IndexIVFPQFastScan,
    IVFFlat: faiss.IndexIVFFlat,
    HNSW: faiss.IndexHNSWSQ,
}


def test_the_kind_asked_for_is_the_one_that_serves(make, rows, brute_force):
    """By what it is made of, or says it is; and with next to no effort an approximate index must err, else it is brute
    force under another name.
    """
    index = make(rows[0], IDS)
    if make.where == "local":
        engine = index._state.sealed.engine
        assert isinstance(engine.flat if make.kind == Exact() else engine.base, MADE_OF[type(make.kind)])
    else:
        assert index.served_as() == SERVED_AS[type(make.kind)]
    if make.where != "local" and isinstance(make.kind, IVFFlat | IVFFastScan):
        index.kind = replace(make.kind, nprobe=1)
        ids, _ = brute_force(rows[1], rows[0], IDS, 10)
        assert recall(index.search(rows[1], 10).ids, ids) < 0.9
        index.kind = make.kind
        assert recall(index.search(rows[1], 10).ids, ids) > 0.95
