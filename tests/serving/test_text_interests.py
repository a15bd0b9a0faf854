"""What a text is about, by the command line and over HTTP: the same, and a clear word where it cannot be told."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from recsys.bundle import load_bundle
from recsys.catalogue import read_catalogue
from recsys.config import read_config
from recsys.errors import InputError
from recsys.interactions import read_interactions
from recsys.run import run_training
from recsys.text_lora import TuningConfig
from serving.app import create_app
from serving.cli import app
from serving.opening import open_service
from tests.serving.test_app import assert_problem, ready
from tests.tiny_bert import save_tiny_bert

KINDS = {"fruit": "apple pear plum", "iron": "bolt screw nail", "音乐": "violin cello 琴"}
TINY = ("width=16", "train.epochs=1", "train.tracker=none", "split.kind=leave-one-out", "prior.enabled=false")


@pytest.fixture(scope="module")
def worded(tmp_path_factory, encoder_folder):
    """A bundle of ninety items, each titled by two words of its kind."""
    rng = np.random.default_rng(0)
    kinds = list(KINDS)
    titles = [" ".join(rng.permutation(KINDS[kinds[item % 3]].split())[:2]) for item in range(90)]
    items = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(90)],
            "title": titles,
            "categories": [[kinds[item % 3]] for item in range(90)],
        }
    )
    return train_bundle(items, encoder_folder, tmp_path_factory.mktemp("worded") / "bundle")


def train_bundle(items, encoder, folder):
    """On thirty users who choose anything."""
    rows = [(f"u{user}", f"i{(user * 7 + step * 3) % 90}", step) for user in range(30) for step in range(6)]
    catalogue, _ = read_catalogue(items)
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    interactions, catalogue, _ = read_interactions(table, catalogue)
    run_training(interactions, catalogue, read_config(overrides=[*TINY, f"item_tower.encoder={encoder}"]), folder)
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["interests", *map(str, arguments)])


@pytest.fixture(scope="module")
def reading(worded):
    """The same, once the classifier is trained."""
    result = run("train-text", "--bundle", worded)
    assert result.exit_code == 0, result.stderr
    assert "14 held-out items, 3 interests" in result.stdout
    return worded


def post(client, body):
    return client.post("/v1/interests/classify", json=body)


def test_before_it_has_learnt_the_remedy_is_named(shop):
    result = run("classify", "--bundle", shop, "nail")
    assert result.exit_code == 2
    assert f"Train one: recsys interests train-text --bundle {shop}" in result.stderr
    with TestClient(create_app(lambda: open_service(shop))) as client:
        problem = assert_problem(post(ready(client), {"text": "nail"}), 409)
    assert "recsys interests train-text" in problem["detail"]


def test_both_doors_tell_the_kind_of_a_text(reading):
    report = json.loads((reading / "text_interests.json").read_text(encoding="utf-8"))
    assert report["scorers"]["head on sentence vectors"]["mean_average_precision"]["value"] > 0.95
    with TestClient(create_app(lambda: open_service(reading))) as client:
        ready(client)
        for words, kind in (("a screw and a bolt", "iron"), ("琴", "音乐")):
            answer = post(client, {"text": words})
            assert answer.status_code == 200
            assert answer.json()["model"] == load_bundle(reading).fingerprint
            ranked = answer.json()["interests"]
            assert (ranked[0]["name"], ranked[0]["about"], len(ranked)) == (kind, True, 3)
            assert json.loads(run("classify", "--bundle", reading, words, "--json").stdout)["interests"] == ranked
    assert run("classify", "--bundle", reading, "nail").stdout.splitlines()[0].endswith("iron  *")


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": " \n"}, {"text": "x" * 10_001}, {"text": "a", "k": 1}])
def test_what_is_no_text_is_a_problem(reading, body):
    with TestClient(create_app(lambda: open_service(reading))) as client:
        assert_problem(post(ready(client), body), 422)


def test_an_empty_text_on_the_command_line(reading):
    result = run("classify", "--bundle", reading, "  ")
    assert result.exit_code == 2
    assert "Write some words" in result.stderr


def test_items_without_texts_are_refused(shop_without_clock):
    result = run("train-text", "--bundle", shop_without_clock)
    assert result.exit_code == 2
    assert "A text classifier needs 50 and 2" in result.stderr


def test_an_encoder_without_attention_cannot_be_tuned(worded):
    result = run("train-text", "--bundle", worded, "--tune")
    assert result.exit_code == 2
    assert "no attention to fine-tune. Leave --tune out" in result.stderr


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A bundle of items of which neither word tells anything, but both together do."""
    encoder = save_tiny_bert(tmp_path_factory.mktemp("bert"))
    words = [(("tea", "book")[item % 2], ("old", "new")[item // 2 % 2]) for item in range(160)]
    items = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(160)],
            "title": [f"{first} {second} {item % 10}" for item, (first, second) in enumerate(words)],
            "categories": [["match" if one in (("tea", "old"), ("book", "new")) else "clash"] for one in words],
        }
    )
    folder = train_bundle(items, encoder, tmp_path_factory.mktemp("tuned") / "bundle")
    with pytest.MonkeyPatch.context() as patched:
        longer = TuningConfig(epochs=10, tokens=16, learning_rate=3e-2)
        patched.setattr("recsys.text_training.TuningConfig", lambda seed: replace(longer, seed=seed))
        result = run("train-text", "--bundle", folder, "--tune")
    assert result.exit_code == 0, result.stderr
    assert "Fine-tuned: mean average precision" in result.stdout
    assert ": kept." in result.stdout
    return folder


def test_both_doors_read_with_the_tuned_encoder(tuned):
    with TestClient(create_app(lambda: open_service(tuned))) as client:
        ready(client)
        for words, kind in (("tea old 4", "match"), ("book old 4", "clash")):
            ranked = post(client, {"text": words}).json()["interests"]
            assert (ranked[0]["name"], ranked[0]["about"]) == (kind, True)
            told = json.loads(run("classify", "--bundle", tuned, words, "--json").stdout)["interests"]
            assert [one["name"] for one in told] == [one["name"] for one in ranked]
            np.testing.assert_allclose(
                [one["probability"] for one in told], [one["probability"] for one in ranked], rtol=1e-3
            )


def test_a_damaged_tuned_encoder_is_refused_by_both_doors(tuned, tmp_path):
    broken = shutil.copytree(tuned, tmp_path / "bundle")
    (weights,) = broken.glob("text_encoder-*/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    result = run("classify", "--bundle", broken, "tea")
    assert result.exit_code == 2
    assert f"Train it again: recsys interests train-text --tune --bundle {broken}" in result.stderr
    with pytest.raises(InputError, match="is not the encoder that the text classifier has learnt from"):
        open_service(broken)
