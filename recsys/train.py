"""The training loop: windows of the training table in, the best towers out.

It goes on where a killed run stopped, with the same losses as if it had not been.

Shapes: B histories, H events, C items, P positions that something followed, D width, N items.
"""

import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from recsys.acceleration import autocast, make_accelerator
from recsys.batches import Batch, BatchMaker
from recsys.checkpoint import load_checkpoint, save_checkpoint
from recsys.config import Config, TrainConfig, config_toml
from recsys.embed import embed_cases, embed_items
from recsys.features import Vocabulary
from recsys.histories import training_windows, window_batches
from recsys.interactions import Interactions
from recsys.loss import full_softmax_loss, in_batch_loss, sampled_softmax_loss
from recsys.metrics import ndcg, recall
from recsys.mining import mine
from recsys.ranking import expected_ranks, mask_seen
from recsys.split import Split, thinned
from recsys.towers import ItemFeatures, ItemTower, TwoTower, UserTower, value_edges
from recsys.warm_start import co_occurrence_vectors

VALIDATION_CASES = 10_000
"""Validation looks at no more users than these: enough to choose by, and an epoch stays an epoch."""


@dataclass
class Course:
    """How far a training has come: what a resume needs besides tensors."""

    epoch: int = 0
    best_epoch: int = 0
    best_ndcg: float = -1.0
    curve: list[dict[str, float]] = field(default_factory=list)
    """One entry per epoch: mean loss, validation figures, seconds."""


def train_towers(
    split: Split, features: ItemFeatures, vocabulary: Vocabulary, config: Config, folder: Path
) -> tuple[TwoTower, list[dict[str, float]]]:
    """Learn both towers from ``split.train``, choosing the epoch by ``split.validation``.

    Args:
        split: ``split.test`` is not looked at.
        features: Of the N + 1 catalogue rows.
        vocabulary: That made the features.
        config: Settled.
        folder: For the checkpoint and the tracker's files. A checkpoint of the same config and data is continued.

    Returns:
        The towers of the best epoch, on the CPU and in evaluation mode, and the training curve.
    """
    knobs, tower = config.train, config.user_tower
    assert knobs.epochs is not None  # settled, as the batch size is
    assert knobs.batch_events is not None
    accelerator = make_accelerator(knobs, folder)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        towers = make_towers(config, features, vocabulary, split.train).to(accelerator.device)
        optimizer = make_optimizer(towers, knobs)
        checkpoint = folder / "checkpoint" / run_fingerprint(config, split.train)
        best, stream, done = load_checkpoint(checkpoint, towers, optimizer) or ({}, {}, {})
        course = Course(**done)
        model, optimizer = accelerator.prepare(towers, optimizer)

        features = features.to(accelerator.device)
        counts = item_counts(split.train, num_items=len(features.categories) - 1)
        ids = known_ids(counts).to(accelerator.device)
        windows = training_windows(split.train, length=tower.history_length)
        maker = BatchMaker(split.train, windows, counts, knobs, request_time=tower.request_time)
        if maker.streamed is not None and stream:
            maker.streamed.go_on_from(stream)

        with _progress_bar(accelerator) as progress:
            task = progress.add_task("", visible=False)  # until there is something left to learn
            while course.epoch < knobs.epochs and course.epoch - course.best_epoch < knobs.patience:
                began = time.monotonic()
                rng = np.random.default_rng([config.seed, course.epoch])
                if knobs.hard_negatives:
                    maker.near = mine(embed_items(towers, features, ids), counts, rng=rng)
                batches = window_batches(windows, batch_events=knobs.batch_events, rng=rng)
                batches = batches[accelerator.process_index :: accelerator.num_processes]
                told = f"epoch {course.epoch + 1}/{knobs.epochs}"
                progress.reset(task, description=told, total=len(batches), visible=True)
                made = (
                    ((course.epoch + step / len(batches)) / knobs.epochs, maker.make(which, rng=rng))
                    for step, which in enumerate(progress.track(batches, task_id=task))
                )
                loss = train_epoch(accelerator, model, optimizer, made, features, ids, knobs)

                course.epoch += 1
                figures = {
                    "loss": loss,
                    **validate(towers, features, ids, split, knobs),
                    "seconds": time.monotonic() - began,
                }
                course.curve.append(figures)
                if figures["ndcg@10"] > course.best_ndcg:
                    course.best_ndcg, course.best_epoch = figures["ndcg@10"], course.epoch
                    best = {name: value.detach().cpu().clone() for name, value in towers.state_dict().items()}
                if accelerator.is_main_process:
                    stream = {} if maker.streamed is None else maker.streamed.state()
                    save_checkpoint(checkpoint, towers, optimizer, best, stream, asdict(course))
                accelerator.log(figures, step=course.epoch)
                progress.console.print(_summary(course, knobs), highlight=False)
    accelerator.end_training()
    towers.load_state_dict(best)
    return towers.cpu().eval(), course.curve


