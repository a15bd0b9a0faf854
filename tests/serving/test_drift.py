import numpy as np
import pytest

from serving.drift import FEWEST, WINDOW, QueryDrift


def cloud(rng, count, *, shift=0.0, width=16):
    """Unit rows around one direction, as user vectors are; `shift` moves them along another."""
    rows = rng.normal(size=(count, width)) * 0.3
    rows[:, 0] += 1
    rows[:, 1] += shift
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_the_same_cloud_has_not_drifted():
    rng = np.random.default_rng(0)
    drift = QueryDrift(cloud(rng, 2_000))
    drift.note(cloud(rng, 2_000))
    reading = drift.read()
    # Of chance alone: about (BINS − 1) · (1 / 2000 + 1 / 2000) = .009.
    assert reading.stability_index == pytest.approx(0.009, abs=0.006)
    assert reading.cosine > 0.998


def test_a_cloud_that_moved_has():
    rng = np.random.default_rng(0)
    drift = QueryDrift(cloud(rng, 2_000))
    found = []
    for shift in (0.2, 0.5, 2.0):
        drift.note(cloud(rng, WINDOW, shift=shift))
        found.append(drift.read())
    indices = [reading.stability_index for reading in found]
    assert indices == sorted(indices)
    assert indices[-1] > 0.25
    assert found[-1].cosine == pytest.approx(1 / np.sqrt(5), abs=0.1)  # the mean turned from (1, 0) to (1, 2)


def test_few_vectors_say_nothing():
    rng = np.random.default_rng(0)
    drift = QueryDrift(cloud(rng, 50))
    drift.note(cloud(rng, FEWEST - 1))
    assert drift.read() is None
    drift.note(cloud(rng, 1))
    assert drift.read() is not None


def test_only_the_newest_count():
    rng = np.random.default_rng(0)
    reference = cloud(rng, 2_000)
    drift = QueryDrift(reference)
    drift.note(cloud(rng, WINDOW, shift=5.0))
    moved = drift.read().stability_index
    for part in np.array_split(reference[np.arange(WINDOW) % len(reference)], 7):  # batches that wrap around
        drift.note(part)
    assert drift.read().stability_index < 0.01 < moved


def test_by_hand():
    """One direction that matters: all mass in one of ten bins against a tenth in each."""
    reference = np.zeros((1_000, 2), np.float32)
    reference[:, 0] = np.linspace(-1, 1, 1_000)
    drift = QueryDrift(reference)
    drift.note(np.tile(np.float32([0.95, 0.0]), (1_000, 1)))
    # Half a count in each bin of (1000 + 5): p = .0005 nine times and 1000.5 / 1005 once; q = 100.5 / 1005 = .1.
    p, few, q = 1_000.5 / 1_005, 0.5 / 1_005, 0.1
    along = (p - q) * np.log(p / q) + 9 * (few - q) * np.log(few / q)
    # Across, everything stands at 0 in both.
    assert drift.read().stability_index == pytest.approx(along / 2, rel=0.02)
