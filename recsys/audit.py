"""The leak audit: refuses a run in which anything from the future or from the held-out part could have been learnt.

It recomputes instead of trusting: histories are compared row by row with their targets, and everything counted from the
training table is counted again from the rows that may be known.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from recsys.errors import InputError
from recsys.interactions import Interactions
from recsys.split import Cases, Split


class LeakError(InputError):
    """Something that should have been unknown was known."""


def audit_split(split: Split) -> None:
    """Check that histories end before their targets and that nothing held out, or later, is among the training rows.

    "Before" is the table's order: time, then file order, since many events share a second.

    Raises:
        LeakError: Naming the first user and row.
    """
    _audit_table(split.interactions)
    for name, cases in (("validation", split.validation), ("test", split.test)):
        _audit_histories(split.interactions, cases, name=name)
        _audit_training_rows(split, cases, name=name)
    _audit_cutoffs(split)
    asked_later = np.intersect1d(
        split.interactions.file_row[split.validation.target_rows], split.interactions.file_row[split.test.target_rows]
    )
    if len(asked_later):
        raise LeakError(f"file row {asked_later[0]} is both a validation and a test target. Mend the split.")


def audit_counts(split: Split, counts: npt.NDArray[np.int64], *, what: str) -> None:
    """Check that item counts (popularity, log_q, known ids) come from the training rows and from nothing else.

    Args:
        split: Of the run.
        counts: ``(N + 1,)`` as the run used them.
        what: What they are used for, for the message.

    Raises:
        LeakError: Naming the first item that was counted otherwise.
    """
    honest = np.bincount(split.train.item_idx, minlength=len(counts))
    wrong = np.flatnonzero(honest != counts)
    if len(wrong):
        item = wrong[0]
        raise LeakError(
            f"{what}: item_idx {item} was counted {counts[item]} times, the training rows hold it {honest[item]} times "
            f"({len(wrong)} items differ). Count `split.train`, nothing else."
        )


def rows_fingerprint(interactions: Interactions) -> str:
    """sha256 of which rows of the file these are, and what they say."""
    digest = hashlib.sha256()
    for column in (interactions.file_row, interactions.starts, interactions.item_idx, interactions.occurred_at):
        if column is not None:
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def _audit_table(interactions: Interactions) -> None:
    """With every user's rows in order, a history that ends before its target holds nothing newer."""
    if interactions.occurred_at is None:
        return
    gap_s = np.diff(interactions.occurred_at)
    backward = (gap_s < 0) | ((gap_s == 0) & (np.diff(interactions.file_row) < 0))
    owner = interactions.user_idx
    bad = np.flatnonzero(backward & (owner[1:] == owner[:-1]))
    if len(bad):
        first, second = interactions.file_row[bad[0] : bad[0] + 2]
        raise LeakError(
            f"user {interactions.user_ids[owner[bad[0]]]}: file row {first} stands before file row {second}, against "
            f"time and then file order ({len(bad)} such places). Sort the table: read it with `read_interactions`."
        )


def _audit_histories(interactions: Interactions, cases: Cases, *, name: str) -> None:
    owner = interactions.user_idx
    starts, stops, targets = cases.starts[cases.target_cases], cases.stops[cases.target_cases], cases.target_rows
    asked = cases.user_idx[cases.target_cases]
    foreign = (owner[targets] != asked) | (starts < interactions.starts[asked])
    bad = np.flatnonzero(foreign | (stops > targets))
    if len(bad):
        target = targets[bad[0]]
        raise LeakError(
            f"{name}, user {interactions.user_ids[asked[bad[0]]]}: the history is rows {starts[bad[0]]} to "
            f"{stops[bad[0]] - 1}, the target is row {target} (file row {interactions.file_row[target]}). A history is "
            f"the user's own and ends before its target: {len(bad)} of {len(targets)} targets are affected."
        )


def _audit_training_rows(split: Split, cases: Cases, *, name: str) -> None:
    """No training row is a user's target or comes after it."""
    interactions, file_row = split.interactions, split.train.file_row
    order = np.argsort(interactions.file_row)
    place = np.searchsorted(interactions.file_row, file_row, sorter=order)
    rows = order[np.minimum(place, len(order) - 1)]
    strange = np.flatnonzero(interactions.file_row[rows] != file_row)
    if len(strange):
        raise LeakError(f"training row of file row {file_row[strange[0]]}: not in the table. Mend the split.")
    owner = interactions.user_idx
    first_target = np.full(len(interactions.user_ids), len(interactions))
    np.minimum.at(first_target, cases.user_idx[cases.target_cases], cases.target_rows)
    late = np.flatnonzero(rows >= first_target[owner[rows]])
    if len(late):
        row = rows[late[0]]
        user = owner[row]
        raise LeakError(
            f"{name}, user {interactions.user_ids[user]}: the target is row {first_target[user]}, and row {row} (file "
            f"row {interactions.file_row[row]}) is among the training rows ({len(late)} such rows). Nothing held out, "
            "or later, may be trained on: mend the split."
        )


def _audit_cutoffs(split: Split) -> None:
    """What other users did after a cutoff is as unknown as what the asked one did."""
    occurred_at = split.interactions.occurred_at
    if "test_cutoff" not in split.protocol or occurred_at is None or split.train.occurred_at is None:
        return
    for name, instants, file_rows, cutoff in (
        ("training", split.train.occurred_at, split.train.file_row, "validation_cutoff"),
        (
            "validation",
            occurred_at[split.validation.target_rows],
            split.interactions.file_row[split.validation.target_rows],
            "test_cutoff",
        ),
    ):
        late = np.flatnonzero(instants >= split.protocol[cutoff])
        if len(late):
            raise LeakError(
                f"{name}: file row {file_rows[late[0]]} happened at {instants[late[0]]}, the {cutoff} is "
                f"{split.protocol[cutoff]} ({len(late)} such rows). Mend the split."
            )
