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

from recsys.interest_company import Company
from recsys.progress import progress_of

CASES_AT_ONCE = 256
OWN_RATE, OWN_DECAY = 0.1, 0.3
"""Learning rate, as a part of the others', and weight decay of weights that one interest has for itself: each is learnt
from that interest's own few cases."""
SCALED_BY = 4_096
"""Cases that say how far the features spread."""

LEANINGS = (0.5, 1.0, 2.0, 4.0)
"""How much of a count is tried beside what was learnt."""

Judge = Callable[[npt.NDArray[np.floating]], float]
"""(Q, C) logits → how good they are; larger is better."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of Q cases."""

    features: Tensor
    """(Q, C, F) in half precision: there are many."""
    habits: Tensor
    """(Q, C) the logarithm of how often the user's visits had each interest."""
    user_vectors: Tensor
    """(Q, D) unit rows of the user tower as of the request."""

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All of them."""
        return self.features, self.habits, self.user_vectors

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: Tensor | slice) -> "Evidence":
        return Evidence(*(each[rows] for each in self.tensors))


class InterestHead(nn.Module):
    """One judgement of the features for all interests, bent by which interest it is and by who the user is.

    Three parts add up to a logit: a straight one, which finds the best of the counts; a bent one, two hidden layers
    that all interests share; and what the user vector says of each by itself. All of them start at zero, and the bias
    at how usual each interest is. What the user's other habits say of an interest is one feature more.
    """

    def __init__(self, *, features: int, width: int, interests: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.leaning: Tensor
        features += 1  # what the others say
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.register_buffer("leaning", torch.zeros(features))  # see `lean_on_best_count`
        self.company = Company(interests)
        self.straight = nn.Linear(features, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(interests))
        self.first = nn.Linear(features, hidden)
        self.interest = nn.Parameter(torch.randn(interests, hidden) * 0.1)
        self.context = nn.Linear(width, hidden, bias=False)
        self.second = nn.Linear(hidden, hidden)
        self.bent = nn.Linear(hidden, 1, bias=False)
        self.user = nn.Linear(width, interests, bias=False)
        self.dropout = nn.Dropout(dropout)
        for grown in (self.straight, self.bent, self.user):
            nn.init.zeros_(grown.weight)

    def forward(self, evidence: Evidence, company: Tensor | None = None) -> Tensor:
        """(Q, C) logits.

        Args:
            evidence: Of Q cases.
            company: ``(Q, C)`` what other habits say, where that is not to be read from the head's own weights.
        """
        features = (self.known(evidence, company) - self.mean) / self.spread
        user = self.dropout(evidence.user_vectors * math.sqrt(evidence.user_vectors.shape[-1]))  # entries of about 1
        straight = self.straight(features).squeeze(-1) + self.bias
        hidden = F.gelu(self.first(features) + self.interest + self.context(user)[:, None])  # (Q, C, hidden)
        bent = self.bent(F.gelu(self.second(hidden))).squeeze(-1)
        logits: Tensor = straight + bent + self.user(user) + features @ self.leaning
        return logits

    def known(self, evidence: Evidence, company: Tensor | None = None) -> Tensor:
        """(Q, C, F + 1) the features and, as the last of them, what other habits say."""
        company = self.company(evidence.habits) if company is None else company
        return torch.cat([evidence.features.float(), company[:, :, None]], dim=2)

    @torch.inference_mode()
    def logits(self, evidence: Evidence) -> npt.NDArray[np.float32]:
        """(Q, C) in evaluation mode, in parts that fit into memory."""
        self.eval()
        parts = [self(evidence[at : at + CASES_AT_ONCE]) for at in range(0, len(evidence), CASES_AT_ONCE)]
        return np.asarray(torch.cat(parts), np.float32)


@dataclass(frozen=True)
class HeadConfig:
    """How a head is made and how it learns."""

    hidden: int = 64
    """Units of the layers that all interests share."""
    dropout: float = 0.2
    """Of the user vector."""
    learning_rate: float = 2e-3
    """At its highest."""
    weight_decay: float = 0.01
    batch_answers: int = 16_384
    """Yes or no answers per step: cases times interests."""
    passes: int = 5
    """Over the cases."""
    fewest_steps: int = 1_000
    """Where the cases are few there are more passes."""
    checks: int = 20
    """How often validation is asked."""
    seed: int = 0


def fit_head(
    evidence: Evidence,
    labels: npt.NDArray[np.bool_],
    users: npt.NDArray[np.integer],
    validation: Evidence,
    judge: Judge,
    config: HeadConfig,
) -> tuple[InterestHead, list[float]]:
    """Learn from cases by binary cross-entropy, and keep the weights that validation likes best.

    Neither weights for rare interests nor losses that look away from easy cases (focal, asymmetric) ranked better here,
    and each of them bends the probabilities; rarity is met by thresholds of each interest's own. The learning rate
    rises and falls once (Smith and Topin, 2018).

    Args:
        evidence: Of Q training cases.
        labels: ``(Q, C)``.
        users: ``(Q,)`` whose case each is.
        validation: Cases that are not learnt from.
        judge: How good logits of theirs are.
        config: Knobs.

    Returns:
        The best head, in evaluation mode, and what the judge said at each check.
    """
    generator = torch.Generator().manual_seed(config.seed)
    targets = torch.from_numpy(labels.astype(np.float32))
    batch = min(max(config.batch_answers // labels.shape[1], 1), len(evidence))
    steps = max(config.passes * len(evidence) // batch, config.fewest_steps)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # initial weights and dropout draw from the global state
        head, company = _untrained(evidence, targets, users, config)
        optimizer, schedule = _descent(head, config, steps=steps)
        best, curve = deepcopy(head), [judge(head.logits(validation))]
        with progress_of("learning interests") as progress:
            for step in progress.track(range(1, steps + 1)):
                rows = torch.randint(len(evidence), (batch,), generator=generator)
                head.train()
                loss = F.binary_cross_entropy_with_logits(head(evidence[rows], company[rows]), targets[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                if step % max(steps // config.checks, 1) == 0:
                    curve.append(judge(head.logits(validation)))
                    if curve[-1] == max(curve):
                        best = deepcopy(head)
    return best.eval(), curve


def _descent(
    head: InterestHead, config: HeadConfig, *, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    own = [head.user.weight]
    shared = [weight for weight in head.parameters() if weight is not head.user.weight]
    rates = [config.learning_rate, config.learning_rate * OWN_RATE]
    groups = [
        {"params": shared, "lr": rates[0], "weight_decay": config.weight_decay},
        {"params": own, "lr": rates[1], "weight_decay": OWN_DECAY},
    ]
    optimizer = torch.optim.AdamW(groups)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1)


def lean_on_best_count(head: InterestHead, validation: Evidence, judge: Judge) -> InterestHead:
    """Add as much of the single feature that ranks validation best as helps there; perhaps nothing.

    Cross-entropy is the affair of frequent interests, and what it makes of rare ones may rank worse than a plain count.

    Args:
        head: Trained.
        validation: Cases that were not learnt from.
        judge: How good logits of theirs are.
    """
    features = np.asarray(validation.features, np.float32)
    count = max(range(features.shape[2]), key=lambda at: judge(features[:, :, at]))
    logits = head.logits(validation)
    leaning = max((0.0, *LEANINGS), key=lambda share: judge(logits + share * features[:, :, count]))
    leaning_head = deepcopy(head)
    leaning_head.leaning[count] = leaning * head.spread[count]
    return leaning_head


def _untrained(
    evidence: Evidence, targets: Tensor, users: npt.NDArray[np.integer], config: HeadConfig
) -> tuple[InterestHead, Tensor]:
    """A head that knows the scale of the features, how often each interest is turned to and what others say of it.

    The latter is also returned as it is to be learnt from, ``(Q, C)``: see `Company.fit`.
    """
    _, interests, features = evidence.features.shape
    head = InterestHead(
        features=features,
        width=evidence.user_vectors.shape[1],
        interests=interests,
        hidden=config.hidden,
        dropout=config.dropout,
    )
    company = head.company.fit(evidence.habits, targets, users)
    some = slice(None, None, max(len(evidence) // SCALED_BY, 1))
    spread, mean = torch.std_mean(head.known(evidence[some], company[some]), dim=(0, 1))
    head.mean.copy_(mean)
    head.spread.copy_(spread.clamp(min=1e-3))
    head.bias.data.copy_(torch.logit((targets.sum(0) + 0.5) / (len(targets) + 1)))
    return head, company
