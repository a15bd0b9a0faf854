"""What is trained on, what is asked, and what is never shown: leave-one-out and temporal splits.

Q cases, E interactions, U users, L targets of all cases together.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.config import SplitConfig
from recsys.errors import InputError
from recsys.interactions import Interactions

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cases:
    """Questions with known answers: given this user's history, what did they choose next?

    Rows are rows of the whole table's `Interactions`, in which a user's events stand in order.
    """

    user_idx: Rows
    """(Q,)"""
    starts: Rows
    """(Q,) first row of the history."""
    stops: Rows
    """(Q,) one past the newest row of the history; every target stands at or after it."""
    target_rows: Rows
    """(L,) the held-out interactions, case by case."""
    target_cases: Rows
    """(L,) the case of each target, ascending."""
    requested_at: Rows | None
    """(Q,) unix seconds: when the first target happened; None where there is no clock."""

    def __len__(self) -> int:
        return len(self.user_idx)

    def __getitem__(self, which: slice) -> "Cases":
        """Some of the cases, in their order."""
        chosen = np.zeros(len(self), bool)
        chosen[which] = True
        mine = chosen[self.target_cases]
        return Cases(
            user_idx=self.user_idx[which],
            starts=self.starts[which],
            stops=self.stops[which],
            target_rows=self.target_rows[mine],
            target_cases=(np.cumsum(chosen) - 1)[self.target_cases[mine]],
            requested_at=None if self.requested_at is None else self.requested_at[which],
        )

    def first_targets(self) -> Rows:
        """(Q,) the row of each case's first target."""
        return self.target_rows[np.unique(self.target_cases, return_index=True)[1]]

    def history_rows(self) -> tuple[Rows, Rows]:
        """Every row of every history, case by case, and the case it belongs to."""
        return spread(self.starts, self.stops)


@dataclass(frozen=True, eq=False)
class Split:
    """The table cut in three. What learns is handed ``train`` alone."""

    interactions: Interactions
    """The whole table."""
    train: Interactions
    """A copy of the rows that may be learnt from; it has every user, some perhaps without a row."""
    validation: Cases
    """For choosing: early stopping, the prior's weight, knobs."""
    test: Cases
    """For reporting, once."""
    protocol: dict[str, Any]
    """What was done, for the report."""


def make_split(interactions: Interactions, config: SplitConfig) -> Split:
    """Cut the table as the settled config says.

    Raises:
        InputError: Nothing is left to train on or to ask.
    """
    split = leave_one_out(interactions) if config.kind == "leave-one-out" else temporal(interactions, config)
    needed = "at least four interactions of a user" if config.kind == "leave-one-out" else "users active on both sides"
    for what, size in (
        ("user with two training interactions, of which one follows the other", np.diff(split.train.starts).max() - 1),
        ("test case", len(split.test)),
    ):
        if size < 1:
            raise InputError(
                f"the {config.kind} split of {len(interactions)} interactions leaves no {what}. It needs {needed}"
                + ("." if config.kind == "leave-one-out" else " of the cutoff: change --cutoff-quantile.")
            )
    return split


def leave_one_out(interactions: Interactions) -> Split:
    """Per user: the last event is the test target, the second-last the validation target, neither trained on.

    Users with fewer than three events are trained on whole and never asked.
    """
    firsts, lasts = interactions.starts[:-1], interactions.starts[1:]
    users = np.flatnonzero(lasts - firsts >= 3)
    held_out = np.zeros(len(interactions), bool)
    held_out[lasts[users] - 1] = held_out[lasts[users] - 2] = True
    return Split(
        interactions=interactions,
        train=keep(interactions, ~held_out),
        validation=_cases(interactions, users, stops=lasts[users] - 2, last_rows=lasts[users] - 1),
        test=_cases(interactions, users, stops=lasts[users] - 1, last_rows=lasts[users]),
        protocol={"split": "leave-one-out", "second_last_trained_on": False},
    )