def train_epoch(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Optimizer,
    batches: Iterable[tuple[float, Batch]],
    features: ItemFeatures,
    ids: Tensor,
    knobs: TrainConfig,
) -> float:
    """One pass over the batches: the training step.

    Args:
        accelerator: Knows the device, the processes and when accumulated gradients are due.
        model: The towers, prepared by the accelerator.
        optimizer: Prepared as well.
        batches: Each after the share of the whole training that is done before it, which sets the learning rate.
        features: Of the N + 1 catalogue rows, on the device.
        ids: ``(N + 1,)`` of `known_ids`, on the device.
        knobs: Of the training.

    Returns:
        The mean loss.
    """
    losses = []
    model.train()
    for done, made in batches:
        set_learning_rate(optimizer, knobs, at=done)
        batch = made.to(accelerator.device)
        item_features, item_ids = features[batch.item_idx], ids[batch.item_idx]
        with accelerator.accumulate(model):
            with autocast(accelerator.device, knobs):
                users, items = model(item_features, item_ids, batch.histories, batch.history_rows)  # (B, H, D), (C, D)
                loss = contrast(users[batch.asked], items, batch, knobs)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), knobs.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.detach())
    model.zero_grad()  # an accumulation that the epoch cut short is dropped
    accelerator.step = 0
    return float(torch.stack(losses).mean())


def contrast(user_vectors: Tensor, item_vectors: Tensor, batch: Batch, knobs: TrainConfig) -> Tensor:
    """The loss of the config on (P, D) user vectors and (C, D) item vectors of one batch."""
    positives, negatives, excluded, temperature = batch.positives, batch.negatives, batch.excluded, knobs.temperature
    if knobs.loss == "full":
        return full_softmax_loss(user_vectors, item_vectors, positives, temperature=temperature, excluded=excluded)
    chosen, log_q = item_vectors[positives], batch.log_q
    if knobs.loss == "in_batch":
        return in_batch_loss(user_vectors, chosen, positives, log_q, temperature=temperature, excluded=excluded)
    margin = torch.where(batch.mined, knobs.hard_margin, -torch.inf) if knobs.hard_negatives else None
    return sampled_softmax_loss(
        user_vectors,
        chosen,
        positives,
        item_vectors[negatives],
        negatives,
        log_q,
        temperature=temperature,
        excluded=excluded,
        margin=margin,
    )


