"""The loop learns what only the hour tells, survives a kill to the digit, and treats a cold item by its text."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.acceleration import SHAPE_CACHES, SHAPES_KEPT, TRACKER, make_accelerator
from recsys.checkpoint import load_checkpoint
from recsys.config import read_config, settle
from recsys.errors import InputError
from recsys.features import Vocabulary, item_features
from recsys.split import leave_one_out
from recsys.train import make_optimizer, make_towers, set_learning_rate, train_towers
from tests.worlds import chain_world, clock_world, cold_world, round_world

SMALL = ["item_tower.text=false", "width=32", "user_tower.heads=2", "user_tower.dropout=0.0", "train.tracker=none"]


def learn(world, folder, *overrides, encode=None):
    interactions, catalogue = world
    config = settle(
        read_config(overrides=["split.kind=leave-one-out", *SMALL, *overrides]),
        has_clock=interactions.occurred_at is not None,
        repeat_share=1.0,
        num_items=len(catalogue),
        num_interactions=len(interactions),
    )
    vocabulary = Vocabulary.of(catalogue)
    features = item_features(catalogue, vocabulary, encode)
    return train_towers(leave_one_out(interactions), features, vocabulary, config, folder)


CLOCK = ("user_tower.layers=1", "train.learning_rate=0.01", "train.epochs=10", "train.patience=10")


def recall_at_1(world, folder, *overrides):
    from recsys.embed import embed_cases, embed_items

    interactions, catalogue = world
    model, _ = learn(world, folder, *CLOCK, *overrides)
    features = item_features(catalogue, Vocabulary.of(catalogue), None)
    items = embed_items(model, features, torch.arange(len(catalogue) + 1))
    cases = leave_one_out(interactions).test
    best = (embed_cases(model, items, interactions, cases) @ items[1:].T).argmax(1) + 1
    return float((best.numpy() == interactions.item_idx[cases.target_rows]).mean())


def test_in_the_clock_world_only_the_hour_of_the_request_settles_the_next_item(tmp_path):
    world = clock_world()
    assert recall_at_1(world, tmp_path / "with") >= 0.97
    blind = recall_at_1(world, tmp_path / "without", "user_tower.calendar=false")
    assert 0.35 <= blind <= 0.65


def test_without_request_time_the_hour_is_not_known(tmp_path):
    assert 0.35 <= recall_at_1(clock_world(), tmp_path, "user_tower.request_time=false") <= 0.65


@pytest.mark.parametrize("loss", ["full", "sampled", "in_batch"])
def test_every_loss_learns_the_chain(tmp_path, loss):
    _, curve = learn(
        chain_world(users=300), tmp_path, f"train.loss={loss}", "train.negatives=64", *CLOCK, "train.epochs=6"
    )
    assert max(epoch["recall@10"] for epoch in curve) >= 0.75  # in bf16 on a GPU .797
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_a_cold_item_is_found_by_its_text_alone(tmp_path):
    from recsys.embed import embed_cases, embed_items

    interactions, catalogue = cold_world()

    def encode(texts):  # one direction per word set: what a sentence encoder would tell apart
        names = sorted(set(texts) - {""})
        rows = np.zeros((len(texts), len(names)), np.float32)
        for row, text in enumerate(texts):
            if text:
                rows[row, names.index(text)] = 1
        return rows

    world = (interactions, catalogue)
    model, _ = learn(world, tmp_path, "item_tower.text=true", *CLOCK, "train.epochs=4", encode=encode)
    split = leave_one_out(interactions)
    counts = np.bincount(split.train.item_idx, minlength=len(catalogue) + 1)
    ids = torch.from_numpy(np.where(counts > 0, np.arange(len(counts)), 0))
    items = embed_items(model, item_features(catalogue, Vocabulary.of(catalogue), encode), ids)
    cold = np.flatnonzero(counts[1:] == 0) + 1
    assert len(cold) == 6
    users = embed_cases(model, items, interactions, split.test)
    best_cold = cold[(users @ items[cold].T).argmax(1)]
    kind = np.array([catalogue.titles[i] for i in best_cold])
    wanted = np.array([catalogue.titles[i] for i in interactions.item_idx[split.test.target_rows]])
    assert (kind == wanted).mean() >= 0.95


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.recsys.test_train import learn
from tests.worlds import chain_world
import json
import os
knobs = ["train.epochs=6", "user_tower.dropout=0.2", "train.patience=6", "train.loss=sampled", "train.log_q=streamed"]
_, curve = learn(chain_world(), Path({folder!r}), *knobs)
print(json.dumps([epoch["loss"] for epoch in curve]))
"""


