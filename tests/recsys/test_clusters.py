"""Clusters of unit vectors: known ones are found, in their number, and the same seed finds the same."""

import numpy as np
import pytest

from recsys.clusters import find_centres, silhouettes, spherical_kmeans


def directions(clusters, rows, *, spread, seed=0, width=32):
    """Rows around random directions, and which each is around."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, width))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    label = np.repeat(np.arange(clusters), rows)
    vectors = centres[label] + spread * rng.normal(size=(clusters * rows, width)) / np.sqrt(width)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), label


@pytest.mark.parametrize("clusters", [2, 3, 7, 12])
def test_the_number_and_the_members_of_known_clusters_are_found(clusters):
    vectors, label = directions(clusters, 25, spread=0.5)
    centres = find_centres(vectors, rng=np.random.default_rng(0))
    assert len(centres) == clusters
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-6)
    nearest = (vectors @ centres.T).argmax(1)
    assert len(set(zip(nearest, label, strict=True))) == clusters  # a bijection


def test_length_is_nothing_and_direction_everything():
    """By hand: two rows along x, two along y. Centres are the axes, whatever the start."""
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    centres = spherical_kmeans(vectors, clusters=2, rng=np.random.default_rng(3))
    assert sorted(centres.round(6).tolist()) == [[0, 1], [1, 0]]


def test_silhouettes_by_hand():
    """A row at 60° and 30° to two centres: 1 − (1 − cos 30°) / (1 − cos 60°) = 1 − 0.1340 / 0.5."""
    centres = np.array([[1, 0], [0, 1]], np.float32)
    row = np.array([[0.5, np.sqrt(3) / 2]], np.float32)
    assert silhouettes(row, centres)[0] == pytest.approx(1 - (1 - np.sqrt(3) / 2) / 0.5, abs=1e-6)


def test_the_same_seed_finds_the_same_and_zero_rows_change_nothing():
    vectors, _ = directions(5, 20, spread=1.0)
    first = find_centres(vectors, rng=np.random.default_rng(1))
    with_gaps = np.concatenate([vectors[:7], np.zeros((3, 32), np.float32), vectors[7:]])
    np.testing.assert_array_equal(first, find_centres(vectors, rng=np.random.default_rng(1)))
    np.testing.assert_array_equal(first, find_centres(with_gaps, rng=np.random.default_rng(1)))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_too_few_rows_are_one_cluster(rows):
    vectors, _ = directions(1, rows, spread=1.0)
    assert len(find_centres(vectors, rng=np.random.default_rng(0))) == 1


def test_rows_that_are_all_alike_leave_no_cluster_without_a_centre():
    vectors = np.tile(np.array([[0.6, 0.8]], np.float32), (40, 1))
    centres = find_centres(vectors, rng=np.random.default_rng(0))
    np.testing.assert_allclose(centres, [[0.6, 0.8]] * len(centres), atol=1e-6)
