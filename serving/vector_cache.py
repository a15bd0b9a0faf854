"""User vectors that were computed before: the same history asked again costs a look-up.

The key is a digest of all that user towers read, so a hit is always what they would give. Where the instant of the
request is read too, that instant is part of the key.

B histories, H events, V vectors of one history, D width.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from recsys.histories import Histories
from serving.drift import QueryDrift

Encode = Callable[[Histories], Tensor]
"""B histories → (B, D) user vectors, or (B, V, D)."""


class VectorCache:
    """An `Encode` that remembers. One thread uses it."""

    def __init__(self, encode: Encode, *, most: int, drift: QueryDrift | None = None, runtime: str = "torch") -> None:
        """Stand before another one.

        Args:
            encode: Computes what is not here.
            most: How many vectors are kept; the least recently used is dropped.
            drift: Is shown every vector that is given out.
            runtime: In what `encode` computes, for whoever asks.
        """
        self.drift = drift
        self.runtime = runtime
        self._encode = encode
        self._most = most
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._counts = {"hit": 0, "miss": 0}

    def __call__(self, histories: Histories) -> Tensor:
        """User vectors of B histories, computed for those that are not kept."""
        digests = history_digests(histories)
        missing = [row for row, digest in enumerate(digests) if digest not in self._kept]
        self._counts["hit"] += len(digests) - len(missing)
        self._counts["miss"] += len(missing)
        fresh = self._fresh(histories, missing, digests)
        vectors = [fresh[digest] if digest in fresh else self._used(digest) for digest in digests]
        for digest, vector in fresh.items():
            self._kept[digest] = vector
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        given = torch.stack(vectors)
        if self.drift is not None:
            self.drift.note(given.numpy())
        return given

    def take_counts(self) -> dict[str, int]:
        """How many were found and how many were not, since this was last asked."""
        counts, self._counts = self._counts, {"hit": 0, "miss": 0}
        return counts

    def clear(self) -> None:
        """Forget all of them, as when the vectors of items have changed."""
        self._kept.clear()

    def _fresh(self, histories: Histories, rows: list[int], digests: list[bytes]) -> dict[bytes, Tensor]:
        if not rows:
            return {}
        found = self._encode(histories[torch.tensor(rows)])
        # A clone each: a view would keep the whole batch alive.
        return {digests[row]: vector.clone() for row, vector in zip(rows, found, strict=True)}

    def _used(self, digest: bytes) -> Tensor:
        self._kept.move_to_end(digest)
        return self._kept[digest]


def history_digests(histories: Histories) -> list[bytes]:
    """One for each history, of its events alone: padding changes nothing."""
    lengths = (histories.item_idx > 0).sum(1).tolist()
    columns = [getattr(histories, field.name).numpy() for field in fields(Histories)]
    digests = []
    for row, length in enumerate(lengths):
        digest = hashlib.blake2b(digest_size=16)
        for column in columns:
            digest.update(column[row, :length].tobytes())
        digests.append(digest.digest())
    return digests
