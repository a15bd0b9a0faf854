"""The contrastive losses: each user vector must pick its positive out of many items.

A softmax over the whole catalogue where that is affordable, otherwise over negatives whose sampling is undone by
``log_q``. All three are means of cross-entropies, so they can be swapped and compared, and all three are one
computation, `_ContrastInBlocks`, that never holds a matrix of all users by all items.

Shapes: B user vectors (every position of every history in the batch), C negatives, N items, D width.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = {"cpu": 2**20, "cuda": 2**26}
"""Logits held at once: on a CPU as many as its caches hold, on a GPU enough to fill it."""


class Mask(Protocol):
    """What tells for some of the B users which of the C negatives are none: a (B, C) tensor of bools, or its recipe."""

    def __getitem__(self, users: slice, /) -> Tensor: ...


def full_softmax_loss(
    user_vectors: Tensor,  # (B, D) unit rows
    item_vectors: Tensor,  # (N + 1, D) unit rows; row 0 is padding
    positives: Tensor,  # (B,) rows of item_vectors, 1..N
    *,
    temperature: float,
    excluded: Mask | None = None,  # (B, N + 1) items that are no negatives of this user
) -> Tensor:  # ()
    """Cross-entropy of each positive against the whole catalogue. Use it whenever encoding all N items is affordable.

    ``excluded`` takes items out of the denominator, for example those a user cannot choose again; a positive stays in
    whatever it says.
    """
    everything = torch.arange(len(item_vectors), device=item_vectors.device)
    no_correction = torch.zeros(len(item_vectors), device=item_vectors.device)
    no_correction[0] = torch.inf  # padding is never a negative
    return sampled_softmax_loss(
        user_vectors,
        item_vectors[positives],
        positives,
        item_vectors,
        everything,
        no_correction,
        temperature=temperature,
        excluded=excluded,
    )


def sampled_softmax_loss(
    user_vectors: Tensor,  # (B, D) unit rows
    positive_vectors: Tensor,  # (B, D) unit rows
    positives: Tensor,  # (B,) item_idx
    negative_vectors: Tensor,  # (C, D) unit rows, shared by all users
    negatives: Tensor,  # (C,) item_idx, repeats allowed
    log_q: Tensor,  # (C,) log of how often sampling is expected to put this item among the C
    *,
    temperature: float,
    excluded: Mask | None = None,  # (B, C) negatives that are none for this user
    margin: Tensor | None = None,  # (C,) how far its cosine must stay below the positive's; −∞ for no matter how far
) -> Tensor:  # ()
    """Cross-entropy of each positive against sampled negatives. Use it when the catalogue is too large for a softmax.

    A negative that sampling favours stands for fewer items, so its ``log_q`` is subtracted (Bengio and Senécal, 2008);
    the positive is there for certain and keeps its logit, and a negative that is the positive (an accidental hit) is
    masked. The denominator is then an unbiased estimate of the full softmax's: Khrylchenko et al., RecSys 2025, show
    what correcting the positive as well costs.

    ``margin`` is for mined negatives: one that fits the user nearly as well as the positive is more likely something
    nobody offered than something nobody wants (Moreira et al., NV-Retriever, 2024).
    """
    # In logits: a negative counts while its own, log_q subtracted, is at most the positive's minus this.
    distance = None if margin is None else margin / temperature + log_q
    loss: Tensor = _ContrastInBlocks.apply(  # type: ignore[no-untyped-call]
        user_vectors, positive_vectors, positives, negative_vectors, negatives, log_q, excluded, distance, temperature
    )
    return loss


def in_batch_loss(
    user_vectors: Tensor,  # (B, D) unit rows
    positive_vectors: Tensor,  # (B, D) unit rows
    positives: Tensor,  # (B,) item_idx
    log_q: Tensor,  # (B,) log of how often a batch of B is expected to hold this item
    *,
    temperature: float,
    excluded: Mask | None = None,  # (B, B)
) -> Tensor:  # ()
    """Sampled softmax whose negatives are the other positives of the batch: no further item is encoded.

    Popular items turn up as negatives more often than they deserve; ``log_q`` undoes that (Yi et al., RecSys 2019).
    Use it when encoding an item is dear, for example when the sentence encoder is trained along.
    """
    return sampled_softmax_loss(
        user_vectors,
        positive_vectors,
        positives,
        positive_vectors,
        positives,
        log_q,
        temperature=temperature,
        excluded=excluded,
    )


class _ContrastInBlocks(torch.autograd.Function):
    """The mean cross-entropy of `sampled_softmax_loss`, a block of users at a time.

    The gradient of a softmax needs nothing but the softmax, so it is taken while a block's logits are at hand, and
    B × C numbers are neither stored nor computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        user_vectors: Tensor,
        positive_vectors: Tensor,
        positives: Tensor,
        negative_vectors: Tensor,
        negatives: Tensor,
        log_q: Tensor,
        excluded: Mask | None,
        distance: Tensor | None,
        temperature: float,
    ) -> Tensor:
        kind = user_vectors.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else user_vectors.dtype
        users, candidates = (user_vectors / temperature).to(precision), negative_vectors.to(precision)
        log_q, negatives = log_q.to(precision), negatives.int()
        size, step = len(users), max(1, BLOCK.get(kind, BLOCK["cuda"]) // max(len(candidates), 1))
        loss = torch.zeros((), device=users.device)
        user_slope, positive_slope = torch.empty_like(user_vectors), torch.empty_like(positive_vectors)
        negative_slope = torch.zeros_like(negative_vectors)
        for at in range(0, size, step):
            block = slice(at, at + step)
            positive = (user_vectors[block] * positive_vectors[block]).sum(1, keepdim=True) / temperature  # (b, 1)
            none = positives[block, None].int() == negatives  # accidental hits
            if excluded is not None:
                none |= excluded[block]
            logits = torch.addmm(-log_q, users[block], candidates.T)  # (b, C)
            if distance is not None:
                none |= logits > positive - distance
            logits.masked_fill_(none, -torch.inf)
            top = torch.maximum(logits.amax(1, keepdim=True), positive.to(precision))
            odds, own = logits.sub_(top).exp_(), (positive - top).exp()
            total = odds.sum(1, keepdim=True, dtype=torch.float32) + own
            loss += (total.log() + top - positive).sum()

            # d loss / d logit is odds / total / size; dividing the D columns is less work than dividing the C.
            own_share = (own / total - 1) / (size * temperature)  # d loss / d cosine of the positive
            user_slope[block] = (odds @ candidates).float() / (total * size * temperature)
            user_slope[block] += own_share * positive_vectors[block]
            positive_slope[block] = own_share * user_vectors[block]
            negative_slope += odds.T @ (users[block] / (total * size)).to(precision)
        ctx.save_for_backward(user_slope, positive_slope, negative_slope)
        return loss / size

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        user_slope, positive_slope, negative_slope = ctx.saved_tensors
        return slope * user_slope, slope * positive_slope, None, slope * negative_slope, None, None, None, None, None