def validate(
    towers: TwoTower, features: ItemFeatures, ids: Tensor, split: Split, knobs: TrainConfig
) -> dict[str, float]:
    """Recall and NDCG of the towers alone on the validation cases, whole catalogue.

    Seen items are masked, unless users return to them: then they are no negatives either.
    """
    item_vectors = embed_items(towers, features, ids)
    cases = thinned(split.validation, VALIDATION_CASES)
    ranks = []
    for at in range(0, len(cases), 512):
        part = cases[at : at + 512]
        with autocast(ids.device, knobs):
            users = embed_cases(towers, item_vectors, split.interactions, part)
        scores = users @ item_vectors.T
        if knobs.exclude_seen:
            mask_seen(scores, split.interactions, part)
        scores[:, 0] = float("-inf")
        targets = torch.from_numpy(split.interactions.item_idx[part.target_rows].astype(np.int64))
        ranks.append(expected_ranks(scores, torch.from_numpy(part.target_cases), targets).numpy())
    found = np.concatenate(ranks) if ranks else np.array([np.inf])
    of_case = cases.target_cases if len(cases) else np.array([0])
    return {
        "ndcg@10": float(ndcg(found, of_case, k=10).mean()),
        "recall@10": float(recall(found, of_case, k=10).mean()),
        "recall@200": float(recall(found, of_case, k=200).mean()),
    }


def make_towers(config: Config, features: ItemFeatures, vocabulary: Vocabulary, train: Interactions) -> TwoTower:
    """Untrained towers of the right shape for a catalogue and a training table."""
    num_items = len(features.categories) - 1
    item_tower = ItemTower(
        config.item_tower,
        width=config.width,
        num_items=num_items,
        text_width=features.text_vectors.shape[1],
        num_categories=len(vocabulary.categories),
        num_numbers=len(vocabulary.numbers),
    )
    if item_tower.item_id is not None and config.item_tower.warm_ids:
        rng = np.random.default_rng(config.seed)
        start = co_occurrence_vectors(train, num_items=num_items, width=config.width, rng=rng)
        item_tower.item_id.weight.data.copy_(torch.from_numpy(start))
    user_tower = UserTower(config, num_events=len(train.event_names), value_edges=value_edges(train.value))
    return TwoTower(item_tower, user_tower)


def item_counts(train: Interactions, *, num_items: int) -> npt.NDArray[np.int64]:  # (N + 1,)
    """How often each item was chosen in training."""
    return np.bincount(train.item_idx, minlength=num_items + 1)


def known_ids(counts: npt.NDArray[np.int64]) -> Tensor:  # (N + 1,)
    """Whose id embedding has learnt anything; a cold item has 0 in its place and lives by its text."""
    return torch.from_numpy(np.where(counts > 0, np.arange(len(counts)), 0))


def make_optimizer(towers: TwoTower, knobs: TrainConfig) -> Optimizer:
    """AdamW that decays matrices and leaves vectors (norms, biases) alone."""
    matrices = [weight for weight in towers.parameters() if weight.ndim > 1]
    vectors = [weight for weight in towers.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": knobs.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return AdamW(groups, lr=knobs.learning_rate, betas=(0.9, 0.98))


def set_learning_rate(optimizer: Optimizer, knobs: TrainConfig, *, at: float) -> None:
    """A straight rise over the warm-up, then half a cosine to zero.

    Args:
        optimizer: Its groups' rates are set.
        knobs: Peak rate and warm-up share.
        at: The share of the training that is done, in [0, 1).
    """
    if at < knobs.warmup:
        factor = (at + 1e-3) / (knobs.warmup + 1e-3)
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (at - knobs.warmup) / (1 - knobs.warmup)))
    for group in optimizer.param_groups:
        group["lr"] = knobs.learning_rate * factor


def run_fingerprint(config: Config, train: Interactions) -> str:
    """Names a training by all that settles its outcome, so that only its own checkpoint is continued."""
    digest = hashlib.sha256(config_toml(config).encode())
    for column in (train.starts, train.item_idx, train.occurred_at, train.event, train.value):
        digest.update(b"" if column is None else np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]


def _summary(course: Course, knobs: TrainConfig) -> str:
    last = course.curve[-1]
    return (
        f"epoch {course.epoch}/{knobs.epochs}  loss {last['loss']:.3f}  validation NDCG@10 {last['ndcg@10']:.4f}  "
        f"recall@10 {last['recall@10']:.4f}{'  best' if course.best_epoch == course.epoch else ''}"
    )


def _progress_bar(accelerator: Accelerator) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),  # standard output is for answers
        disable=not accelerator.is_main_process,
    )
