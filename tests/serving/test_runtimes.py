"""User vectors by ONNX Runtime are those of torch; the quickest that agrees is taken, and nothing foreign is."""

import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from recsys.bundle import load_bundle
from recsys.embed import embed_histories
from recsys.errors import InputError
from recsys.histories import stacked
from serving.cli import app
from serving.onnx_export import FLOAT, INT8, export_user_tower, history_sample
from serving.opening import open_service
from serving.runtimes import OnnxTower, Runtime, choose, take, with_quickest_tower
from serving.schemas import RecommendRequest
from serving.settings import TowerSettings
from tests.serving.asking import assert_same_items


def runtime(name, ms, agreement):
    return Runtime(name, encode=lambda histories: None, ms=ms, agreement=agreement)


MEASURED = [runtime("torch", 3.0, 1.0), runtime("onnx", 2.0, 1.0), runtime("onnx-int8", 1.0, 0.95)]


@pytest.mark.parametrize(("least", "taken"), [(0.9, "onnx-int8"), (0.95, "onnx-int8"), (0.96, "onnx"), (1.0, "onnx")])
def test_the_quickest_that_agrees_is_taken(least, taken):
    assert take(MEASURED, TowerSettings(min_agreement=least)).name == taken


def test_torch_is_taken_where_it_is_quickest():
    assert take([runtime("torch", 1.0, 1.0), MEASURED[1]], TowerSettings()).name == "torch"


def test_a_runtime_that_is_named_is_taken_or_refused():
    assert take(MEASURED, TowerSettings(runtime="onnx")).name == "onnx"
    with pytest.raises(InputError, match=r"onnx-int8 finds 0\.950 of torch's ten nearest"):
        take(MEASURED, TowerSettings(runtime="onnx-int8"))


def test_a_bundle_without_onnx_runs_in_torch(service, shop):
    assert choose(service, shop, TowerSettings()).name == "torch"
    with pytest.raises(InputError, match=r"user_tower\.onnx: missing.*`recsys export onnx"):
        choose(service, shop, TowerSettings(runtime="onnx"))


def test_torch_behind_the_cache_answers_as_before(service, shop):
    quick = with_quickest_tower(service, shop, TowerSettings(cached_vectors=10))
    assert quick.encode.runtime == "torch"
    for _ in range(2):
        request = RecommendRequest(user_id="顾客3", requested_at=1_703_000_000)
        assert_same_items(quick.recommend(request).items, service.recommend(request).items)
    assert quick.encode.take_counts() == {"hit": 1, "miss": 1}


@pytest.fixture(scope="module")
def exported(shop, tmp_path_factory):
    folder = shutil.copytree(shop, tmp_path_factory.mktemp("onnx") / "bundle")
    result = CliRunner().invoke(app, ["export", "onnx", "--bundle", str(folder)])
    assert result.exit_code == 0, result.output
    assert FLOAT in result.stdout
    return folder


@pytest.mark.slow
def test_onnx_gives_the_vectors_of_torch_for_every_shape(exported):
    bundle = load_bundle(exported)  # the manifest lists the new files and is whole
    vectors = torch.from_numpy(bundle.item_vectors)
    sample = history_sample(bundle, most=20)
    exact = OnnxTower(exported / FLOAT, vectors, fingerprint=bundle.fingerprint)
    small = OnnxTower(exported / INT8, vectors, fingerprint=bundle.fingerprint)
    for count in (1, 2, 7, 20):
        some = type(sample)(**{name: getattr(sample, name)[:count] for name in sample.__dataclass_fields__})
        for batch in (some, stacked([some, some])):
            expected = embed_histories(bundle.model, vectors, batch)
            torch.testing.assert_close(exact(batch), expected, atol=1e-5, rtol=0)
            assert (small(batch) * expected).sum(1).min() > 0.97
    empty = type(sample)(**{name: torch.zeros_like(getattr(sample, name)[:1]) for name in sample.__dataclass_fields__})
    assert not exact(empty).any()


@pytest.mark.slow
def test_each_runtime_answers_alike(exported):
    """Which one `auto` takes is for the machine to say, and eight bits do not say the same to the last digit."""
    service = open_service(exported)
    for name in ("torch", "onnx", "auto"):
        quick = with_quickest_tower(service, exported, TowerSettings(runtime=name))
        assert quick.encode.runtime == name or name == "auto"
        for user in range(5):
            request = RecommendRequest(user_id=f"顾客{user}", requested_at=1_703_000_000)
            expected, found = service.recommend(request), quick.recommend(request)
            found_ids, expected_ids = ([item.item_id for item in answer.items] for answer in (found, expected))
            if quick.encode.runtime == "onnx-int8":
                assert len({*found_ids} & {*expected_ids}) >= 9
                continue
            assert found_ids == expected_ids
            np.testing.assert_allclose(
                [item.score for item in found.items], [item.score for item in expected.items], atol=1e-3
            )


@pytest.mark.slow
def test_a_foreign_or_damaged_file_is_refused_by_name(exported, other_shop, tmp_path):
    other = shutil.copytree(other_shop, tmp_path / "other")
    shutil.copy(exported / FLOAT, other / FLOAT)
    service = open_service(other)
    with pytest.raises(InputError, match=r"user_tower\.onnx: not the file the manifest lists"):
        with_quickest_tower(service, other, TowerSettings())
    with pytest.raises(InputError, match=r"user_tower\.onnx: exported from bundle"):
        OnnxTower(other / FLOAT, torch.from_numpy(service.bundle.item_vectors), fingerprint=service.bundle.fingerprint)


def test_what_cannot_be_exported_says_so(bundle, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise ValueError("No such operator.\nA long story")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(InputError, match=r"cannot be exported \(No such operator\.\)"):
        export_user_tower(bundle, tmp_path)
