"""From checked tables to a bundle: split, features, towers, vectors, prior. The table of contents of a training run."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from recsys.acceleration import TRACKER
from recsys.audit import LeakError, audit_counts, audit_split, rows_fingerprint
from recsys.bundle import Bundle, load_bundle, refuse_foreign_folder, save_bundle, sibling
from recsys.catalogue import Catalogue
from recsys.config import Config, settle, settle_split
from recsys.embed import embed_cases, embed_items
from recsys.encoder_choice import settle_encoder
from recsys.encoders import TextEncoder
from recsys.evaluate import CASES_AT_ONCE
from recsys.event_evidence import EventEvidence, types_told_apart
from recsys.evidence import Evidence
from recsys.features import EncodeText, Vocabulary, item_features
from recsys.histories import case_histories
from recsys.interactions import Interactions
from recsys.interests import bundle_taxonomy
from recsys.opinions import Opinions, SecondTower, second_config
from recsys.prior import TransitionPrior, fit_prior
from recsys.ranking import OUT, mask_seen, top_k
from recsys.rerank import FEWEST_CASES, Reranker, fit_reranker
from recsys.split import Cases, Split, make_split, thinned
from recsys.taxonomy import discover_interests
from recsys.towers import ItemFeatures
from recsys.train import VALIDATION_CASES, item_counts, known_ids, train_towers
from recsys.transitions import TransitionCounter

SECOND = "second"
"""The folder of the second towers' training in the run's, and of their curves in the tracker's."""


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
    config = settle_encoder(settle_for(config, split, num_items=len(catalogue)), catalogue)
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
    training: dict[str, Any] = {
        "curve": curve,
        "protocol": split.protocol,
        "trained_on": rows_fingerprint(split.train),
        "item_counts": counts.tolist(),
    }
    second_tower = None
    if prior is not None and config.rerank.enabled and config.rerank.second_tower and len(asked) >= FEWEST_CASES:
        Console(stderr=True).print("Now the second towers, for the reranker.", highlight=False)
        others, training["second_curve"] = train_towers(
            split, features, vocabulary, second_config(config), workplace / SECOND
        )
        second_tower = SecondTower(others.user_tower, embed_items(others, features, known_ids(counts)))
    interests = None if any(catalogue.categories) else _discovered(catalogue, features, item_vectors, config)
    bundle = Bundle(
        config=config,
        catalogue=catalogue,
        vocabulary=vocabulary,
        interactions=interactions,
        model=model,
        item_vectors=item_vectors.numpy(),
        query_vectors=queries.numpy(),
        prior=prior,
        training=training,
        interests=interests,
        second_tower=second_tower,
    )
    bundle = replace(bundle, reranker=learn_reranker(bundle, split))
    fingerprint = save_bundle(bundle, folder)
    for tracked in (Path(TRACKER), Path(SECOND, TRACKER)):
        if (workplace / tracked).exists():
            shutil.move(workplace / tracked, folder / TRACKER / tracked.parent)
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
    candidates, cosines = _retrieved(split, cases, queries, item_vectors, config)
    histories = case_histories(split.interactions, cases, length=config.prior.history_items)
    return fit_prior(
        TransitionCounter.of(split.train, config.prior, num_items=len(item_vectors) - 1),
        cosines,
        candidates,
        histories.item_idx,
        torch.from_numpy(split.interactions.item_idx[cases.first_targets()].astype(np.int64)),
        temperature=config.train.temperature,
    )


def reranker_evidence(bundle: Bundle, split: Split) -> Evidence:
    """All that the reranker of a bundle, which has a prior, may read of the training rows."""
    assert bundle.prior is not None
    returns = not bundle.config.train.exclude_seen
    opinions = Opinions(bundle.model.user_tower, bundle.second_tower)
    return Evidence.of(split.train, bundle_taxonomy(bundle), bundle.prior, returns=returns, opinions=opinions)


def learn_reranker(bundle: Bundle, split: Split, *, evidence: Evidence | None = None) -> Reranker | None:
    """Learn to order what the bundle retrieves for its validation cases; None where that does not pay.

    Args:
        bundle: Towers, prior and query vectors; a reranker it has already is not looked at.
        split: Of the bundle; the test part is not looked at.
        evidence: What it reads instead of `reranker_evidence`.
    """
    config = bundle.config
    if bundle.prior is None or not config.rerank.enabled:
        return None
    evidence = evidence or reranker_evidence(bundle, split)
    cases = thinned(split.validation, VALIDATION_CASES)
    queries, item_vectors = torch.from_numpy(bundle.query_vectors), torch.from_numpy(bundle.item_vectors)
    candidates, cosines = _retrieved(split, cases, queries, item_vectors, config)
    asks_when = config.user_tower.request_time
    events = None
    if names := types_told_apart(split.train, cases, split.interactions):
        events = EventEvidence.of(split.train, names, evidence.interests, request_time=asks_when)
    return fit_reranker(
        evidence,
        split.interactions,
        cases,
        candidates,
        cosines,
        item_vectors,
        history_length=config.user_tower.history_length,
        request_time=asks_when,
        seed=config.seed,
        events=events,
    )


def relearn_reranker(folder: Path) -> Bundle:
    """Learn the reranker of a finished bundle anew, towers and prior untouched; reports and indexes in it are dropped.

    Raises:
        InputError: No bundle, or a damaged one.
        LeakError: It was trained on other rows than its split allows.
    """
    bundle = load_bundle(folder)
    bundle = replace(bundle, reranker=learn_reranker(bundle, bundle_split(bundle)))
    return replace(bundle, fingerprint=save_bundle(bundle, folder))


def bundle_split(bundle: Bundle) -> Split:
    """The split a bundle was trained under, made again from its table and audited.

    Raises:
        LeakError: The bundle was trained on other rows than its split allows, or a history reaches its target.
    """
    split = make_split(bundle.interactions, bundle.config.split)
    audit_split(split)
    if rows_fingerprint(split.train) != bundle.training["trained_on"]:
        raise LeakError(
            "the bundle was not trained on the training part of its own split: its table or its split was changed "
            "after training. Train again."
        )
    audit_counts(split, np.array(bundle.training["item_counts"]), what="item counts of the bundle")
    return split


def _retrieved(
    split: Split, cases: Cases, queries: Tensor, item_vectors: Tensor, config: Config
) -> tuple[Tensor, Tensor]:  # both (Q, C)
    """The candidates of cases and their cosines, best first; seen items are none unless users return to them."""
    found = []
    for at in range(0, max(len(cases), 1), CASES_AT_ONCE):
        rows = slice(at, at + CASES_AT_ONCE)
        scores = queries[rows] @ item_vectors.T
        if config.train.exclude_seen:
            mask_seen(scores, split.interactions, cases[rows])
        scores[:, 0] = OUT
        found.append(top_k(scores, config.prior.num_candidates))
    return torch.cat([item_idx for item_idx, _ in found]), torch.cat([cosines for _, cosines in found])


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
