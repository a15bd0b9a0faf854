"""A small shop with a known habit: who takes one thing takes the next on the shelf. Trained once for all tests."""

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional as F

from recsys.bundle import load_bundle, save_bundle, write_manifest
from recsys.calibration import Platt
from recsys.catalogue import read_catalogue
from recsys.config import read_config
from recsys.event_evidence import EventEvidence
from recsys.evidence import Evidence
from recsys.intents import Intents
from recsys.interactions import read_interactions
from recsys.interests import bundle_taxonomy
from recsys.listwise import ListwiseNets
from recsys.opinions import Opinions, SecondTower, second_config
from recsys.rerank import Reranker
from recsys.run import bundle_split, run_training
from recsys.towers import UserTower, value_edges
from serving.index_commands import build_index
from serving.opening import open_service

ITEMS, USERS, EVENTS = 40, 90, 9
HOUR_S = 3_600
OPENED_AT = 1_700_000_000
TINY = ("item_tower.text=false", "width=16", "train.epochs=2", "train.tracker=none", "split.kind=leave-one-out")


def shop_tables(*, clock, seed):
    """Each user starts somewhere on the ring and mostly moves one on; no two events share an instant."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        at = int(rng.integers(ITEMS))
        for step in range(EVENTS):
            at += 1 if rng.random() < 0.9 else int(rng.integers(2, 6))
            instant = OPENED_AT + (step * USERS + user) * HOUR_S
            item_id = f"shelf/{at % ITEMS:02}"
            rows.append((f"顾客{user}", item_id, instant, "buy" if step % 3 == 2 else "view", float(step % 5 + 1)))
    order = "occurred_at" if clock else "position"
    interactions = pl.DataFrame(rows, schema=["user_id", "item_id", order, "event", "value"], orient="row")
    items = pl.DataFrame(
        {
            "item_id": [f"shelf/{number:02}" for number in range(ITEMS)],
            "title": [f"第{number}号 茶 ☕" for number in range(ITEMS)],
            "categories": [["odd" if number % 2 else "even"] for number in range(ITEMS)],
            "price": [float(number) for number in range(ITEMS)],
        }
    )
    return interactions, items


def train_shop(folder, *, clock=True, seed=0):
    """A trained bundle of the shop with its index, as `recsys train` leaves it."""
    interactions, items = shop_tables(clock=clock, seed=seed)
    catalogue, _ = read_catalogue(items)
    table, catalogue, _ = read_interactions(interactions, catalogue)
    bundle = run_training(table, catalogue, read_config(overrides=[*TINY, f"seed={seed}"]), folder)
    build_index(bundle, folder)
    write_manifest(folder)
    return folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """The bundle's folder; to be read only."""
    return train_shop(tmp_path_factory.mktemp("shop") / "bundle")


@pytest.fixture(scope="session")
def other_shop(tmp_path_factory):
    """A bundle of other interactions with the same catalogue."""
    return train_shop(tmp_path_factory.mktemp("other") / "bundle", seed=1)


@pytest.fixture(scope="session")
def shop_without_clock(tmp_path_factory):
    return train_shop(tmp_path_factory.mktemp("clockless") / "bundle", clock=False)


@pytest.fixture(scope="session")
def intent_shop(shop, tmp_path_factory):
    """The shop with a reranker, heads and second towers that nobody has taught: all the evidence counts in them."""
    bundle, chance = load_bundle(shop), torch.Generator().manual_seed(0)
    train = bundle_split(bundle).train
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = UserTower(
            second_config(bundle.config), num_events=len(train.event_names), value_edges=value_edges(train.value)
        ).eval()
        vectors = F.normalize(torch.randn(bundle.item_vectors.shape), dim=1)
    second_tower = SecondTower(tower, vectors.index_fill(0, torch.tensor([0]), 0.0))
    opinions = Opinions(bundle.model.user_tower, second_tower)
    evidence = Evidence.of(train, bundle_taxonomy(bundle), bundle.prior, returns=False, opinions=opinions)
    events = EventEvidence.of(train, ("view", "buy"), evidence.interests, request_time=True)

    def nets(kinds):
        sizes = {"straight": (2, kinds), "hidden": (2, kinds, 3), "offset": (2, 3), "out": (2, 3)}
        drawn = {name: 0.3 * torch.randn(size, generator=chance) for name, size in sizes.items()}
        return ListwiseNets(torch.zeros(kinds), torch.ones(kinds), **drawn)

    told = len(evidence.names)
    heads = Intents(events, nets(events.num_shares + 2 + told), sharpness=1.0, named=0.9)
    reranker = Reranker(evidence, nets(told), Platt(1.0, 0.0), heads)
    folder = tmp_path_factory.mktemp("intents") / "bundle"
    save_bundle(replace(bundle, reranker=reranker, second_tower=second_tower), folder)
    build_index(load_bundle(folder), folder)
    write_manifest(folder)
    return folder


KINDS = ("apple pear plum", "bolt screw nail", "violin cello 琴")


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    """A sentence encoder that gives every word a direction of its own, and a text the mean of its words'."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["[UNK]", ".", ",", "x", "y", *" ".join(KINDS).split()]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.random.default_rng(0).normal(size=(len(words), 64)).astype(np.float32)
    folder = tmp_path_factory.mktemp("encoder")
    reader = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[reader], device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="session")
def kinds_shop(tmp_path_factory, encoder_folder):
    """A bundle whose items are of three kinds, told by title in half of them, by vector in the others.

    Everyone loves one kind.
    """
    rng = np.random.default_rng(0)
    rows = []
    for user in range(120):
        mine = np.flatnonzero(np.arange(30) % 3 == user % 3)
        rows += [(f"u{user}", f"i{item}", at) for at, item in enumerate(rng.permutation(mine)[:8])]
    items = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(30)],
            "title": [KINDS[item % 3] if item % 2 else "" for item in range(30)],
            "vector": [None if item % 2 else np.eye(3)[item % 3].tolist() for item in range(30)],
        }
    )
    folder = tmp_path_factory.mktemp("kinds") / "bundle"
    catalogue, _ = read_catalogue(items)
    interactions = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    table, catalogue, _ = read_interactions(interactions, catalogue)
    knobs = (
        "width=16",
        "train.epochs=30",
        "train.patience=30",
        "train.tracker=none",
        f"item_tower.encoder={encoder_folder}",
    )
    bundle = run_training(
        table, catalogue, read_config(overrides=[*knobs, "prior.enabled=false", "item_tower.item_id=false"]), folder
    )
    build_index(bundle, folder)
    write_manifest(folder)
    return folder


@pytest.fixture(scope="session")
def bundle(shop):
    return load_bundle(shop)


@pytest.fixture(scope="session")
def service(shop):
    return open_service(shop)


@pytest.fixture
def broken(shop, tmp_path):
    """A copy of the bundle's folder, to be broken."""
    return shutil.copytree(shop, tmp_path / "bundle")
