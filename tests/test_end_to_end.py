"""The demo's steps and the verbs of the command line, from files to answers, on an invented world."""

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from tests.worlds import chain_world

SMALL = [
    "item_tower.encoder=all-minilm-l6-v2",
    "width=32",
    "user_tower.layers=1",
    "train.epochs=8",
    "train.learning_rate=0.01",
    "train.patience=8",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Interactions as CSV with ISO times, items as Parquet."""
    folder = tmp_path_factory.mktemp("tables")
    interactions, catalogue = chain_world(users=300)
    pl.DataFrame(
        {
            "user_id": [interactions.user_ids[user] for user in interactions.user_idx],
            "item_id": [catalogue.item_ids[idx] for idx in interactions.item_idx],
            "occurred_at": pl.from_epoch(pl.Series(interactions.occurred_at), time_unit="s").dt.to_string("iso"),
            "value": interactions.value,
        }
    ).write_csv(folder / "events.csv")
    catalogue.to_frame()[1:].select("item_id", "title", "categories").write_parquet(folder / "items.parquet")
    return folder


def recsys(*arguments, folder):
    command = [
        sys.executable,
        "-W",
        "error::UserWarning",
        "-c",
        "from serving.cli import app; app()",
        *map(str, arguments),
    ]
    environment = {**os.environ, "DEMO_EXIT": "1", "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "160"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


def knobs(*more):
    return [part for override in (*SMALL, *more) for part in ("--set", override)]


def test_the_demo_trains_judges_serves_answers_and_stops(files, tmp_path):
    tables = ("--interactions", files / "events.csv", "--items", files / "items.parquet")
    done = recsys("demo", *tables, "--out", tmp_path / "demo", *knobs(), folder=files)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text(encoding="utf-8"))
    ndcg = {name: figures["ndcg@10"]["value"] for name, figures in metrics["recommenders"].items()}
    assert ndcg["two_tower"] > 2 * ndcg["popularity"]  # four of five steps of the chain can be known
    for name in ndcg:
        assert name in done.stdout
    assert "Ten items for user u0 (personal" in done.stdout
    assert done.stdout.count("because of") == 10
    assert "curl -s http://127.0.0.1:" in done.stdout
    assert (tmp_path / "demo" / "index").is_dir()


def test_train_evaluate_recommend_from_files(files, tmp_path):
    tables = ("--interactions", files / "events.csv", "--items", files / "items.parquet")
    bundle = tmp_path / "bundle"
    trained = recsys("train", *tables, "--out", bundle, *knobs(), folder=files)
    assert trained.returncode == 0, trained.stderr
    judged = recsys("evaluate", "--bundle", bundle, "--out", tmp_path / "report", "--json", folder=files)
    assert judged.returncode == 0, judged.stderr
    metrics = json.loads(judged.stdout)
    assert metrics["protocol"]["split"] == "temporal"  # there is a clock, and nobody said otherwise
    assert metrics["protocol"]["request_time"] is False
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "metrics.json",
        "rankings.parquet",
        "cases.parquet",
        "model_card.md",
    }
    asked = ("recommend", "--bundle", bundle, "--history", "i3,i4,i5", "-k", "3", "--requested-at", "2023-12-01T10:00")
    answer = json.loads(recsys(*asked, "--json", folder=files).stdout)
    assert answer["path"] == "history"
    assert answer["items"][0]["item_id"] == "i6"
    assert len(answer["items"]) == 3


def test_one_command_from_tables_to_a_report_without_a_clock(files, tmp_path):
    """Positions instead of times, no items file: the split, the loss and the encodings follow from the data."""
    events = pl.read_csv(files / "events.csv").select("user_id", "item_id")
    events = events.with_columns(position=np.arange(len(events)))
    events.write_ndjson(tmp_path / "events.jsonl")
    done = recsys(
        "evaluate",
        "--interactions",
        tmp_path / "events.jsonl",
        "--out",
        tmp_path / "run",
        "--json",
        *knobs(),
        folder=files,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["protocol"]["split"] == "leave-one-out"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train",), "--interactions FILE is missing"),
        (("train", "--interactions", "nowhere.csv"), "nowhere.csv"),
        (("evaluate",), "pass either --bundle DIR or --interactions FILE"),
        (("evaluate", "--bundle", "nowhere"), "no bundle here"),
        (("evaluate", "--bundle", "nowhere", "--split", "temporal"), "belong to training"),
        (("train", "--interactions", "x.csv", "--set", "train.temprature=1"), "train.temprature"),
        (("train", "--interactions", "x.csv", "--split", "sideways"), "split.kind"),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments, said, tmp_path):
    done = recsys(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