def start(folder):
    code = RUN.format(root=str(Path(__file__).parents[2]), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_where_users_return_their_returns_choose_the_epoch_and_the_prior(train_tiny, tmp_path):
    """With seen items masked no target could be found, and one epoch would be like another."""
    bundle = train_tiny(round_world(), tmp_path / "b")
    assert not bundle.config.train.exclude_seen
    assert bundle.training["curve"][-1]["ndcg@10"] > bundle.training["curve"][0]["ndcg@10"] > 0
    assert bundle.prior.weight > 0


def test_a_run_killed_on_the_way_ends_with_the_losses_of_one_that_was_not(tmp_path):
    whole, killed = start(tmp_path / "whole"), start(tmp_path / "killed")
    states = tmp_path / "killed" / "checkpoint"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # killed at some moment after the second epoch was saved
        saved = [path for path in states.glob("*/state.json") if path.parent.suffix == ""]
        if saved and json.loads(saved[0].read_text())["epoch"] >= 2:
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = start(tmp_path / "killed")
    wanted, got = (json.loads(run.communicate(timeout=120)[0].splitlines()[-1]) for run in (whole, again))
    assert len(wanted) == 6
    assert got == wanted


def test_a_checkpoint_killed_between_its_renames_is_found(tmp_path):
    interactions, catalogue = chain_world()
    learn((interactions, catalogue), tmp_path, "train.epochs=1")
    (saved,) = (tmp_path / "checkpoint").iterdir()
    saved.rename(saved.with_name(saved.name + ".old"))
    config = settle(
        read_config(overrides=SMALL),
        has_clock=True,
        repeat_share=1.0,
        num_items=len(catalogue),
        num_interactions=len(interactions),
    )
    vocabulary = Vocabulary.of(catalogue)
    features = item_features(catalogue, vocabulary, None)
    towers = make_towers(config, features, vocabulary, leave_one_out(interactions).train)
    optimizer = make_optimizer(towers, config.train)
    state = load_checkpoint(saved, towers, optimizer)
    assert state is not None
    assert state[-1]["epoch"] == 1


def test_another_config_does_not_go_on_from_a_checkpoint(tmp_path):
    _, first = learn(chain_world(), tmp_path, "train.epochs=1")
    _, second = learn(chain_world(), tmp_path, "train.epochs=1", "seed=5")
    assert first[0]["loss"] != second[0]["loss"]


def test_the_rate_rises_then_falls_to_nothing():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    knobs = read_config(overrides=["train.warmup=0.1", "train.learning_rate=0.5"]).train
    rates = []
    for at in np.linspace(0, 0.999, 200):
        set_learning_rate(optimizer, knobs, at=float(at))
        rates.append(optimizer.param_groups[0]["lr"])
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(0.5, rel=0.02)
    assert 15 <= top <= 25
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 1e-4


def test_accumulated_batches_are_one_step(tmp_path):
    _, curve = learn(chain_world(), tmp_path, "train.accumulation=4", "train.batch_events=150", "train.epochs=2")
    assert np.isfinite([epoch["loss"] for epoch in curve]).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"train\.device is cuda"):
        make_accelerator(read_config(overrides=["train.device=cuda", "train.tracker=none"]).train, tmp_path)


def test_an_unknown_tracker_is_named(tmp_path):
    with pytest.raises(InputError, match=r"train\.tracker = 'tensorbored'"):
        make_accelerator(read_config(overrides=["train.tracker=tensorbored"]).train, tmp_path)


def test_tensorboard_holds_the_curve(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, curve = learn(chain_world(), tmp_path, "train.epochs=2", "train.tracker=tensorboard")
    (folder,) = {path.parent for path in (tmp_path / TRACKER).rglob("events*")}
    events = EventAccumulator(str(folder)).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([epoch["loss"] for epoch in curve])


def test_few_shapes_are_kept_ready_unless_the_user_says_otherwise(tmp_path, monkeypatch):
    lru, onednn = SHAPE_CACHES
    monkeypatch.delenv(lru, raising=False)
    monkeypatch.setenv(onednn, "7")
    make_accelerator(read_config(overrides=["train.tracker=none"]).train, tmp_path)
    assert os.environ[lru] == SHAPES_KEPT
    assert os.environ[onednn] == "7"
