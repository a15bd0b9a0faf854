"""Ids start near those they are chosen with, and from training rows only."""

import numpy as np
import polars as pl

from recsys.interactions import read_interactions
from recsys.warm_start import co_occurrence_vectors


def two_circles(users=200, seed=0):
    """Users choose among items 0-9 or among items 10-19, never both; item 20 is known but never chosen here."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{user}", f"i{item}", at)
        for user in range(users)
        for at, item in enumerate(rng.permutation(10)[:6] + 10 * (user % 2))
    ]
    rows.append(("lonely", "i20", 0))  # one event follows nothing
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    return read_interactions(table)[:2]


def vectors(width=8):
    interactions, catalogue = two_circles()
    made = co_occurrence_vectors(interactions, num_items=len(catalogue), width=width, rng=np.random.default_rng(0))
    return made, np.array([int(item[1:]) if item else -1 for item in catalogue.item_ids])


def test_items_chosen_together_start_close_and_others_apart():
    made, number = vectors()
    unit = made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    circle = np.where((number >= 0) & (number < 20), number // 10, -1)
    same = (circle[:, None] == circle) & (circle[:, None] >= 0) & ~np.eye(len(circle), dtype=bool)
    other = (circle[:, None] != circle) & (circle[:, None] >= 0) & (circle[None] >= 0)
    assert cosines[same].mean() > cosines[other].mean() + 0.1


def test_padding_and_what_never_stood_beside_anything_start_at_nothing():
    made, number = vectors()
    assert not made[0].any()
    assert not made[number == 20].any()
    assert made[(number >= 0) & (number < 20)].any(axis=1).all()


def test_a_catalogue_smaller_than_the_width_is_filled_up():
    made, _ = vectors(width=64)
    assert made.shape == (22, 64)
    assert np.isfinite(made).all()


def test_the_same_seed_starts_at_the_same_place():
    assert np.array_equal(vectors()[0], vectors()[0])