def temporal(interactions: Interactions, config: SplitConfig) -> Split:
    """One instant for all users: what happened at or after it is asked, what happened before is known.

    Validation cuts the remaining table at the same quantile once more.
    """
    occurred_at = interactions.occurred_at
    assert occurred_at is not None  # `settle` has refused it
    share = config.cutoff_quantile
    test_cutoff, validation_cutoff = (
        int(np.quantile(occurred_at, quantile, method="higher")) for quantile in (share, share * share)
    )
    return Split(
        interactions=interactions,
        train=keep(interactions, occurred_at < validation_cutoff),
        validation=_cases_after(interactions, validation_cutoff, test_cutoff, config.targets),
        test=_cases_after(interactions, test_cutoff, None, config.targets),
        protocol={
            "split": "temporal",
            "cutoff_quantile": share,
            "test_cutoff": test_cutoff,
            "validation_cutoff": validation_cutoff,
            "targets": config.targets,
        },
    )


def thinned(cases: Cases, most: int) -> Cases:
    """At most so many cases, evenly spread: the order of users in a table often means something."""
    return cases[:: max(-(-len(cases) // most), 1)]


def without_request_time(cases: Cases, interactions: Interactions) -> Cases:
    """The same cases, asked right after the newest known event: nothing tells when the target happened."""
    if interactions.occurred_at is None:
        return cases
    return replace(cases, requested_at=interactions.occurred_at[np.maximum(cases.stops - 1, 0)])


def keep(interactions: Interactions, mask: npt.NDArray[np.bool_]) -> Interactions:
    """A copy of the rows in ``mask`` (E,), with all users."""
    columns = {
        name: values[mask]
        for name in ("item_idx", "occurred_at", "file_row", "event", "value", "lat", "lon")
        if (values := getattr(interactions, name)) is not None
    }
    before = np.concatenate([[0], np.cumsum(mask)])
    return replace(interactions, starts=before[interactions.starts], **columns)


def _cases_after(interactions: Interactions, cutoff: int, end: int | None, targets: str) -> Cases:
    occurred_at = interactions.occurred_at
    assert occurred_at is not None
    # Each user's rows ascend in time, so counting the earlier ones finds where the later begin.
    counts_before = np.concatenate([[0], np.cumsum(occurred_at < cutoff)])
    first_after = interactions.starts[:-1] + np.diff(counts_before[interactions.starts])
    lasts = interactions.starts[1:]
    if end is not None:
        counts_end = np.concatenate([[0], np.cumsum(occurred_at < end)])
        lasts = interactions.starts[:-1] + np.diff(counts_end[interactions.starts])
    stops = lasts - 1 if targets == "last" else first_after
    last_rows = first_after + 1 if targets == "next" else lasts
    users = np.flatnonzero((lasts > first_after) & (stops > interactions.starts[:-1]))
    return _cases(interactions, users, stops=stops[users], last_rows=last_rows[users])


def _cases(interactions: Interactions, users: Rows, *, stops: Rows, last_rows: Rows) -> Cases:
    """Cases of those users whose targets are the rows ``stops[q]:last_rows[q]``."""
    target_rows, target_cases = spread(stops, last_rows)
    return Cases(
        user_idx=users,
        starts=interactions.starts[users],
        stops=stops,
        target_rows=target_rows,
        target_cases=target_cases,
        requested_at=None if interactions.occurred_at is None else interactions.occurred_at[stops],
    )


def spread(starts: Rows, stops: Rows) -> tuple[Rows, Rows]:
    """Every row of the ranges ``starts[q]:stops[q]``, and the q it belongs to.

    Example:
        >>> rows, owners = spread(np.array([3, 8]), np.array([5, 9]))
        >>> rows.tolist(), owners.tolist()
        ([3, 4, 8], [0, 0, 1])
    """
    sizes = stops - starts
    owners = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return starts[owners] + within, owners
