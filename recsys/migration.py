"""When a user's interests changed, and from what to what; and how they were distributed over time.

Shapes: H events, oldest first, C interests, W windows.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from recsys.drift import (
    Drift,
    Floats,
    Whole,
    instants,
    measure_drift,
    scaled_mass,
    sharpest_cut,
    shuffled_whole,
)

CHANGE_LEVEL = 0.02
"""The p-value below which a change is told: stricter than one in twenty, since every user is asked."""
KEPT_LEVEL = 0.05
"""The p-value from which on a change that was found beside others is taken back."""
MOST_WINDOWS = 12
EVENTS_PER_WINDOW = 8
"""At least: the shares of fewer would be noise."""
STANDARD_ERRORS = 2.0
"""By how many a share must differ across a change to be named."""


@dataclass(frozen=True)
class Break:
    """A place in a history where the interests change."""

    place: int
    """The first event after it."""
    p_value: float
    """Of the stretch in which it was found, by shuffling."""


def find_breaks(mass: Floats, occurred_at: Whole | None, *, rng: np.random.Generator) -> list[Break]:
    """Every change of a user's interests, oldest first.

    Circular binary segmentation (Olshen et al., Biostatistics 2004): a stretch that drifts is cut where its parts
    differ most, in two or in three, and the parts are looked at again at half the level, so that all cuts together are
    as rarely wrong as the first. A cut that does not part its neighbours is taken back, and at the end every cut is
    moved to where they differ most.

    Args:
        mass: ``(H, C)`` the share of each interest in each event.
        occurred_at: ``(H,)`` unix seconds; None where there is only an order.
        rng: Shuffles.
    """
    whole, instant = shuffled_whole(mass, occurred_at), instants(occurred_at, events=len(mass))
    breaks = _kept(mass, whole, _breaks_within(mass, whole, 0, len(mass), CHANGE_LEVEL, rng), rng)
    bounds = [0, *(found.place for found in breaks), len(mass)]
    for at in range(1, len(bounds) - 1):
        stretch = slice(bounds[at - 1], bounds[at + 1])
        # A stretch that was cut between instants can be.
        bounds[at] = stretch.start + sharpest_cut(scaled_mass(mass[stretch]), instant[stretch])[0]
    return [Break(place, found.p_value) for place, found in zip(bounds[1:-1], breaks, strict=True)]


def differing(before: Floats, after: Floats) -> npt.NDArray[np.bool_]:  # (C,)
    """Which interests' shares differ between two stretches of events by more than sampling makes likely.

    Args:
        before: ``(H, C)`` of one stretch.
        after: ``(any, C)`` of the next.
    """
    error = np.sqrt(before.var(0) / len(before) + after.var(0) / len(after))
    moved: npt.NDArray[np.bool_] = np.abs(after.mean(0) - before.mean(0)) > STANDARD_ERRORS * error
    return moved


def window_bounds(events: int) -> Whole:
    """(W + 1,) where the windows of a trajectory begin and end: equally many events in each, however bursty.

    Example:
        >>> window_bounds(20).tolist(), window_bounds(3).tolist(), len(window_bounds(500))
        ([0, 10, 20], [0, 3], 13)
    """
    windows = int(np.clip(events // EVENTS_PER_WINDOW, 1, MOST_WINDOWS))
    return np.linspace(0, events, windows + 1).round().astype(np.int64)


def _breaks_within(
    mass: Floats, whole: Whole, first: int, last: int, level: float, rng: np.random.Generator
) -> list[Break]:
    drift = _drift_of(mass, whole, slice(first, last), rng)
    if drift.p_value >= level or not drift.cuts:
        return []
    bounds = [first, *(first + cut for cut in drift.cuts), last]
    found = [Break(place, drift.p_value) for place in bounds[1:-1]]
    for start, stop in pairwise(bounds):
        found += _breaks_within(mass, whole, start, stop, level / 2, rng)
    return sorted(found, key=lambda one: one.place)


def _kept(mass: Floats, whole: Whole, breaks: list[Break], rng: np.random.Generator) -> list[Break]:
    """The breaks without those between whose neighbours nothing drifts, the least sure taken back first.

    Of two cuts that were found together one may part what one cut would have parted as well.
    """
    while len(breaks) > 1:
        bounds = [0, *(found.place for found in breaks), len(mass)]
        stretches = [slice(start, stop) for start, stop in zip(bounds[:-2], bounds[2:], strict=True)]
        p_values = [_drift_of(mass, whole, stretch, rng).p_value for stretch in stretches]
        least_sure = int(np.argmax(p_values))
        if p_values[least_sure] < KEPT_LEVEL:
            break
        breaks = [*breaks[:least_sure], *breaks[least_sure + 1 :]]
    return breaks


def _drift_of(mass: Floats, whole: Whole, stretch: slice, rng: np.random.Generator) -> Drift:
    return measure_drift(mass[stretch], whole[stretch] - whole[stretch.start], rng=rng)
