"""What a text is about, by the command line and over HTTP: the same, and a clear word where it cannot be told."""

import json

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from recsys.bundle import load_bundle
from recsys.catalogue import read_catalogue
from recsys.config import read_config
from recsys.interactions import read_interactions
from recsys.run import run_training
from serving.app import create_app
from serving.cli import app
from serving.opening import open_service
from tests.serving.test_app import assert_problem, ready

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
    rows = [(f"u{user}", f"i{(user * 7 + step * 3) % 90}", step) for user in range(30) for step in range(6)]
    catalogue, _ = read_catalogue(items)
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    interactions, catalogue, _ = read_interactions(table, catalogue)
    folder = tmp_path_factory.mktemp("worded") / "bundle"
    run_training(
        interactions, catalogue, read_config(overrides=[*TINY, f"item_tower.encoder={encoder_folder}"]), folder
    )
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
