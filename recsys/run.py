"""From checked tables to a bundle: split, features, towers, vectors, prior. The table of contents of a training run."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recsys.acceleration import TRACKER
from recsys.audit import audit_counts, audit_split, rows_fingerprint
from recsys.bundle import Bundle, refuse_foreign_folder, save_bundle, sibling
from recsys.catalogue import Catalogue
from recsys.config import Config, settle, settle_split
from recsys.embed import embed_cases, embed_items
from recsys.encoders import TextEncoder
from recsys.features import EncodeText, Vocabulary, item_features
from recsys.histories import case_histories
from recsys.interactions import Interactions
from recsys.prior import TransitionPrior, fit_prior
from recsys.ranking import OUT, mask_seen, top_k
from recsys.split import Cases, Split, make_split, thinned
from recsys.taxonomy import discover_interests
from recsys.towers import ItemFeatures
from recsys.train import VALIDATION_CASES, item_counts, known_ids, train_towers
from recsys.transitions import TransitionCounter


def run_training(
    interactions: Interactions, catalogue: Catalogue, config: Config, folder: Path, *, encode: EncodeText | None = None
) -> Bundle:
    """Train on a table and leave a bundle.

    Args:
        interactions: Checked.
        catalogue: That the interactions are numbered by.
        config: Settled here, by the data.
        folder: The bundle's place. A run that was killed on its way to the same folder is continued.
        encode: Reads item texts; the configured encoder unless given.

    Returns:
        The bundle as it lies in ``folder``.

    Raises:
        InputError: ``folder`` holds something else, or the split leaves nothing to train on or to ask.
    """
    refuse_foreign_folder(folder)  # now, not after hours of training
    split = make_split(interactions, settle_split(config.split, has_clock=interactions.occurred_at is not None))
    audit_split(split)
    config = settle_for(config, split, num_items=len(catalogue))
    vocabulary = Vocabulary.of(catalogue)
    if encode is None and config.item_tower.text and any(catalogue.texts()):
        encode = TextEncoder(config.item_tower.encoder)
    features = item_features(catalogue, vocabulary, encode if config.item_tower.text else None)

    workplace = sibling(folder, "training")  # a killed run is continued from here
    model, curve = train_towers(split, features, vocabulary, config, workplace)

    counts = item_counts(split.train, num_items=len(catalogue))
    audit_counts(split, counts, what="item counts")
    item_vectors = embed_items(model, features, known_ids(counts))
    asked = thinned(split.validation, VALIDATION_CASES)
    queries = embed_cases(model, item_vectors, interactions, asked)
    prior = learn_prior(split, asked, queries, item_vectors, config) if config.prior.enabled else None
    bundle = Bundle(
        config=config,
        catalogue=catalogue,
        vocabulary=vocabulary,
        interactions=interactions,
        model=model,
        item_vectors=item_vectors.numpy(),
        query_vectors=queries.numpy(),
        prior=prior,
        training={
            "curve": curve,
            "protocol": split.protocol,
            "trained_on": rows_fingerprint(split.train),
            "item_counts": counts.tolist(),
        },
        interests=None if any(catalogue.categories) else _discovered(catalogue, features, item_vectors, config),
    )
    fingerprint = save_bundle(bundle, folder)
    if (workplace / TRACKER).exists():
        shutil.move(workplace / TRACKER, folder / TRACKER)
    shutil.rmtree(workplace)
    return replace(bundle, fingerprint=fingerprint)


def learn_prior(split: Split, cases: Cases, queries: Tensor, item_vectors: Tensor, config: Config) -> TransitionPrior:
    """Count transitions in the training rows and weigh them on validation cases.

    Args:
        split: The weight never sees ``split.test``.
        cases: Q of ``split.validation``.
        queries: ``(Q, D)`` user vectors of them.
        item_vectors: ``(N + 1, D)``.
        config: Settled.
    """
    scores = mask_seen(queries @ item_vectors.T, split.interactions, cases)
    scores[:, 0] = OUT
    candidates, cosines = top_k(scores, config.prior.num_candidates)
    histories = case_histories(split.interactions, cases, length=config.prior.history_items)
    first_targets = cases.target_rows[np.unique(cases.target_cases, return_index=True)[1]]
    return fit_prior(
        TransitionCounter.of(split.train, config.prior, num_items=len(item_vectors) - 1),
        cosines,
        candidates,
        histories.item_idx,
        torch.from_numpy(split.interactions.item_idx[first_targets].astype(np.int64)),
        temperature=config.train.temperature,
    )


def settle_for(config: Config, split: Split, *, num_items: int) -> Config:
    """The config with what was left to the data settled by the training rows, and by nothing else of the table."""
    return settle(
        config,
        has_clock=split.train.occurred_at is not None,
        repeat_share=repeat_share(split.train),
        num_items=num_items,
        num_interactions=len(split.train),
    )


def repeat_share(interactions: Interactions) -> float:
    """The share of interactions with an item that the same user already had."""
    pairs = interactions.user_idx.astype(np.int64) << 32 | interactions.item_idx
    return 1 - len(np.unique(pairs)) / max(len(pairs), 1)


def _discovered(
    catalogue: Catalogue, features: ItemFeatures, item_vectors: Tensor, config: Config
) -> tuple[tuple[str, ...], ...]:
    """Interests where there are no categories: from text vectors, or where no text is read from the towers'.

    They are found here and kept, since here the encoder is at hand, and since what learns from them must keep them.
    """
    vectors = features.text_vectors if features.text_vectors.shape[1] else item_vectors
    return discover_interests(catalogue, vectors.numpy(), seed=config.seed)
