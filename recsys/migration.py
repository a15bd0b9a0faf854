"""When a user's interests changed, and from what to what; and how they were distributed over time.

Shapes: H events, oldest first, C interests, W windows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.drift import (
    Floats,
    Whole,
    contrasts,
    instants,
    measure_drift,
    scaled_mass,
    sharpest_cut,
    shuffled_whole,
)

CHANGE_LEVEL = 0.02
"""The p-value below which a change is told: stricter than one in twenty, since every user is asked."""
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
    """Of the stretch between its neighbours, by shuffling."""


def find_breaks(mass: Floats, occurred_at: Whole | None, *, rng: np.random.Generator) -> list[Break]:
    """Every change of a user's interests, oldest first.

    Binary segmentation (Vostrikova, 1981): a stretch that drifts is cut where its parts differ most, and both parts
    are looked at again, each at half the level, so that all cuts together are as rarely wrong as the first. At the end
    every cut is moved to where the parts between its neighbours differ most.

    Args:
        mass: ``(H, C)`` the share of each interest in each event.
        occurred_at: ``(H,)`` unix seconds; None where there is only an order.
        rng: Shuffles.
    """
    whole, parts = shuffled_whole(mass, occurred_at), instants(occurred_at, events=len(mass))
    breaks = _breaks_within(mass, whole, 0, len(mass), CHANGE_LEVEL, rng)
    places = [0, *(found.place for found in breaks), len(mass)]
    for at in range(1, len(places) - 1):
        first, last = places[at - 1], places[at + 1]
        places[at] = first + sharpest_cut(contrasts(scaled_mass(mass[first:last])), parts[first:last])
    return [Break(place, found.p_value) for place, found in zip(places[1:-1], breaks, strict=True)]


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
    stretch = slice(first, last)
    drift = measure_drift(mass[stretch], whole[stretch] - whole[first], rng=rng)
    if drift.p_value >= level or not drift.place:
        return []
    place = first + drift.place
    return [
        *_breaks_within(mass, whole, first, place, level / 2, rng),
        Break(place, drift.p_value),
        *_breaks_within(mass, whole, place, last, level / 2, rng),
    ]
