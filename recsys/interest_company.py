"""What a user's other habits say of an interest: who holds these holds that.

A ridge regression of each interest's answers on how often the user's visits had each of the others, with an interest's
weight for itself held at zero, in closed form: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (2019),
section 3.1, with other answers than the counts themselves. Q cases, C interests.
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


class Company(nn.Module):
    """Weights of all interests for all others; they are found, not trained."""

    def __init__(self, interests: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.weights: Tensor
        self.register_buffer("mean", torch.zeros(interests))
        self.register_buffer("spread", torch.ones(interests))
        self.register_buffer("weights", torch.zeros(interests, interests))

    def forward(self, habits: Tensor) -> Tensor:
        """(Q, C) what the others say of each interest, from ``(Q, C)`` habits."""
        said: Tensor = (habits - self.mean) / self.spread @ self.weights
        return said

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
        known = ((habits - self.mean) / self.spread).double()
        usual = labels.double().mean(0)
        wanted = (labels - usual) / (usual * (1 - usual)).sqrt().clamp(min=LEAST_SPREAD)
        ridge = STRENGTH * len(habits)
        fold = torch.from_numpy(users % FOLDS)
        said = torch.empty_like(habits)
        for number in range(FOLDS):
            mine = fold == number
            said[mine] = (known[mine] @ _others(known[~mine], wanted[~mine], ridge)).to(said.dtype)
        self.weights.copy_(_others(known, wanted, ridge))
        return said


def _others(known: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    """(C, C) the weights that fit best of those without any on the diagonal."""
    inverse = torch.linalg.inv(known.T @ known + ridge * torch.eye(known.shape[1], dtype=known.dtype))
    weights: Tensor = inverse @ (known.T @ wanted)
    weights -= inverse * (weights.diagonal() / inverse.diagonal())
    return weights
