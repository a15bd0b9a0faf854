"""What the interest classifier is asked: which interests will this user turn to within the horizon, as of this instant?

A case is asked when a user comes, and the same user again once the horizon has passed and they come anew. Who does not
come is not asked: the probabilities are those of a user who is there. Q cases, C interests, U users.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsys.audit import LeakError
from recsys.errors import InputError
from recsys.interactions import Interactions
from recsys.split import Cases, Rows, Split, spread
from recsys.taxonomy import Taxonomy

FEW_INSTANTS = 5
"""So often a usual user comes within the horizon."""
SPANS_S = (300, 3_600, 86_400, 7 * 86_400, 28 * 86_400)
"""What a horizon is rounded to: five minutes, an hour, a day, a week, four weeks."""
HORIZONS_HELD_OUT = 4
"""At least so many fit between the two cutoffs; with fewer, hardly a case would be left to choose thresholds by."""
UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
STRIDES = 4
"""In training a user is asked again after this part of the horizon: windows that overlap teach more."""


@dataclass(frozen=True, eq=False)
class InterestCases:
    """Cases by time: no window reaches past the cutoff that ends its part."""

    train: Cases
    """From the rows the towers were trained on."""
    validation: Cases
    """For early stopping, thresholds and calibration; the towers have seen nothing of it."""
    test: Cases
    """For reporting, once."""
    horizon_s: int | None
    """How far ahead is asked, in seconds; None asks for the next event."""


def horizon_name(horizon_s: int | None) -> str:
    """The horizon in words.

    Example:
        >>> horizon_name(604_800), horizon_name(3_600), horizon_name(None)
        ('7 days', '1 hour', 'the next event')
    """
    if horizon_s is None:
        return "the next event"
    seconds, unit = next(one for one in UNITS if horizon_s % one[0] == 0)
    number = horizon_s // seconds
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def settle_horizon(split: Split) -> int | None:
    """The horizon the training rows suggest, in seconds: a usual user comes a few times in it.

    Where one event is held out of each user it is that event, None: of what follows the towers have seen parts.
    """
    occurred_at = split.train.occurred_at
    if occurred_at is None or not _is_temporal(split):
        return None
    longest = (split.protocol["test_cutoff"] - split.protocol["validation_cutoff"]) // HORIZONS_HELD_OUT
    allowed = [span for span in SPANS_S if span <= longest] or [max(longest, 1)]
    usual = _usual_span(split.train.starts, occurred_at)
    return min(allowed, key=lambda span: abs(np.log(span / usual)))


def split_interest_cases(split: Split, horizon_s: int | None) -> InterestCases:
    """The cases of a split's three parts, audited.

    Temporal: the windows of training end by the validation cutoff, those of validation by the test cutoff, those of
    test by the end of the table. Leave-one-out: the one event that is held out of each user is asked for.

    Raises:
        InputError: The horizon does not fit the split, or leaves a part without a case.
        LeakError: A window reaches past its cutoff.
    """
    interactions = split.interactions
    if not _is_temporal(split):
        if horizon_s is not None:
            raise InputError(
                f"horizon {horizon_name(horizon_s)}: a leave-one-out split holds out one event of each user, so only "
                "the next event can be asked for. Leave the horizon open, or train with --split temporal."
            )
        return InterestCases(_each_next_event(split), split.validation, split.test, None)
    if horizon_s is None:
        raise InputError("horizon 'the next event': a temporal split asks by time. Give a horizon in seconds.")
    first, last, end = _cutoffs(split)
    found = InterestCases(
        train=cases_between(interactions, None, first, horizon_s=horizon_s, stride_s=max(horizon_s // STRIDES, 1)),
        validation=cases_between(interactions, first, last, horizon_s=horizon_s, stride_s=horizon_s),
        test=cases_between(interactions, last, end, horizon_s=horizon_s, stride_s=horizon_s),
        horizon_s=horizon_s,
    )
    for name, cases in (("training", found.train), ("validation", found.validation), ("test", found.test)):
        if not len(cases):
            raise InputError(
                f"horizon {horizon_name(horizon_s)}: no {name} case has a history and so much time before its part of "
                "the table ends. Give a shorter horizon."
            )
    audit_interest_cases(split, found)
    return found


def cases_between(interactions: Interactions, start: int | None, stop: int, *, horizon_s: int, stride_s: int) -> Cases:
    """Cases asked at or after ``start`` whose windows end by ``stop``.

    Each is asked at the instant of an event, knows what happened before that instant, and its targets are all events
    from that instant until the horizon has passed. Users without an earlier event are not asked.

    Args:
        interactions: With a clock.
        start: Unix seconds; None for the beginning of the table.
        stop: Unix seconds.
        horizon_s: The length of a window.
        stride_s: After how long the same user is asked again, at their next event.
    """
    occurred_at = _clock(interactions)
    found: list[tuple[int, int, int]] = []  # user, first row of the window, one past its last
    for user, (first, end) in enumerate(zip(interactions.starts[:-1], interactions.starts[1:], strict=True)):
        mine = occurred_at[first:end]
        if not len(mine):
            continue
        earliest = int(mine[0]) + 1 if start is None else max(int(mine[0]) + 1, start)
        at = int(np.searchsorted(mine, earliest))
        while at < len(mine) and mine[at] + horizon_s <= stop:
            found.append((user, first + at, first + int(np.searchsorted(mine, mine[at] + horizon_s))))
            at = int(np.searchsorted(mine, mine[at] + stride_s))
    user_idx, stops, window_ends = np.array(found, dtype=np.int64).reshape(-1, 3).T
    target_rows, target_cases = spread(stops, window_ends)
    return Cases(user_idx, interactions.starts[user_idx], stops, target_rows, target_cases, occurred_at[stops])


def labels_of(cases: Cases, interactions: Interactions, taxonomy: Taxonomy) -> npt.NDArray[np.bool_]:
    """(Q, C) which interests the targets of each case are of."""
    shares = taxonomy.shares[interactions.item_idx[cases.target_rows]]  # (L, C)
    member = sparse.csr_matrix(
        (np.ones(len(cases.target_rows), np.float32), (cases.target_cases, np.arange(len(cases.target_rows)))),
        shape=(len(cases), len(cases.target_rows)),
    )
    labels: npt.NDArray[np.bool_] = (member @ shares).toarray() > 0
    return labels


def audit_interest_cases(split: Split, cases: InterestCases) -> None:
    """Check, from the table alone, that no window reaches past its cutoff and no history up to its request.

    Raises:
        LeakError: Naming the first user and row.
    """
    bounds = (int(_clock(split.interactions).min()), *_cutoffs(split))
    parts = {"training": cases.train, "validation": cases.validation, "test": cases.test}
    for (name, part), start, stop in zip(parts.items(), bounds[:-1], bounds[1:], strict=True):
        for what, bad in _faults(split.interactions, part, start, stop, horizon_s=cases.horizon_s or 0):
            if bad.any():
                user = split.interactions.user_ids[part.user_idx[bad.argmax()]]
                raise LeakError(
                    f"{name} case {bad.argmax()} of interests, user {user}: {what} ({bad.sum()} such cases). "
                    "Make the cases with `split_interest_cases`."
                )


def _faults(
    interactions: Interactions, cases: Cases, start: int, stop: int, *, horizon_s: int
) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """What may be wrong with cases, and (Q,) with which of them it is."""
    occurred_at, owner = _clock(interactions), interactions.user_idx
    asked = cases.requested_at
    assert asked is not None  # where there is a clock
    when, requests = occurred_at[cases.target_rows], asked[cases.target_cases]
    outside = (when < requests) | (when >= requests + horizon_s)
    foreign = owner[cases.target_rows] != cases.user_idx[cases.target_cases]
    strange = np.bincount(cases.target_cases, weights=outside | foreign, minlength=len(cases)) > 0
    return [
        (f"the window leaves the time from {start} to {stop}", (asked < start) | (asked + horizon_s > stop)),
        ("a target is outside the window, or another user's", strange),
        ("the history reaches up to the request", occurred_at[cases.stops - 1] >= asked),
    ]


def _each_next_event(split: Split) -> Cases:
    """Every training row but a user's first, as the target of what came before it."""
    interactions = split.interactions
    firsts = interactions.starts[:-1]
    held = firsts + np.diff(split.train.starts)  # leave-one-out keeps the beginning of every user's rows
    stops, owners = spread(np.minimum(firsts + 1, held), held)
    requested_at = None if interactions.occurred_at is None else interactions.occurred_at[stops]
    return Cases(owners, firsts[owners], stops, stops, np.arange(len(stops)), requested_at)


def _usual_span(starts: Rows, occurred_at: Rows) -> float:
    """Seconds in which a usual user comes `FEW_INSTANTS` times: the median over users of their own median."""
    spans = []
    for first, end in pairwise(starts):
        came = np.unique(occurred_at[first:end])
        if len(came) > FEW_INSTANTS:
            spans.append(float(np.median(came[FEW_INSTANTS:] - came[:-FEW_INSTANTS])))
    return float(np.median(spans)) if spans else float(SPANS_S[-1])


def _is_temporal(split: Split) -> bool:
    return bool(split.protocol["split"] == "temporal")


def _cutoffs(split: Split) -> tuple[int, int, int]:
    """Where training, validation and test end, in unix seconds."""
    end = int(_clock(split.interactions).max()) + 1
    return split.protocol["validation_cutoff"], split.protocol["test_cutoff"], end


def _clock(interactions: Interactions) -> Rows:
    assert interactions.occurred_at is not None  # a temporal split has one
    return interactions.occurred_at
