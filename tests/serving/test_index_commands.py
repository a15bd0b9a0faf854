import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from index import tune
from index.filters import Filter
from index.kinds import HNSW, Exact, FastScan
from index.vector_index import VectorIndex
from recsys.bundle import load_bundle, read_manifest
from recsys.errors import InputError
from serving import index_commands
from serving.opening import open_service


@pytest.fixture
def bundle(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "_SECONDS_A_READING", 0.001)
    return shutil.copytree(shop, tmp_path / "bundle")


def run(*arguments):
    return CliRunner().invoke(index_commands.app, list(map(str, arguments)), catch_exceptions=False)


def test_build_puts_items_and_what_filters_ask_about(bundle):
    result = run("build", "--bundle", bundle, "--json")
    assert json.loads(result.stdout)["kind"] == {"name": "Exact", "half": False}
    loaded = load_bundle(bundle)
    index = VectorIndex.load(bundle / "index", fingerprint=loaded.fingerprint)
    found = index.search(loaded.query_vectors[:1], 40, filters=Filter(any_of=["odd"])).ids[0]
    odd = [row for row in range(1, 41) if loaded.catalogue.categories[row] == ("odd",)]
    assert sorted(found[found >= 0].tolist()) == odd
    assert len(odd) == 20
    assert open_service(bundle)  # the new version is taken


def test_build_takes_a_kind_and_its_fields(bundle):
    assert run("build", "--bundle", bundle, "--kind", "HNSW", "--set", "ef_search=50").exit_code == 0
    assert VectorIndex.load(bundle / "index").kind == HNSW(ef_search=50)
    listed = read_manifest(bundle)["files"]
    assert "index/000002/vectors.faiss" in listed


def test_tune_writes_the_curve_and_build_follows_it(bundle):
    result = run("tune", "--bundle", bundle, "--target-recall", "0.9", "-k", "10")
    assert "index_tuning.json and index_tuning.png" in result.stdout
    document = json.loads((bundle / "index_tuning.json").read_text())
    assert document["fingerprint"] == load_bundle(bundle).fingerprint
    assert document["chosen"] == {"name": "Exact", "half": False}  # 40 items
    assert document["readings"][0]["recall"] == 1.0
    assert (bundle / "index_tuning.png").exists()

    document["chosen"] = {"name": "FastScan", "k_factor": 3.0, "half": True}
    (bundle / "index_tuning.json").write_text(json.dumps(document))
    run("build", "--bundle", bundle)
    assert VectorIndex.load(bundle / "index").kind == FastScan(3.0, half=True)
    run("build", "--bundle", bundle, "--kind", "Exact")
    assert VectorIndex.load(bundle / "index").kind == Exact()


def test_tune_as_json_is_one_document(bundle):
    result = run("tune", "--bundle", bundle, "-k", "1000", "--memory-gb", "1", "--json")
    assert json.loads(result.stdout)["k"] == 40


def test_doors(bundle):
    with pytest.raises(InputError, match="of which kind"):
        run("build", "--bundle", bundle, "--set", "nprobe=3")
    with pytest.raises(InputError, match="expected FIELD=NUMBER"):
        run("build", "--bundle", bundle, "--kind", "HNSW", "--set", "ef_search=many")
    with pytest.raises(ValueError, match="'Annoy' is unknown here"):
        run("build", "--bundle", bundle, "--kind", "Annoy")
    np.save(bundle / "query_vectors.npy", np.empty((0, 16), dtype=np.float32))
    with pytest.raises(InputError, match="query_vectors"):
        run("tune", "--bundle", bundle)
