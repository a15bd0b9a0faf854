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
    """Check that histories end before their targets and that no held-out interaction is among the training rows.

    "Before" is the table's order: time, then file order, since many events share a second.

    Raises:
        LeakError: Naming the first user and row.
    """
    for name, cases in (("validation", split.validation), ("test", split.test)):
        _audit_order(split.interactions, cases, name=name)
        held_out = split.interactions.file_row[cases.target_rows]
        leaked = np.intersect1d(held_out, split.train.file_row)
        if len(leaked):
            raise LeakError(
                f"{name}: the held-out interaction of file row {leaked[0]} is among the training rows "
                f"({len(leaked)} such rows). Nothing held out may be trained on: mend the split."
            )
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


def _audit_order(interactions: Interactions, cases: Cases, *, name: str) -> None:
    owner = interactions.user_idx
    stops, targets = cases.stops[cases.target_cases], cases.target_rows
    newest = np.maximum(stops - 1, 0)
    has_history = stops > cases.starts[cases.target_cases]
    wrong_user = (owner[targets] != cases.user_idx[cases.target_cases]) | (
        has_history & (owner[newest] != owner[targets])
    )
    too_new = has_history & (newest >= targets)
    if interactions.occurred_at is not None:
        later = interactions.occurred_at[newest] > interactions.occurred_at[targets]
        same = interactions.occurred_at[newest] == interactions.occurred_at[targets]
        tie_broken = same & (interactions.file_row[newest] > interactions.file_row[targets])
        too_new |= has_history & (later | tie_broken)
    bad = np.flatnonzero(wrong_user | too_new)
    if len(bad):
        target = targets[bad[0]]
        raise LeakError(
            f"{name}, user {interactions.user_ids[owner[target]]}: the history reaches row {newest[bad[0]]}, the "
            f"target is row {target} (file row {interactions.file_row[target]}). A history ends before its target, by "
            f"time and then file order: {len(bad)} of {len(targets)} targets are affected."
        )
