"""Peers that read histories in order: SASRec, eSASRec, HSTU and BERT4Rec, as RecTools has them.

Each takes its authors' settings for that kind of data, told by how long histories are, and stops where validation no
longer gets better; while time is left, more dropout is tried. What is ours here is the loop around them, and
`benchmarks.peers.no_padding`.
"""

import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, HSTUModel, SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from rectools.models.nn.transformers.ligr import LiGRLayers

from benchmarks.peers.exchange import LISTED
from benchmarks.peers.material import VALIDATION_USERS, Material, Questions, mean_ndcg
from benchmarks.peers.no_padding import BERT4RecLikeLengths, CutPadding, CutSTULayers, RealPositions, SASRecLikeLengths

LONG_HISTORIES = 50
"""Training rows per user from which on the authors' MovieLens settings are taken, else those for Amazon reviews."""

BATCH_SIZE = 32
"""The authors take 128 on a GPU. On a CPU an epoch takes as long with a fourth of it, makes four times the steps, and
needs a fourth of the memory."""
MAX_EPOCHS = 200
OTHER_DROPOUTS = (0.3, 0.5)
"""Tried while time is left, as the authors did on their data; validation says which counts."""
PADDING_CUT = {
    "use_key_padding_mask": True,
    "backbone_type": CutPadding,
    "data_preparator_type": SASRecLikeLengths,
}


@dataclass
class Progress:
    """What training has come to."""

    best_ndcg: float = -1.0
    best_epoch: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    """Seconds and validation NDCG@10 of every epoch."""
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    time_is_up: bool = False


