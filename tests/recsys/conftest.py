"""A tiny trained bundle and a tiny sentence encoder, both made once, both real."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from recsys.bundle import load_bundle
from recsys.config import read_config
from recsys.run import run_training
from tests.tiny_bert import save_tiny_bert
from tests.worlds import chain_world

TINY = (
    "item_tower.text=false",
    "width=16",
    "user_tower.heads=2",
    "train.epochs=3",
    "train.tracker=none",
    "split.kind=leave-one-out",
)


@pytest.fixture(scope="session")
def tiny_config():
    return read_config(overrides=TINY)


@pytest.fixture(scope="session")
def train_tiny():
    """Trains as small a bundle on any table."""
    return lambda table, folder, *overrides: run_training(*table, read_config(overrides=[*TINY, *overrides]), folder)


@pytest.fixture(scope="session")
def interleaved():
    """Makes chain worlds in which everyone's first events come first, so that any cutoff has users on both sides."""

    def make(*, users=40, events=6, items=20):
        interactions, catalogue = chain_world(users=users, events=events, items=items)
        turn = np.arange(len(interactions)) - interactions.starts[interactions.user_idx]
        occurred_at = 1_700_000_000 + 3600 * (turn * users + interactions.user_idx.astype(np.int64))
        return replace(interactions, occurred_at=occurred_at), catalogue

    return make


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory, tiny_config):
    """To be read only."""
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    run_training(*chain_world(), tiny_config, folder)
    return folder


@pytest.fixture(scope="session")
def bundle(bundle_folder):
    return load_bundle(bundle_folder)


@pytest.fixture
def copied(bundle_folder, tmp_path):
    """A copy of the bundle's folder, to be broken."""
    return shutil.copytree(bundle_folder, tmp_path / "bundle")


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    """A random two-layer BERT, mean-pooled, that spells English and Chinese letter by letter."""
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"))
