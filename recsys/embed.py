"""Run trained towers over everything: all items once, any number of histories in batches.

Shapes: N items, Q histories, D width.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.histories import Histories, gather_histories, newest_events
from recsys.interactions import Interactions
from recsys.newest import newest_vectors
from recsys.split import Cases
from recsys.towers import ItemFeatures, TwoTower, UserTower

ITEMS_AT_ONCE = 8192
HISTORIES_AT_ONCE = 128


@torch.inference_mode()
def embed_items(model: TwoTower, features: ItemFeatures, id_idx: Tensor) -> Tensor:
    """Vectors of all items, on the CPU.

    Args:
        model: In any mode; it is left in evaluation mode.
        features: Of N + 1 rows, padding first.
        id_idx: ``(N + 1,)`` whose id embedding each item has learnt; 0 for a cold item.

    Returns:
        ``(N + 1, D)`` unit rows, row 0 zeros.
    """
    model.eval()
    chunks = torch.arange(len(id_idx)).split(ITEMS_AT_ONCE)
    device = next(model.parameters()).device
    vectors = torch.cat([model.item_tower(features[rows].to(device), id_idx[rows].to(device)).cpu() for rows in chunks])
    vectors[0] = 0
    return vectors


@torch.inference_mode()
def embed_histories(model: TwoTower, item_vectors: Tensor, histories: Histories) -> Tensor:
    """What each user wants at their request.

    Args:
        model: In evaluation mode.
        item_vectors: ``(N + 1, D)`` of `embed_items`.
        histories: Q histories; an empty one gives a zero vector, which likes nothing better than anything else.

    Returns:
        ``(Q, D)`` unit rows, on the CPU.
    """
    return _read(model.user_tower, item_vectors, histories)


@torch.no_grad()
def read_histories(tower: UserTower, item_vectors: Tensor, histories: Histories) -> Tensor:
    """What a user tower that stands alone makes of histories, in batches of like length.

    Args:
        tower: In evaluation mode.
        item_vectors: As in `embed_histories`.
        histories: Q histories; of long ones the newest events that the tower reads.

    Returns:
        ``(Q, D)`` as `embed_histories` gives them, of which others may learn.
    """
    lengths = (histories.item_idx > 0).sum(1).clamp(1, tower.config.history_length)
    vectors = torch.zeros(len(lengths), item_vectors.shape[1])
    for rows in lengths.argsort().split(HISTORIES_AT_ONCE) if len(lengths) else ():
        vectors[rows] = _read(tower, item_vectors, newest_events(histories[rows], int(lengths[rows].max())))
    return vectors


def _read(tower: UserTower, item_vectors: Tensor, histories: Histories) -> Tensor:
    device = next(tower.parameters()).device
    vectors = F.embedding(histories.item_idx, item_vectors).to(device)
    newest = newest_vectors(tower, histories.to(device), vectors).cpu()  # (Q, D)
    return newest.masked_fill((histories.item_idx == 0).all(1, keepdim=True), 0.0)


def embed_cases(model: TwoTower, item_vectors: Tensor, interactions: Interactions, cases: Cases) -> Tensor:
    """User vectors of evaluation cases, in batches of histories of like length.

    Returns:
        ``(Q, D)`` unit rows, in the order of the cases.
    """
    tower = model.user_tower.config
    order = np.argsort(cases.stops - cases.starts, kind="stable")
    vectors = torch.zeros(len(cases), item_vectors.shape[1])
    for at in range(0, len(order), HISTORIES_AT_ONCE):
        rows = order[at : at + HISTORIES_AT_ONCE]
        asked = None if cases.requested_at is None or not tower.request_time else cases.requested_at[rows]
        histories = gather_histories(
            interactions, cases.starts[rows], cases.stops[rows], length=tower.history_length, requested_at=asked
        )
        vectors[torch.from_numpy(rows)] = embed_histories(model, item_vectors, histories)
    return vectors
