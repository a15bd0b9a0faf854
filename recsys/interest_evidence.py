"""All that a bundle knows of its users' interests as of a request: what was counted, and what the towers make of it.

Q cases, C interests, D width, N items.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from recsys.bundle import Bundle
from recsys.embed import embed_cases
from recsys.interactions import Interactions
from recsys.interest_features import Trend, habits, interest_features
from recsys.interest_head import Evidence
from recsys.interest_pasts import Ints, Pasts
from recsys.split import Cases
from recsys.taxonomy import Taxonomy

CASES_AT_ONCE = 256
COUNTED_AT_ONCE = 4_096
"""Cases whose numbers are held in full precision at a time."""


@dataclass(frozen=True, eq=False)
class EvidenceReader:
    """Gathers what a head judges by; made once for a bundle."""

    bundle: Bundle
    taxonomy: Taxonomy
    trend: Trend
    horizon_s: int | None
    member: sparse.csr_matrix
    """(N + 1, C) 1 where an item is of an interest."""

    @classmethod
    def of(
        cls, bundle: Bundle, taxonomy: Taxonomy, usual: npt.NDArray[np.float64], *, horizon_s: int | None
    ) -> "EvidenceReader":
        """For a bundle.

        Args:
            bundle: Whose towers and table.
            taxonomy: Of its items.
            usual: ``(C,)`` shares of the interests in its training rows.
            horizon_s: See `interest_cases`.
        """
        trend = Trend.of(bundle.interactions, taxonomy, usual, horizon_s=horizon_s)
        return cls(bundle, taxonomy, trend, horizon_s, (taxonomy.shares > 0).astype(np.float32))

    def of_cases(self, cases: Cases) -> Evidence:
        """Of Q cases of the bundle's table; nothing at or after a request is read."""
        first = self._of_some(cases[:COUNTED_AT_ONCE])
        whole = Evidence(*(each.new_empty(len(cases), *each.shape[1:]) for each in first.tensors))
        for at in range(0, len(cases), COUNTED_AT_ONCE):
            some = slice(at, at + COUNTED_AT_ONCE)
            part = self._of_some(cases[some]) if at else first
            for target, each in zip(whole.tensors, part.tensors, strict=True):
                target[some] = each
        return whole

    def _of_some(self, cases: Cases) -> Evidence:
        interactions = self.bundle.interactions
        pasts = Pasts.of_cases(cases, interactions, self.taxonomy, horizon_s=self.horizon_s)
        users = embed_cases(self.bundle.model, torch.from_numpy(self.bundle.item_vectors), interactions, cases)
        rows, owner = cases.history_rows()
        return self._evidence(pasts, cases.requested_at, users, owner, interactions.item_idx[rows])

    def of_history(
        self,
        mass: npt.NDArray[np.float32],
        history: Interactions,
        requested_at: int,
        user_vector: Tensor,
    ) -> Evidence:
        """Of one user, Q = 1.

        Args:
            mass: ``(H, C)`` what each event is of.
            history: Their H events, all before the request; items may have come since the bundle was trained.
            requested_at: Unix seconds.
            user_vector: ``(1, D)`` as of the request.
        """
        pasts = Pasts.of_history(mass, history, requested_at, horizon_s=self.horizon_s)
        known = history.item_idx[history.item_idx < len(self.bundle.item_vectors)]
        asked = None if history.occurred_at is None else np.array([requested_at])
        return self._evidence(pasts, asked, user_vector, np.zeros(len(known), np.int64), known)

    def _evidence(
        self, pasts: Pasts, requested_at: Ints | None, users: Tensor, owner: Ints, seen: npt.NDArray[np.integer]
    ) -> Evidence:
        counted = torch.from_numpy(interest_features(pasts, self.trend, requested_at))
        implied = torch.from_numpy(self._implied(users, owner, seen))
        held = torch.from_numpy(habits(pasts, self.trend.usual))
        return Evidence(torch.cat([counted, implied[:, :, None]], dim=2).half(), held, users)

    def _implied(self, users: Tensor, owner: Ints, seen: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:  # (Q, C)
        """The logarithm of the chance that the next item is of each interest, as the towers have learnt to see it."""
        config = self.bundle.config.train
        items, rows = torch.from_numpy(self.bundle.item_vectors), torch.from_numpy(seen.astype(np.int64))
        whose = torch.from_numpy(owner)
        implied = np.empty((len(users), len(self.taxonomy)), np.float32)
        for at in range(0, len(users), CASES_AT_ONCE):
            some = slice(at, at + CASES_AT_ONCE)
            logits = users[some] @ items.T / config.temperature
            logits[:, 0] = -torch.inf
            if config.exclude_seen:
                mine = (whose >= at) & (whose < at + CASES_AT_ONCE)
                logits[whose[mine] - at, rows[mine]] = -torch.inf
            logits[torch.isneginf(logits).all(1)] = 0.0  # all is seen
            implied[some] = np.log(torch.softmax(logits, 1).numpy() @ self.member + 1e-9)
        return implied
