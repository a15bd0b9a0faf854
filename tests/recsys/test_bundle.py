"""A bundle comes back bit for bit or not at all: damage, mixtures and kills are found by name."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.bundle import (
    CORE,
    MANIFEST,
    load_bundle,
    read_manifest,
    save_bundle,
    write_manifest,
)
from recsys.embed import embed_cases
from recsys.errors import InputError
from recsys.run import run_training
from recsys.split import make_split
from tests.worlds import chain_world, cold_world


def assert_same_bundle(one, other):
    assert one.config == other.config
    assert one.vocabulary == other.vocabulary
    assert one.training == other.training
    for name in ("item_vectors", "query_vectors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for field in fields(one.interactions):
        np.testing.assert_array_equal(getattr(one.interactions, field.name), getattr(other.interactions, field.name))
    for field in fields(one.catalogue):
        if field.name not in ("numbers", "categories"):
            np.testing.assert_array_equal(getattr(one.catalogue, field.name), getattr(other.catalogue, field.name))
    assert list(map(list, one.catalogue.categories)) == list(map(list, other.catalogue.categories))
    for name, values in one.catalogue.numbers.items():
        np.testing.assert_array_equal(values, other.catalogue.numbers[name])
    weights, others = one.model.state_dict(), other.model.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert (one.prior is None) == (other.prior is None)
    if one.prior is not None:
        assert (one.prior.counter.counts != other.prior.counter.counts).nnz == 0
        mine, theirs = (
            {field.name: getattr(prior, field.name) for field in fields(prior) if field.name != "counter"}
            for prior in (one.prior, other.prior)
        )
        assert mine == theirs


@pytest.mark.parametrize("world", [chain_world, cold_world])
@pytest.mark.parametrize("with_prior", [True, False])
def test_there_and_back(tiny_config, tmp_path, world, with_prior):
    prior = tiny_config.prior.model_copy(update={"enabled": with_prior})
    trained = run_training(*world(users=60), tiny_config.model_copy(update={"prior": prior}), tmp_path / "b")
    loaded = load_bundle(tmp_path / "b")
    assert loaded.fingerprint == trained.fingerprint
    assert_same_bundle(trained, loaded)
    test = make_split(loaded.interactions, loaded.config.split).test
    vectors = [
        embed_cases(bundle.model, torch.from_numpy(bundle.item_vectors), bundle.interactions, test)
        for bundle in (trained, loaded)
    ]
    assert torch.equal(*vectors)
    assert not list(tmp_path.glob(".*"))  # nothing is left beside


def test_saving_again_gives_the_same_fingerprint(bundle, tmp_path):
    assert save_bundle(bundle, tmp_path / "again") == bundle.fingerprint
    assert_same_bundle(bundle, load_bundle(tmp_path / "again"))


def test_types_and_values_that_tables_lose_easily(train_tiny, tmp_path):
    interactions, catalogue = chain_world(users=40)
    rows = len(interactions)
    odd = replace(
        interactions,
        user_ids=[f'用户 {user}, "{user}"\n' for user in range(len(interactions.user_ids))],
        event=(np.arange(rows) % 2).astype(np.int16),
        event_names=["", "买", "view"],  # nobody has viewed anything
        value=np.where(np.arange(rows) % 3, np.nan, -0.0).astype(np.float32),
        lat=np.full(rows, np.nan, np.float32),
        lon=np.linspace(-180, 180, rows, dtype=np.float32),
    )
    trained = train_tiny((odd, catalogue), tmp_path / "odd", "train.epochs=1")
    trained = replace(trained, query_vectors=trained.query_vectors[:0])
    save_bundle(trained, tmp_path / "odd")
    loaded = load_bundle(tmp_path / "odd")
    assert_same_bundle(trained, loaded)
    assert loaded.query_vectors.shape == (0, 16)
    for field in fields(odd):
        one, other = getattr(odd, field.name), getattr(loaded.interactions, field.name)
        assert np.asarray(one).dtype.kind == np.asarray(other).dtype.kind
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype


@pytest.mark.parametrize("name", CORE)
def test_a_flipped_bit_is_refused_by_name(copied, name):
    path = copied / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: sha256 .* the manifest says .*: damaged, or from another run"):
        load_bundle(copied)


@pytest.mark.parametrize("name", CORE)
def test_a_missing_file_is_refused_by_name(copied, name):
    (copied / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: missing from the bundle"):
        load_bundle(copied)


def changed_manifest(folder, **changes):
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(manifest | changes), encoding="utf-8")


def test_the_manifest_of_another_run(copied, train_tiny, tmp_path):
    train_tiny(chain_world(seed=1), tmp_path / "other", "train.epochs=1")
    (tmp_path / "other" / MANIFEST).rename(copied / MANIFEST)
    with pytest.raises(InputError, match="damaged, or from another run"):
        load_bundle(copied)


def test_a_fingerprint_that_is_not_of_these_files(copied):
    changed_manifest(copied, fingerprint="0" * 64)
    with pytest.raises(InputError, match=r"its fingerprint is not that of the files it lists"):
        load_bundle(copied)


def test_a_manifest_that_leaves_a_file_out(copied):
    files = read_manifest(copied)["files"]
    del files["towers.safetensors"]
    changed_manifest(copied, files=files)
    with pytest.raises(InputError, match=r"does not list towers\.safetensors"):
        load_bundle(copied)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "damaged, not JSON"),
        ("[1]", "format None; this version reads format 1"),
        ('{"format": 2}', "format 2; this version reads format 1"),
        ('{"format": 1}', "damaged, it lacks files or fingerprint"),
        ('{"format": 1, "files": {}}', "damaged, it lacks files or fingerprint"),
    ],
)
def test_a_manifest_that_says_nothing(copied, content, problem):
    (copied / MANIFEST).write_text(content)
    with pytest.raises(InputError, match=problem):
        load_bundle(copied)


def test_a_manifest_that_is_not_text(copied):
    (copied / MANIFEST).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="damaged, not JSON"):
        load_bundle(copied)


def test_where_no_bundle_is(tmp_path):
    (tmp_path / "file").write_text("hello")
    for nothing in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(InputError, match="no bundle here"):
            load_bundle(nothing)


def test_files_beside_the_core_do_not_change_the_fingerprint(copied):
    before = read_manifest(copied)["fingerprint"]
    (copied / "index").mkdir()
    (copied / "index" / "rows.bin").write_bytes(b"1234")
    assert write_manifest(copied) == before
    assert "index/rows.bin" in read_manifest(copied)["files"]
    assert load_bundle(copied).fingerprint == before


def test_nothing_but_a_bundle_is_overwritten(bundle, tiny_config, tmp_path):
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    (tmp_path / "file").write_text("hello")
    for place, problem in ((precious, "holds files but no manifest.json"), (tmp_path / "file", "a bundle is a folder")):
        with pytest.raises(InputError, match=problem):
            save_bundle(bundle, place)
        with pytest.raises(InputError, match=problem):  # before hours of training, not after them
            run_training(*chain_world(), tiny_config, place)
    assert not list(tmp_path.glob(".*"))
    assert (precious / "thesis.txt").read_text() == "years"
    (tmp_path / "empty").mkdir()
    save_bundle(bundle, tmp_path / "empty")
    load_bundle(tmp_path / "empty")


def test_a_new_bundle_replaces_the_old_one_whole(copied, bundle):
    (copied / "metrics.json").write_text("{}")
    save_bundle(replace(bundle, training=bundle.training | {"curve": []}), copied)
    assert load_bundle(copied).training["curve"] == []
    assert not (copied / "metrics.json").exists()  # a report of the old one


@pytest.mark.parametrize("new_is_whole", [True, False])
def test_killed_between_the_two_renames(copied, bundle, tmp_path, new_is_whole):
    copied.rename(tmp_path / ".bundle.old")
    save_bundle(replace(bundle, training=bundle.training | {"curve": []}), tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / ".bundle.new")
    if not new_is_whole:
        (tmp_path / ".bundle.new" / MANIFEST).unlink()
    assert (load_bundle(copied).training["curve"] == []) == new_is_whole


@pytest.mark.parametrize("at_rename", [1, 2, 3])
def test_stopped_at_any_rename(copied, bundle, monkeypatch, at_rename):
    renamed = []
    rename = Path.rename

    def stop(path, target):
        renamed.append(path)
        if len(renamed) == at_rename:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Path, "rename", stop)
        save_bundle(replace(bundle, training=bundle.training | {"curve": []}), copied)
    assert len(renamed) == min(at_rename, 2)
    assert (load_bundle(copied).training["curve"] == []) == (at_rename > 1)


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_while_saving_leaves_a_bundle(copied, bundle, kills):
    chance = random.Random(kills)
    for _ in range(kills):
        saver = subprocess.Popen(
            [sys.executable, "-m", "tests.recsys.kill_saves", str(copied)], stdout=subprocess.PIPE, text=True
        )
        with saver:
            assert saver.stdout.readline() == "saving\n"
            time.sleep(chance.uniform(0.02, 0.3))
            saver.send_signal(signal.SIGKILL)
        assert load_bundle(copied).fingerprint == bundle.fingerprint


def test_the_vocabulary_is_of_plain_numbers(bundle):
    assert json.loads(json.dumps(asdict(bundle.vocabulary)))["categories"] == ["Drama", "戏剧"]
    assert bundle.vocabulary.numbers["year"][0] == pytest.approx(1990 + 14.5)
