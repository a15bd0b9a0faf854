"""What a user's other habits say of an interest: who holds these holds that.

A ridge regression of each interest's answers on how often the user's visits had each of the others, with an interest's
weight for itself held at zero, in closed form: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (2019),
section 3.1, with other answers than the counts themselves. Q cases, C interests, K of them that are compared.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

STRENGTH = 0.25
"""The ridge, per case, in squared spreads of a habit."""
FOLDS = 4
"""Of users: what is said of a training case is learnt from the users of the other folds."""
LEAST_SPREAD = 1e-3
MOST_COMPARED = 2_000
"""Of the most interests that answer for each other; memory grows with their square. Of rarer ones nothing is said."""


class Company(nn.Module):
    """Weights of all interests for all others; they are found, not trained."""

    def __init__(self, interests: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.weights: Tensor
        self.compared: Tensor
        most = min(interests, MOST_COMPARED)
        self.register_buffer("mean", torch.zeros(interests))
        self.register_buffer("spread", torch.ones(interests))
        self.register_buffer("weights", torch.zeros(most, most))
        self.register_buffer("compared", torch.arange(most))  # (K,) which they are

    def forward(self, habits: Tensor) -> Tensor:
        """(Q, C) what the others say of each interest, from ``(Q, C)`` habits."""
        return self._spread_out(self._known(habits) @ self.weights, habits)

    def _known(self, habits: Tensor) -> Tensor:
        """(Q, K) habits on the scale of the weights."""
        known: Tensor = ((habits - self.mean) / self.spread)[:, self.compared]
        return known

    def _spread_out(self, said: Tensor, habits: Tensor) -> Tensor:
        """(Q, C) from (Q, K), 0 for what is not compared."""
        return torch.zeros_like(habits).index_copy_(1, self.compared, said.to(habits.dtype))

    @torch.no_grad()
    def fit(self, habits: Tensor, labels: Tensor, users: npt.NDArray[np.integer]) -> Tensor:
        """Find the weights, and what the others say of the very cases they were found with.

        Args:
            habits: ``(Q, C)``.
            labels: ``(Q, C)`` 1 where the case's answer is yes.
            users: ``(Q,)`` whose case each is.

        Returns:
            ``(Q, C)``, each row from the weights that the users of other folds give.
        """
        spread, mean = torch.std_mean(habits, dim=0, correction=0)
        self.mean.copy_(mean)
        self.spread.copy_(spread.clamp(min=LEAST_SPREAD))
        usual = labels.double().mean(0)
        self.compared.copy_(usual.topk(len(self.compared)).indices.sort().values)
        known = self._known(habits).double()
        wanted = ((labels - usual) / (usual * (1 - usual)).sqrt().clamp(min=LEAST_SPREAD))[:, self.compared]
        ridge = STRENGTH * len(habits)
        fold = torch.from_numpy(users % FOLDS)
        said = torch.empty_like(known)
        for number in range(FOLDS):
            mine = fold == number
            said[mine] = known[mine] @ _others(known[~mine], wanted[~mine], ridge)
        self.weights.copy_(_others(known, wanted, ridge))
        return self._spread_out(said, habits)


def _others(known: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    """(K, K) the weights that fit best of those without any on the diagonal."""
    inverse = torch.linalg.inv(known.T @ known + ridge * torch.eye(known.shape[1], dtype=known.dtype))
    weights: Tensor = inverse @ (known.T @ wanted)
    weights -= inverse * (weights.diagonal() / inverse.diagonal())
    return weights
