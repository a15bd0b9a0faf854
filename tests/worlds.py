"""Invented worlds with a known answer: what a right model must find, and a wrong one cannot.

Each gives a table and a catalogue, checked and numbered by the same door as real ones.
"""

import numpy as np
import polars as pl

from recsys.catalogue import Catalogue, read_catalogue
from recsys.interactions import Interactions, read_interactions

HOUR_S = 3600
MORNING, EVENING = 8 * HOUR_S, 20 * HOUR_S


def clock_world(
    *, users: int = 400, events: int = 12, items: int = 12, seed: int = 0
) -> tuple[Interactions, Catalogue]:
    """Items on a ring: a morning moves one on, an evening three back. Only the hour settles the next item.

    Days pass between events, morning and evening are drawn by a coin, and everyone starts somewhere: without the hour
    the best guess is right half the time.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        place = int(rng.integers(items))
        day = int(rng.integers(1000))
        for _ in range(events):
            day += int(rng.integers(1, 4))
            morning = bool(rng.integers(2))
            place = (place + (1 if morning else -3)) % items
            instant = day * 24 * HOUR_S + (MORNING if morning else EVENING) + int(rng.integers(HOUR_S))
            rows.append((f"u{user}", f"i{place}", instant))
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at"], orient="row")
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": [f"i{i}" for i in range(items)]}))
    interactions, catalogue, _ = read_interactions(table, catalogue)
    return interactions, catalogue


def cold_world(
    *, users: int = 300, events: int = 10, warm: int = 30, cold: int = 6, kinds: int = 3, seed: int = 0
) -> tuple[Interactions, Catalogue]:
    """Everyone loves one kind of thing, named in its title; the last thing each chooses is one that nobody had before.

    Only the text of a cold item tells whom it suits.
    """
    rng = np.random.default_rng(seed)
    names = ("apple pear plum", "bolt screw nail", "violin cello flute")[:kinds]
    kind_of = np.arange(warm + cold) % kinds
    rows = []
    for user in range(users):
        kind = user % kinds
        mine = np.flatnonzero(kind_of[:warm] == kind)
        chosen = rng.choice(mine, size=min(events, len(mine)), replace=False)
        rows += [(f"u{user}", f"i{item}", at) for at, item in enumerate(chosen)]
        new = rng.choice(np.flatnonzero(kind_of[warm:] == kind)) + warm
        rows.append((f"u{user}", f"i{new}", len(chosen)))
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    titles = [f"{names[kind]}" for kind in kind_of]
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": [f"i{i}" for i in range(warm + cold)], "title": titles}))
    interactions, catalogue, _ = read_interactions(table, catalogue)
    return interactions, catalogue


def chain_world(
    *, users: int = 120, events: int = 9, items: int = 30, follow: float = 0.8, seed: int = 0
) -> tuple[Interactions, Catalogue]:
    """Item i is followed by i + 1 four times in five, otherwise by anything: small, quick, learnable, never perfect.

    Titles and categories are Chinese and English; ratings are values; a user's events are an hour apart.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        item = int(rng.integers(items))
        had: set[int] = set()
        start = 1_700_000_000 + int(rng.integers(30 * 24)) * HOUR_S
        for event in range(events):
            had.add(item)
            rows.append((f"u{user}", f"i{item}", start + event * HOUR_S, float(rng.integers(1, 6))))
            following = (item + 1) % items
            free = [other for other in range(items) if other not in had]
            item = following if rng.random() < follow and following not in had else int(rng.choice(free))
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at", "value"], orient="row")
    catalogue, _ = read_catalogue(
        pl.DataFrame(
            {
                "item_id": [f"i{i}" for i in range(items)],
                "title": [f"电影 {i}" if i % 2 else f"Film {i}" for i in range(items)],
                "categories": [["戏剧" if i % 2 else "Drama"] for i in range(items)],
                "year": [1990.0 + i for i in range(items)],
            }
        )
    )
    interactions, catalogue, _ = read_interactions(table, catalogue)
    return interactions, catalogue
