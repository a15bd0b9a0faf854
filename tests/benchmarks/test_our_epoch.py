"""The stopwatch on our own training, which must keep up with it."""

import json

import polars as pl
import pytest
import torch

from benchmarks.peers import our_epoch
from benchmarks.peers.speed import OURS


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_event_but_each_users_first_is_predicted_once(tmp_path, capsys):
    rows = [(f"u{user}", f"i{(user * 7 + at) % 11}", at) for user in range(12) for at in range(5 + user % 3)]
    table = tmp_path / "interactions.parquet"
    pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row").write_parquet(table)
    small = ["width=16", "user_tower.heads=2", "user_tower.history_length=4", "train.epochs=2"]
    our_epoch.main(table, {"threads": 1, "overrides": [*OURS, *small]})
    reading = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert reading["events"] == len(rows) - 12
    assert 0 < reading["seconds"] < 60
    assert reading["memory_before_mib"] <= reading["peak_memory_mib"]