def sasrec(material: Material, *, minutes: float, seed: int, threads: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """SASRec (Kang and McAuley, ICDM 2018) with full softmax: SASRec+ of Klenitskiy and Vasilev, RecSys 2023.

    Their settings for MovieLens-1M and for Beauty differ in the length of histories only.
    """
    settings = {
        "n_blocks": 2,
        "n_heads": 1,
        "n_factors": 64,
        "dropout_rate": 0.1,
        "session_max_len": 200 if _long(material) else 50,
        "loss": "softmax",
        "lr": 1e-3,
        "batch_size": BATCH_SIZE,
        **PADDING_CUT,
    }
    return _learn(SASRecModel, settings, material, patience=10, minutes=minutes, seed=seed, threads=threads)


def esasrec(material: Material, *, minutes: float, seed: int, threads: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """eSASRec: SASRec's objective, LiGR layers, sampled softmax (Tikhonovich et al., RecSys 2025, their settings)."""
    settings = {
        "n_blocks": 2 if _long(material) else 1,
        "n_heads": 1,
        "n_factors": 64,
        "dropout_rate": 0.1 if _long(material) else 0.2,
        "session_max_len": 200 if _long(material) else 50,
        "loss": "sampled_softmax",
        "n_negatives": 256,
        "lr": 1e-3,
        "batch_size": BATCH_SIZE,
        **PADDING_CUT,
        "transformer_layers_type": LiGRLayers,
        "transformer_layers_kwargs": {"ff_factors_multiplier": 4},
    }
    return _learn(SASRecModel, settings, material, patience=50, minutes=minutes, seed=seed, threads=threads)


def hstu(material: Material, *, minutes: float, seed: int, threads: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """HSTU (Zhai et al., ICML 2024), with RecTools' settings that reach the paper's figures.

    Where there is a clock, attention sees how long ago each event was, counted from the instant of the request.
    """
    settings = {
        "n_blocks": 2,
        "n_heads": 1,
        "n_factors": 50,
        "dropout_rate": 0.2,
        "session_max_len": 200 if _long(material) else 50,
        "loss": "sampled_softmax",
        "n_negatives": 128,
        "lr": 1e-3,
        "batch_size": BATCH_SIZE,
        "lightning_module_kwargs": {"logits_t": 0.05},
        "relative_time_attention": material.has_clock,
        "relative_pos_attention": True,
        "data_preparator_type": SASRecLikeLengths,
        "backbone_type": CutPadding,
        "transformer_layers_type": CutSTULayers,
    }
    return _learn(HSTUModel, settings, material, patience=10, minutes=minutes, seed=seed, threads=threads)


def bert4rec(material: Material, *, minutes: float, seed: int, threads: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """BERT4Rec (Sun et al., CIKM 2019), settings of Klenitskiy and Vasilev, RecSys 2023."""
    settings = {
        "n_blocks": 2,
        "n_heads": 2,
        "n_factors": 64,
        "dropout_rate": 0.1,
        "session_max_len": 200 if _long(material) else 50,
        "mask_prob": 0.2,
        "loss": "softmax",
        "lr": 1e-3,
        "batch_size": BATCH_SIZE,
        **PADDING_CUT,
        "data_preparator_type": BERT4RecLikeLengths,
    }
    return _learn(BERT4RecModel, settings, material, patience=20, minutes=minutes, seed=seed, threads=threads)


def _long(material: Material) -> bool:
    return material.mean_length >= LONG_HISTORIES


def _learn(
    kind: type[Any],
    settings: dict[str, Any],
    material: Material,
    *,
    patience: int,
    minutes: float,
    seed: int,
    threads: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train under each dropout for which there is time, and rank the cases by the weights that validated best."""
    warnings.filterwarnings("ignore")  # of RecTools and Lightning, about each other
    torch.set_num_threads(threads)
    seconds, began = 60 * minutes * threads, time.process_time()
    courses: list[dict[str, Any]] = []
    best: tuple[dict[str, Any], Any, Progress] | None = None
    for dropout in dict.fromkeys((settings["dropout_rate"], *OTHER_DROPOUTS)):
        left = seconds - (time.process_time() - began)
        if best is not None and left < (seconds - left) / (2 * len(courses)):  # not even half of a usual course
            break
        chosen = {**settings, "dropout_rate": dropout}
        seed_everything(seed, verbose=False)
        model = kind(
            **chosen,
            item_net_block_types=(IdEmbeddingsItemNet,),
            lightning_module_type=RealPositions,
            get_trainer_func=_trainer,
        )
        progress = _train(model, material, patience=patience, seconds=left)
        courses.append({"dropout_rate": dropout, "capped": progress.time_is_up, "curve": progress.curve})
        if best is None or progress.best_ndcg > best[2].best_ndcg:
            best = chosen, model, progress
    assert best is not None
    chosen, model, progress = best
    model.torch_model.load_state_dict(progress.best_weights)
    read = material.train.groupby("user").size().clip(upper=settings["session_max_len"] + 1) - 1
    epoch_seconds = float(np.median([epoch["fit_seconds"] for epoch in progress.curve]))
    return rank(model, material.cases, listed=LISTED), {
        "parameters": {name: getattr(value, "__name__", value) for name, value in chosen.items()},
        "patience": patience,
        "epochs": len(progress.curve),
        "best_epoch": progress.best_epoch,
        "validation_ndcg@10": progress.best_ndcg,
        "capped": progress.time_is_up,
        "courses": courses,
        "items_known": len(model.data_preparator.get_known_item_ids()),
        "training_events_per_second": round(float(read.sum()) / epoch_seconds, 1),
    }


def _train(model: Any, material: Material, *, patience: int, seconds: float) -> Progress:
    """Epoch by epoch, until validation gets no better or another epoch would take longer than ``seconds`` allow."""
    train = as_dataset(material.train)
    validation = material.validation.thinned(VALIDATION_USERS)
    progress, began = Progress(), time.process_time()
    while len(progress.curve) - progress.best_epoch < patience and len(progress.curve) < MAX_EPOCHS:
        epoch_began, spent_before = time.monotonic(), time.process_time()
        model.fit_partial(train, min_epochs=1, max_epochs=1)
        fit_seconds = time.monotonic() - epoch_began
        ndcg = mean_ndcg(rank(model, validation, listed=10), validation.targets)
        progress.curve.append({"fit_seconds": round(fit_seconds, 2), "validation_ndcg@10": round(ndcg, 5)})
        if ndcg > progress.best_ndcg:
            progress.best_ndcg, progress.best_epoch = ndcg, len(progress.curve)
            progress.best_weights = {name: value.clone() for name, value in model.torch_model.state_dict().items()}
        print(f"epoch {len(progress.curve)}: {progress.curve[-1]}", flush=True)
        spent = time.process_time()
        if spent - began + (spent - spent_before) > seconds:
            progress.time_is_up = True
            break
    return progress


def _trainer() -> Trainer:
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing"), False)
    return Trainer(max_epochs=1, devices=1, enable_model_summary=False, **quiet)


def as_dataset(rows: pd.DataFrame) -> Dataset:
    """RecTools' table. It sorts by datetime and keeps the rows' order where that ties, as ours does."""
    columns = {"user": Columns.User, "item": Columns.Item}
    table = rows[["user", "item"]].rename(columns=columns)
    table[Columns.Datetime] = pd.to_datetime(rows["instant"], unit="s")
    table[Columns.Weight] = 1.0
    return Dataset.construct(table)


def rank(model: Any, questions: Questions, *, listed: int) -> pd.DataFrame:
    """user, item, rank, score: the best of what each user does not have yet, by the whole history given."""
    context = None
    if model.require_recommend_context:
        requested_at = questions.requested_at
        context = pd.DataFrame({Columns.User: requested_at.index, Columns.Weight: 1.0})
        context[Columns.Datetime] = pd.to_datetime(requested_at.to_numpy(), unit="s").astype("datetime64[ns]")
    found: pd.DataFrame = model.recommend(
        questions.users,
        as_dataset(questions.histories),
        k=listed,
        filter_viewed=True,
        context=context,
        on_unsupported_targets="ignore",
    )
    names = {Columns.User: "user", Columns.Item: "item", Columns.Rank: "rank", Columns.Score: "score"}
    return found.rename(columns=names).astype({"user": np.int64, "item": np.int64})
