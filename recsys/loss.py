"""The contrastive losses: each user vector must pick its positive out of many items.

A softmax over the whole catalogue where that is affordable, otherwise over negatives whose sampling is undone by
``log_q``. All three are means of cross-entropies, so they can be swapped and compared.

Shapes: B user vectors (every position of every history in the batch), C negatives, N items, D width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def full_softmax_loss(
    user_vectors: Tensor,  # (B, D) unit rows
    item_vectors: Tensor,  # (N + 1, D) unit rows; row 0 is padding
    positives: Tensor,  # (B,) rows of item_vectors, 1..N
    *,
    temperature: float,
    excluded: Tensor | None = None,  # (B, N + 1) items that are no negatives of this user
) -> Tensor:  # ()
    """Cross-entropy of each positive against the whole catalogue. Use it whenever B × N floats fit in memory.

    ``excluded`` takes items out of the denominator, for example those a user cannot choose again; a positive stays in
    whatever it says.
    """
    logits = (user_vectors / temperature @ item_vectors.T).float()  # (B, N + 1)
    outside = torch.zeros_like(logits, dtype=torch.bool) if excluded is None else excluded.clone()
    outside[:, 0] = True
    outside.scatter_(1, positives[:, None], False)
    return F.cross_entropy(logits.masked_fill(outside, float("-inf")), positives)


def sampled_softmax_loss(
    user_vectors: Tensor,  # (B, D) unit rows
    positive_vectors: Tensor,  # (B, D) unit rows
    positives: Tensor,  # (B,) item_idx
    negative_vectors: Tensor,  # (C, D) unit rows, shared by all users
    negatives: Tensor,  # (C,) item_idx, repeats allowed
    log_q: Tensor,  # (C,) log of how often sampling is expected to put this item among the C
    *,
    temperature: float,
    excluded: Tensor | None = None,  # (B, C) negatives that are none for this user
) -> Tensor:  # ()
    """Cross-entropy of each positive against sampled negatives. Use it when the catalogue is too large for a softmax.

    A negative that sampling favours stands for fewer items, so its ``log_q`` is subtracted (Bengio and Senécal, 2008);
    the positive is there for certain and keeps its logit, and a negative that is the positive (an accidental hit) is
    masked. The denominator is then an unbiased estimate of the full softmax's: Khrylchenko et al., RecSys 2025, show
    what correcting the positive as well costs.
    """
    positive_logit = (user_vectors * positive_vectors).sum(1, keepdim=True).float() / temperature  # (B, 1)
    logits = (user_vectors / temperature @ negative_vectors.T).float() - log_q  # (B, C)
    outside = positives[:, None] == negatives
    if excluded is not None:
        outside = outside | excluded
    logits = logits.masked_fill(outside, float("-inf"))
    return (torch.cat([positive_logit, logits], dim=1).logsumexp(1) - positive_logit[:, 0]).mean()


def in_batch_loss(
    user_vectors: Tensor,  # (B, D) unit rows
    positive_vectors: Tensor,  # (B, D) unit rows
    positives: Tensor,  # (B,) item_idx
    log_q: Tensor,  # (B,) log of how often a batch of B is expected to hold this item
    *,
    temperature: float,
    excluded: Tensor | None = None,  # (B, B)
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
