"""What a peer is handed: rows to learn from, validation cases to choose by, and cases to rank. Needs numpy and pandas.

Users and items are numbered from 0; the T items of the training rows come first, and only they can be recommended.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

VALIDATION_USERS = 4096
"""Choices look at no more users than these."""


@dataclass(frozen=True)
class Questions:
    """What users had when they were asked, one case per user."""

    histories: pd.DataFrame
    """user, item, instant; each user's rows oldest first."""
    requested_at: pd.Series
    """user → instant of the request; empty where there is no clock."""
    targets: pd.DataFrame
    """user, item: what they chose. Empty for the cases that are reported."""

    def thinned(self, most: int) -> "Questions":
        """At most so many of the cases, evenly spread over the table."""
        users = self.users[:: -(-len(self.users) // most)]
        return Questions(
            self.histories[self.histories["user"].isin(users)],
            self.requested_at[self.requested_at.index.isin(users)],
            self.targets[self.targets["user"].isin(users)],
        )

    @property
    def users(self) -> npt.NDArray[np.int64]:
        """Each once, in the order of the table."""
        return self.histories["user"].unique()


@dataclass(frozen=True)
class Material:
    """Everything of one data set under one protocol."""

    user_ids: npt.NDArray[np.object_]
    """Outside names by number."""
    item_ids: npt.NDArray[np.object_]
    """Outside names by number."""
    num_items: int
    """T."""
    train: pd.DataFrame
    """user, item, instant; each user's rows oldest first."""
    has_clock: bool
    """Whether an instant is unix seconds, or only a place in the order."""
    validation: Questions
    cases: Questions

    @property
    def mean_length(self) -> float:
        """Training rows per user."""
        return len(self.train) / self.train["user"].nunique()


def read_material(*, train: Path, validation: Path, cases: Path) -> Material:
    """Read and number the three tables of `benchmarks.peers.judge.export_cases`."""
    tables = [pd.read_parquet(path) for path in (train, validation, cases)]
    has_clock = "occurred_at" in tables[0].columns
    users, user_ids = pd.factorize(np.concatenate([table["user_id"] for table in tables]))
    items, item_ids = pd.factorize(np.concatenate([table["item_id"] for table in tables]))  # training rows first
    numbered = []
    at = 0
    for table in tables:
        rows = slice(at, at + len(table))
        instant = table["occurred_at" if has_clock else "position"]
        numbered.append(pd.DataFrame({"user": users[rows], "item": items[rows], "instant": instant}))
        at += len(table)
    return Material(
        user_ids=user_ids,
        item_ids=item_ids,
        num_items=int(numbered[0]["item"].max()) + 1,
        train=numbered[0],
        has_clock=has_clock,
        validation=_questions(tables[1], numbered[1], has_clock=has_clock),
        cases=_questions(tables[2], numbered[2], has_clock=has_clock),
    )


def _questions(table: pd.DataFrame, numbered: pd.DataFrame, *, has_clock: bool) -> Questions:
    is_target = table["target"].to_numpy() if "target" in table.columns else np.zeros(len(table), bool)
    requested_at = pd.Series(table["requested_at"].to_numpy(), index=numbered["user"])
    return Questions(
        histories=numbered[~is_target],
        requested_at=requested_at[~requested_at.index.duplicated()] if has_clock else requested_at[:0],
        targets=numbered.loc[is_target, ["user", "item"]],
    )


def mean_ndcg(rankings: pd.DataFrame, targets: pd.DataFrame, *, k: int = 10) -> float:
    """NDCG@k over all users with a target, to choose by; ties count by their place in the list.

    Args:
        rankings: user, item, rank (1 = best).
        targets: user, item.
        k: Length of the list that counts.
    """
    found = targets.merge(rankings[rankings["rank"] <= k], on=["user", "item"])
    gains = (1 / np.log2(found["rank"] + 1)).groupby(found["user"]).sum()
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    most = targets.groupby("user").size().clip(upper=k)
    return float((gains / ideal[most[gains.index] - 1]).sum() / len(most))
