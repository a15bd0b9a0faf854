"""One training batch: histories, what came next at every position, and which items the loss looks at.

Shapes: B histories, H events, C items encoded for the batch, S items it contrasts with (the catalogue or negatives).
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys.config import TrainConfig
from recsys.frequencies import StreamedShares
from recsys.histories import Histories, Windows, gather_histories
from recsys.interactions import Interactions
from recsys.mining import Near


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step reads."""

    histories: Histories
    """B histories of H events."""
    item_idx: Tensor
    """(C,) the items to encode; row 0 is padding."""
    history_rows: Tensor
    """(B, H) where each event's item stands in ``item_idx``."""
    asked: Tensor
    """(B, H) whether something came next at this position."""
    positives: Tensor
    """(P,) the row in ``item_idx`` of what came next at each asked position."""
    negatives: Tensor
    """(S,) rows of ``item_idx``."""
    log_q: Tensor
    """(S,) log of how often sampling is expected to put each of them here; zeros for the whole catalogue."""
    excluded: "SeenBy"
    """(P, S) negatives that are none for this position."""
    mined: Tensor
    """(S,) which negatives were mined."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True, eq=False)
class SeenBy:
    """Which negatives were in the history by each asked position, from the first meeting of each: P × S in B × S."""

    first: Tensor
    """(B, S) the first position whose history holds the item; −1 before all of them, past them for never."""
    row: Tensor
    """(P,) the history of each asked position."""
    position: Tensor
    """(P,) where in it."""

    def __getitem__(self, asked: slice) -> Tensor:
        """(p, S) for some of the positions."""
        return self.first[self.row[asked]] <= self.position[asked, None]

    def to(self, device: torch.device) -> "SeenBy":
        """The same on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True, eq=False)
class Negatives:
    """What a batch contrasts with."""

    item_idx: npt.NDArray[np.int64]
    """(S,) repeats allowed."""
    log_q: npt.NDArray[np.float64]
    """(S,) log of how often sampling is expected to put each of them here."""
    mined: npt.NDArray[np.bool_]
    """(S,) whether it was mined."""


class BatchMaker:
    """Makes batches of training windows; holds what all of them share.

    ``counts`` (N + 1,) says how often each item was chosen in training. Items never chosen are no negatives: pushing
    them away would teach the text of a cold item to be unwanted.

    ``near`` is renewed as the items move: `mine` of the latest item vectors, where hard negatives are wanted.
    """

    def __init__(
        self,
        train: Interactions,
        windows: Windows,
        counts: npt.NDArray[np.int64],
        config: TrainConfig,
        *,
        request_time: bool,
    ) -> None:
        self.train, self.windows, self.counts, self.config = train, windows, counts, config
        self.request_time = request_time
        self.length = int((windows.stops - windows.starts).max(initial=1))
        followed = np.ones(len(train), bool)
        followed[train.starts[:-1][np.diff(train.starts) > 0]] = False  # a user's first event answers nothing
        self.share = np.bincount(train.item_idx[followed], minlength=len(counts)) / followed.sum()
        self.chosen = np.flatnonzero(counts)
        self.near: Near | None = None
        self.streamed = StreamedShares(len(counts) - 1) if config.log_q == "streamed" else None

    def make(self, which: npt.NDArray[np.int64], *, rng: np.random.Generator) -> Batch:
        """The batch of those windows.

        Args:
            which: ``(B,)`` rows of the windows.
            rng: For negatives.
        """
        starts, stops = self.windows.starts[which], self.windows.stops[which]
        occurred_at = self.train.occurred_at if self.request_time else None
        histories = gather_histories(
            self.train,
            starts,
            stops - 1,
            length=self.length,
            requested_at=None if occurred_at is None else occurred_at[stops - 1],
        )
        asked = histories.item_idx > 0
        inside = np.arange(asked.shape[1]) < (stops - starts - 1)[:, None]
        rows = np.where(inside, starts[:, None] + 1 + np.arange(asked.shape[1]), 0)
        targets = self.train.item_idx[rows][inside].astype(np.int64)  # (P,)
        negatives = self._negatives(targets, rng)
        if self.config.loss == "full":
            item_idx, history_rows, positives = negatives.item_idx, histories.item_idx.numpy(), targets
            negative_rows = negatives.item_idx
        else:
            everything = np.concatenate([[0], histories.item_idx.numpy().ravel(), targets, negatives.item_idx])
            item_idx, inverse = np.unique(everything, return_inverse=True)
            cuts = np.cumsum([1, histories.item_idx.numel(), len(targets)])
            _, history_rows, positives, negative_rows = np.split(inverse, cuts)
        return Batch(
            histories=histories,
            item_idx=torch.from_numpy(item_idx),
            history_rows=torch.from_numpy(history_rows.reshape(asked.shape)),
            asked=asked,
            positives=torch.from_numpy(positives),
            negatives=torch.from_numpy(negative_rows),
            log_q=torch.from_numpy(negatives.log_q.astype(np.float32)),
            excluded=self._excluded(which, asked, negatives.item_idx),
            mined=torch.from_numpy(negatives.mined),
        )

    def _negatives(self, targets: npt.NDArray[np.int64], rng: np.random.Generator) -> Negatives:
        if self.config.loss == "full":
            everything = np.arange(len(self.counts))
            return Negatives(everything, np.zeros(len(everything)), np.zeros(len(everything), bool))
        share = self.share
        if self.streamed is not None:
            self.streamed.meet(targets)
            share = self.streamed.shares
        if self.config.loss == "in_batch":
            return Negatives(targets, np.log(len(targets) * share[targets]), np.zeros(len(targets), bool))
        # Half from the batch, which are encoded anyway and as frequent as they are popular, half uniform (Yang et al.,
        # WWW 2020): popular negatives are met often, rare ones not never.
        half = self.config.negatives // 2
        drawn = np.concatenate([rng.choice(targets, half), rng.choice(self.chosen, self.config.negatives - half)])
        mined = np.zeros(0, np.int64)
        expected = half * share + (self.config.negatives - half) * (self.counts > 0) / len(self.chosen)  # (N + 1,)
        if self.near is not None:
            around = self.near.of(targets)  # (P', M)
            mined = rng.choice(around.ravel(), self.config.hard_negatives) if len(around) else mined
            # One count for all three ways in, as in multiple importance sampling's balance heuristic (Veach and
            # Guibas, 1995): a hard negative stands for no more than it should.
            expected = expected + len(mined) * np.bincount(around.ravel(), minlength=len(expected)) / max(
                around.size, 1
            )
        both = np.concatenate([drawn, mined])
        return Negatives(both, np.log(expected[both]), np.arange(len(both)) >= len(drawn))

    def _excluded(self, which: npt.NDArray[np.int64], asked: Tensor, negatives: npt.NDArray[np.int64]) -> SeenBy:
        always, never = -1, asked.shape[1]
        first_of = np.where(self.counts == 0, always, never).astype(np.int16)
        first = np.empty((len(which), len(negatives)), np.int16)
        for at, window in enumerate(which):
            if self.config.exclude_seen:
                items = self.train.item_idx[self.windows.user_starts[window] : self.windows.stops[window] - 1]
                before = self.windows.starts[window] - self.windows.user_starts[window]
                # Newest first, so that the oldest meeting is what stays written.
                first_of[items[::-1]] = np.maximum(np.arange(len(items)) - before, 0)[::-1]
            first[at] = first_of[negatives]
            if self.config.exclude_seen:
                first_of[items] = never
        row, position = asked.nonzero(as_tuple=True)
        return SeenBy(torch.from_numpy(first), row, position.to(torch.int16))
