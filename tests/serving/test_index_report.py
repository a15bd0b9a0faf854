import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from index import tune
from index.errors import VectorIndexError
from index.kinds import IVFFlat
from index.vector_index import VectorIndex
from recsys.bundle import load_bundle
from serving import index_report
from serving.cli import app
from serving.index_report import index_section


@pytest.fixture(autouse=True)
def short_readings(monkeypatch):
    monkeypatch.setattr(tune, "_SECONDS_A_READING", 0.01)


@pytest.fixture
def lossy(broken, bundle):
    """The bundle's folder with an index that looks into one cluster of five, each of more rows than are asked for."""
    shutil.rmtree(broken / "index")
    rows = np.random.default_rng(0).normal(size=(4000, bundle.item_vectors.shape[1]))
    VectorIndex.build(rows, np.arange(4000), kind=IVFFlat(5, 1), fingerprint=bundle.fingerprint).save(broken / "index")
    return broken


def test_evaluate_writes_and_says_what_the_index_loses(lossy, tmp_path):
    def evaluate(*more):
        arguments = ["evaluate", "--bundle", lossy, "--out", tmp_path / "report", *more]
        return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "120"}, catch_exceptions=False)

    section = json.loads(evaluate("--json").stdout)["index"]
    written = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))["index"]
    assert written == section
    assert section["kind"] == {"name": "IVFFlat", "nlist": 5, "nprobe": 1, "half": False}
    assert (section["items"], section["served"]) == (4000, True)
    assert 0.0 < section["recall@200"] < 0.5
    assert section["batch_1_ms"] > 0 < section["exact_batch_1_ms"]
    said = evaluate().stdout
    assert f"Index IVFFlat over 4,000 items: recall@200 {section['recall@200']:.4f} of exact search" in said


def test_the_recall_is_that_of_brute_force(lossy):
    bundle = load_bundle(lossy)
    index = VectorIndex.load(lossy / "index")
    vectors = index.vectors_of(np.arange(4000))
    best = np.argsort(-(bundle.query_vectors @ vectors.T), axis=1)[:, :200]
    found = index.search(bundle.query_vectors, 200).ids
    expected = np.mean([np.isin(want, ids).mean() for want, ids in zip(best, found, strict=True)])
    assert index_section(bundle, lossy)["index"]["recall@200"] == pytest.approx(expected, abs=1e-3)


def test_without_an_index_the_default_is_measured_and_nothing_is_left_behind(broken, bundle):
    shutil.rmtree(broken / "index")
    section = index_section(bundle, broken)["index"]
    assert (section["kind"]["name"], section["served"], section["recall@40"]) == ("Exact", False, 1.0)
    assert "Exact (not built yet: the default) over 40 items" in index_report.index_line(section)
    assert not (broken / "index").exists()


def test_the_index_of_another_bundle_is_refused(broken, other_shop):
    with pytest.raises(VectorIndexError, match="belongs to another bundle"):
        index_section(load_bundle(other_shop), broken)


def test_queries_are_spread_over_all_users(monkeypatch):
    monkeypatch.setattr(index_report, "MOST_QUERIES", 3)
    rows = np.arange(7, dtype=np.float32)[:, None]
    assert index_report._spread(rows)[:, 0].tolist() == [0, 3, 6]
    assert index_report._spread(rows[:2])[:, 0].tolist() == [0, 1]
    assert len(index_report._spread(rows[:0])) == 0
