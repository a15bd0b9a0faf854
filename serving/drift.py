"""How far the questions asked of late are from those the model was judged on.

Both are clouds of user vectors. Each is looked at along the directions in which the reference spreads most, and along
each direction the shares of ten bins are compared: the population stability index, Σ (p − q) · ln(p / q), where p and q
are the shares of a bin (Siddiqi, Credit Risk Scorecards, 2006, who calls .1 little and .25 much).

Q reference vectors, B vectors of a batch, D width, P directions, W the window.
"""

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DIRECTIONS = 8
BINS = 10
WINDOW = 4_096
FEWEST = 500
"""Of fewer vectors a share says little: of this many, chance alone makes an index of about .02."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DriftReading:
    """What the user vectors of late look like beside the reference."""

    stability_index: float
    """The mean over the directions; 0 where nothing has changed."""
    cosine: float
    """Of the two means; 1 where nothing has changed."""


class QueryDrift:
    """Remembers the newest user vectors. One thread may note them while another reads."""

    def __init__(self, reference: Vectors) -> None:
        """Take the bundle's query vectors, (Q, D) with Q at least 1."""
        self._mean = reference.mean(0)
        centred = reference - self._mean
        # In float64: eigenvectors of a small matrix, once.
        _, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
        self._directions = directions[:, ::-1][:, :DIRECTIONS].astype(np.float32)  # (D, P) most spread first
        places = (reference @ self._directions).T  # (P, Q)
        self._edges = np.quantile(places, np.linspace(0, 1, BINS + 1)[1:-1], axis=1).T  # (P, BINS − 1)
        self._expected = self._shares(places)
        self._newest = np.zeros((WINDOW, reference.shape[1]), np.float32)
        self._noted = 0
        self._lock = threading.Lock()

    def note(self, vectors: Vectors) -> None:
        """Remember a batch (B, D), forgetting the oldest."""
        with self._lock:
            rows = (self._noted + np.arange(len(vectors))) % WINDOW
            self._newest[rows] = vectors
            self._noted += len(vectors)

    def read(self) -> DriftReading | None:
        """The drift of the newest; None while they are too few to tell."""
        with self._lock:
            if self._noted < FEWEST:
                return None
            newest = self._newest[: min(self._noted, WINDOW)].copy()
        found = self._shares((newest @ self._directions).T)
        index = ((found - self._expected) * np.log(found / self._expected)).sum(1).mean()
        mean = newest.mean(0)
        norms = float(np.linalg.norm(mean) * np.linalg.norm(self._mean))
        return DriftReading(float(index), float(mean @ self._mean) / norms if norms else 0.0)

    def _shares(self, places: Vectors) -> npt.NDArray[np.float64]:  # (P, any) → (P, BINS)
        bins = [np.searchsorted(edges, row) for edges, row in zip(self._edges, places, strict=True)]
        counts = np.stack([np.bincount(row, minlength=BINS) for row in bins])
        shares: npt.NDArray[np.float64] = (counts + 0.5) / (counts.sum(1, keepdims=True) + 0.5 * BINS)
        return shares  # none is 0, of which there is no logarithm
