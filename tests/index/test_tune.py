import json

import numpy as np
import pytest

from index import candidates, tune, tuning_plot
from index.kinds import HNSW, Exact, FastScan, IVFFastScan, IVFFlat, from_json
from index.memory import bytes_per_row
from index.tune import Reading, choose
from index.vector_index import VectorIndex


def reading(kind, recall, ms, qps):
    return Reading(kind, recall, ms, ms, qps, 1.0, 1.0)


def test_the_quickest_that_meets_the_target_is_chosen():
    readings = [
        reading(Exact(), 1.0, 20.0, 100),
        reading(FastScan(), 0.995, 2.0, 900),
        reading(IVFFastScan(), 0.992, 2.0, 2000),
        reading(HNSW(), 0.95, 0.5, 3000),
    ]
    chosen, why = choose(readings, 0.99)
    assert chosen.kind == IVFFastScan()
    assert why == "quickest of 3 that met recall 0.99: 0.9920, 10.0× exact search at batch 1 and 20.0× at batch 64"
    assert choose(readings, 0.9)[0].kind == HNSW()


def test_exact_is_chosen_where_little_is_gained():
    # batch 1: 1.0 against 0.9 ms, batch 64: 1000 against 1100 a second; together 1.22×
    readings = [reading(Exact(), 1.0, 1.0, 1000), reading(FastScan(), 0.999, 0.9, 1100)]
    assert choose(readings, 0.99)[0].kind == Exact()
    readings = [reading(Exact(), 1.0, 1.0, 1000), reading(FastScan(), 0.999, 0.8, 1100)]
    assert choose(readings, 0.99)[0].kind == FastScan()


def test_where_nothing_meets_the_target_it_says_so():
    chosen, why = choose([reading(FastScan(), 0.8, 1, 1), reading(HNSW(), 0.7, 1, 1)], 0.99)
    assert chosen.kind == FastScan()
    assert why == "nothing met recall 0.99; this came closest with 0.8000"


def test_a_tuning_measures_what_it_says(monkeypatch, tmp_path):
    monkeypatch.setattr(tune, "_SECONDS_A_READING", 0.01)
    vectors = np.random.default_rng(0).normal(size=(5020, 32)).astype(np.float32)  # without clusters: hard to prune
    vectors, queries = vectors[:5000], vectors[5000:]
    seen = []
    tuning = tune.tune(vectors, queries, k=10, target_recall=0.9, progress=seen.append)
    assert list(tuning.readings) == seen
    assert {type(r.kind) for r in seen} >= {Exact, FastScan, IVFFastScan, HNSW}
    exact = next(r for r in seen if r.kind == Exact())
    assert exact.recall == 1.0
    assert exact.megabytes == pytest.approx(5000 * 136 / 1e6)
    probed = [r for r in seen if isinstance(r.kind, IVFFlat)]
    assert probed[-1].recall > probed[0].recall  # more clusters, more found: the readings are of their kind
    assert sum(r.build_s > 0 for r in seen) == len(candidates.families(5000))

    document = json.loads(json.dumps(tuning.to_json()))
    assert from_json(document["chosen"]) == tuning.chosen
    assert document["readings"][0]["recall"] == seen[0].recall
    assert tuning_plot.draw(tuning, tmp_path / "tuning.png")
    assert (tmp_path / "tuning.png").stat().st_size > 10_000


def test_what_does_not_fit_is_left_out_or_kept_as_half():
    megabytes = 300e6  # 1 M × 128: Exact 520 MB, half 264; FastScan half 296 with two numbers to a code
    fitting, left_out = candidates.that_fit(10**6, 128, memory_bytes=megabytes, patience_s=1e9)
    assert all(bytes_per_row(kind, 128) * 1e6 <= megabytes for family in fitting for kind in family)
    assert [Exact(half=True)] in fitting
    assert [Exact()] not in fitting
    assert any(line.startswith("HNSW: ") for line in left_out)
    _, left_out = candidates.that_fit(10**6, 128, memory_bytes=1e12, patience_s=60)
    assert left_out == ["HNSW: takes some 150 s to build, over 60 s"]


@pytest.mark.parametrize("kind", [family[0] for family in candidates.families(8000)], ids=str)
def test_the_estimate_of_memory_is_that_of_the_files(clustered, tmp_path, kind):
    vectors, _ = clustered(8000, dim=64)
    VectorIndex.build(vectors, np.arange(8000), kind=kind).save(tmp_path)
    held = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.suffix in (".faiss", ".npy"))
    assert held == pytest.approx(8000 * bytes_per_row(kind, 64), rel=0.1)


def test_recall_against_exact_is_of_the_index_as_it_stands(clustered):
    vectors, queries = clustered(5000)
    lazy = VectorIndex.build(vectors[:4900], np.arange(4900), kind=IVFFlat(64, 1))
    assert 0.1 < tune.recall_against_exact(lazy, queries, 50) < 0.95
    lazy.upsert(np.arange(4900, 5000), vectors[4900:])
    assert 0.1 < tune.recall_against_exact(lazy, queries, 50) < 0.95
    assert tune.recall_against_exact(VectorIndex.build(vectors, np.arange(5000)), queries, 9000) == 1.0
    assert tune.recall_against_exact(VectorIndex.build(np.empty((0, 32)), []), queries, 10) == 1.0
