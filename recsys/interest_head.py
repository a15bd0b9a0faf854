"""The network that turns what is known of an interest into its logit, and how it learns.

Q cases, C interests, F features, D width.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

CASES_AT_ONCE = 256


LEANINGS = (0.5, 1.0, 2.0, 4.0)
"""How much of a count is tried beside what was learnt."""

Judge = Callable[[npt.NDArray[np.floating]], float]
"""(Q, C) logits → how good they are; larger is better."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of Q cases."""

    features: Tensor
    """(Q, C, F)"""
    user_vectors: Tensor
    """(Q, D) unit rows of the user tower as of the request."""

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: Tensor | slice) -> "Evidence":
        return Evidence(self.features[rows], self.user_vectors[rows])


class InterestHead(nn.Module):
    """The same judgement of the features for every interest, and what the user vector says of each by itself.

    A linear part finds the best of the counts, a hidden layer what they say together. The user's part starts at zero:
    what the counts tell comes first, and it can only be added to.
    """

    def __init__(self, *, features: int, width: int, interests: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.linear = nn.Linear(features, 1)
        self.hidden = nn.Linear(features, hidden)
        self.out = nn.Linear(hidden, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(interests))
        self.user = nn.Linear(width, interests, bias=False)
        self.dropout = nn.Dropout(dropout)
        for grown in (self.out, self.user):
            nn.init.zeros_(grown.weight)

    def forward(self, evidence: Evidence) -> Tensor:
        """(Q, C) logits."""
        features = (evidence.features - self.mean) / self.spread
        user = evidence.user_vectors * math.sqrt(evidence.user_vectors.shape[-1])  # entries of about 1
        counted = self.linear(features) + self.out(F.gelu(self.hidden(features)))  # (Q, C, 1)
        logits: Tensor = counted.squeeze(-1) + self.bias + self.user(self.dropout(user))
        return logits

    @torch.inference_mode()
    def logits(self, evidence: Evidence) -> npt.NDArray[np.float32]:
        """(Q, C) in evaluation mode, in parts that fit into memory."""
        self.eval()
        parts = [self(evidence[at : at + CASES_AT_ONCE]) for at in range(0, len(evidence), CASES_AT_ONCE)]
        return np.asarray(torch.cat(parts), np.float32)


@dataclass(frozen=True)
class HeadConfig:
    """How a head is made and how it learns."""

    hidden: int = 32
    """Units of the layer that all interests share."""
    dropout: float = 0.2
    """Of the user vector."""
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    batch_answers: int = 8_192
    """Yes or no answers per step: cases times interests."""
    steps: int = 2_000
    """At most."""
    checks: int = 20
    """How often validation is asked in so many steps."""
    patience: int = 5
    """Checks without a better one after which learning stops."""
    seed: int = 0


def fit_head(
    evidence: Evidence,
    labels: npt.NDArray[np.bool_],
    validation: Evidence,
    judge: Judge,
    config: HeadConfig,
) -> tuple[InterestHead, list[float]]:
    """Learn from cases by binary cross-entropy, and keep the weights that validation likes best.

    Neither weights for rare interests nor losses that look away from easy cases (focal, asymmetric) ranked better here,
    and each of them bends the probabilities; rarity is met by thresholds of each interest's own.

    Args:
        evidence: Of Q training cases.
        labels: ``(Q, C)``.
        validation: Cases that are not learnt from.
        judge: How good logits of theirs are.
        config: Knobs.

    Returns:
        The best head, in evaluation mode, and what the judge said at each check.
    """
    generator = torch.Generator().manual_seed(config.seed)
    targets = torch.from_numpy(labels.astype(np.float32))
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # initial weights and dropout draw from the global state
        head = _untrained(evidence, targets, config)
        optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        batch = max(config.batch_answers // labels.shape[1], 1)
        best, curve, check = deepcopy(head), [judge(head.logits(validation))], config.steps // config.checks
        for step in range(1, config.steps + 1):
            rows = torch.randint(len(evidence), (batch,), generator=generator)
            head.train()
            loss = F.binary_cross_entropy_with_logits(head(evidence[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % check == 0:
                curve.append(judge(head.logits(validation)))
                if curve[-1] == max(curve):
                    best = deepcopy(head)
                if int(np.argmax(curve)) <= len(curve) - 1 - config.patience:
                    break
    return best.eval(), curve


def lean_on_best_count(head: InterestHead, validation: Evidence, judge: Judge) -> InterestHead:
    """Add as much of the single feature that ranks validation best as helps there; perhaps nothing.

    Cross-entropy is the affair of frequent interests, and what it makes of rare ones may rank worse than a plain count.

    Args:
        head: Trained.
        validation: Cases that were not learnt from.
        judge: How good logits of theirs are.
    """
    features = np.asarray(validation.features)
    count = max(range(features.shape[2]), key=lambda at: judge(features[:, :, at]))
    logits = head.logits(validation)
    leaning = max((0.0, *LEANINGS), key=lambda share: judge(logits + share * features[:, :, count]))
    leaning_head = deepcopy(head)
    leaning_head.linear.weight.data[0, count] += leaning * head.spread[count]
    return leaning_head


def _untrained(evidence: Evidence, targets: Tensor, config: HeadConfig) -> InterestHead:
    """A head that knows the scale of the features and how often each interest is turned to."""
    _, interests, features = evidence.features.shape
    head = InterestHead(
        features=features,
        width=evidence.user_vectors.shape[1],
        interests=interests,
        hidden=config.hidden,
        dropout=config.dropout,
    )
    spread, mean = torch.std_mean(evidence.features, dim=(0, 1))
    head.mean.copy_(mean)
    head.spread.copy_(spread.clamp(min=1e-3))
    head.bias.data.copy_(torch.logit((targets.sum(0) + 0.5) / (len(targets) + 1)))
    nn.init.zeros_(head.linear.weight)
    return head
