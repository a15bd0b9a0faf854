"""What only a Milvus index has: names, versions, kinds it must not pretend to serve. On milvus-lite."""

import numpy as np
import pytest

from index.errors import VectorIndexError
from index.filters import Attributes, Filter
from index.kinds import HNSW, Exact, FastScan, IVFFastScan, IVFFlat
from index.milvus import MilvusIndex
from index.milvus_expression import expression

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.fixture
def uri(tmp_path):
    return str(tmp_path / "test.db")


@pytest.fixture(scope="module")
def rows(clustered):
    return clustered(1500, dim=8)


def build(uri, rows, kind=Exact(), **how):  # noqa: B008 - frozen
    return MilvusIndex.build(uri, "items", rows, np.arange(len(rows)), kind=kind, **how)


def test_the_name_stands_for_the_latest_build_and_goes_back(uri, rows):
    build(uri, rows[0][:10], fingerprint="first").close()
    index = build(uri, rows[0][:20], fingerprint="second")
    assert len(index) == 20
    index.close()
    index = MilvusIndex.connect(uri, "items", kind=Exact(), fingerprint="second")
    assert len(index) == 20
    assert index.rollback().startswith("items_000001_")
    assert len(index) == 10
    with pytest.raises(VectorIndexError, match="oldest"):
        index.rollback()
    index.close()
    with pytest.raises(VectorIndexError, match="another bundle than 'second'"):
        MilvusIndex.connect(uri, "items", kind=Exact(), fingerprint="second")


def test_three_builds_are_kept(uri, rows):
    for _ in range(4):
        index = build(uri, rows[0][:5])
    assert [name[:12] for name in index._client.list_collections()] == ["items_000002", "items_000003", "items_000004"]
    index.close()


@pytest.mark.parametrize("kind", [IVFFlat(16, 8), HNSW()], ids=str)
def test_the_files_of_milvus_lite_show_the_kind(uri, rows, kind, tmp_path):
    index = build(uri, rows[0], kind)
    assert index.served_as() == {IVFFlat: "IVF_FLAT", HNSW: "HNSW"}[type(kind)]
    suffix = {IVFFlat: ".ivf_flat.idx", HNSW: ".hnsw.idx"}[type(kind)]
    assert list(tmp_path.rglob(f"*{suffix}"))
    index.close()
    with pytest.raises(VectorIndexError, match=r"serves .*, not Exact"):
        MilvusIndex.connect(uri, "items", kind=Exact())


def test_a_kind_that_would_be_pretended_is_refused(uri, rows):
    with pytest.raises(VectorIndexError, match="milvus-lite would serve it by brute force"):
        build(uri, rows[0], IVFFastScan())
    with pytest.raises(VectorIndexError, match=r"FastScan.* is not offered on Milvus"):
        build(uri, rows[0], FastScan())
    with pytest.raises(VectorIndexError, match="not half"):
        build(uri, rows[0], Exact(half=True))


def test_doors(uri, rows):
    with pytest.raises(VectorIndexError, match=r"no index 'items'. Build it"):
        MilvusIndex.connect(uri, "items", kind=Exact())
    index = build(uri, rows[0][:10])
    with pytest.raises(VectorIndexError, match="16384 at most"):
        index.search(rows[1][:1], 16_385)
    with pytest.raises(VectorIndexError, match="one of over 512 bytes"):
        index.upsert([1], rows[1][:1], Attributes([["x" * 513]]))
    index.close()


def test_no_server_says_what_to_check():
    with pytest.raises(VectorIndexError, match=r"no Milvus answers.*Check the address"):
        MilvusIndex.connect("http://127.0.0.1:9", "items", kind=Exact())


def test_expressions():
    assert expression(None) == ""
    assert expression(Filter()) == ""
    assert expression(Filter(allow=[])) == "id in []"
    condition = Filter(all_of={'a "b"'}, none_of=["c\\"], ranges={'p"': (None, 2)})
    assert expression(condition) == (
        'array_contains_all(categories, ["a \\"b\\""]) and not array_contains_any(categories, ["c\\\\"])'
        ' and numbers["p\\""] <= 2.0'
    )
