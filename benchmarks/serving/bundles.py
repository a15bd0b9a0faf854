"""Bundles to serve: one that was trained, another beside it to swap to, and a catalogue of a million."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from recsys.bundle import Bundle, load_bundle, save_bundle, write_manifest
from recsys.catalogue import Catalogue
from recsys.config import read_config
from recsys.features import Vocabulary
from recsys.interactions import DAY_S, Interactions
from recsys.towers import ItemTower, TwoTower, UserTower
from serving.index_commands import build_index
from serving.onnx_export import export_user_tower

USERS = 20_000
EVENTS = 60
"""Of each user."""
WIDTH = 128


def by_towers_alone(bundle: Path, out: Path) -> Path:
    """The same bundle with nothing that reorders: another fingerprint, and other answers to the same questions."""
    changed = replace(load_bundle(bundle), prior=None, reranker=None)
    save_bundle(changed, out)
    build_index(load_bundle(out), out)
    write_manifest(out)
    return out


def with_quick_towers(bundle: Path, out: Path) -> Path:
    """A copy with its user tower in ONNX too, so that the service can take what is quickest here."""
    shutil.copytree(bundle, out)
    export_user_tower(load_bundle(out), out)
    return out


def synthetic(out: Path, *, rows: int, seed: int = 0) -> Path:
    """A bundle of so many items at random and a tower that learnt nothing: how quick it is served, not how well."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    config = read_config(overrides=[f"width={WIDTH}", "item_tower.text=false", "item_tower.item_id=false"])
    vectors = rng.standard_normal((rows + 1, WIDTH), dtype=np.float32)
    vectors[0] = 0
    vectors[1:] /= np.linalg.norm(vectors[1:], axis=1, keepdims=True)
    features = ItemTower(config.item_tower, width=WIDTH, num_items=rows, text_width=0, num_categories=0, num_numbers=0)
    bundle = Bundle(
        config=config,
        catalogue=Catalogue(["", *(f"item-{n}" for n in range(1, rows + 1))]),
        vocabulary=Vocabulary((), {}),
        interactions=_interactions(rows, rng),
        model=TwoTower(features, UserTower(config, num_events=1, value_edges=torch.zeros(0))).eval(),
        item_vectors=vectors,
        query_vectors=vectors[rng.integers(1, rows + 1, size=1_000)],
        prior=None,
        training={"curve": [], "protocol": {"split": "none"}, "trained_on": "", "item_counts": [1] * (rows + 1)},
    )
    save_bundle(bundle, out)
    build_index(load_bundle(out), out)
    write_manifest(out)
    export_user_tower(load_bundle(out), out)
    return out


def _interactions(rows: int, rng: np.random.Generator) -> Interactions:
    events = USERS * EVENTS
    instants = 1_700_000_000 + np.sort(rng.integers(0, 30 * DAY_S, size=(USERS, EVENTS)), axis=1).ravel()
    return Interactions(
        user_ids=[f"user-{number}" for number in range(USERS)],
        starts=np.arange(0, events + 1, EVENTS, dtype=np.int64),
        item_idx=rng.integers(1, rows + 1, size=events, dtype=np.int32),
        occurred_at=instants,
        file_row=np.arange(events),
        event=np.zeros(events, np.int16),
        event_names=[""],
        value=np.full(events, np.nan, np.float32),
    )
