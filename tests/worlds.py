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


def fashion_world(
    *, users: int = 300, events: int = 6, items: int = 40, days: int = 240, seed: int = 0
) -> tuple[Interactions, Catalogue]:
    """One item is the fashion of ten days, and four of five choices fall on it. Everyone chooses a thing once.

    Over the whole table all items are chosen alike often: only what others chose in the days before tells the next.
    """
    rng = np.random.default_rng(seed)
    fashion = np.concatenate([rng.permutation(items) for _ in range(-(-days // (10 * items)))])
    rows = []
    for user in range(users):
        had: set[int] = set()
        for instant in np.sort(rng.integers(days * 24 * HOUR_S, size=events)):
            wanted = int(fashion[instant // (10 * 24 * HOUR_S)])
            if wanted in had or rng.random() < 0.2:
                wanted = int(rng.choice([item for item in range(items) if item not in had]))
            had.add(wanted)
            rows.append((f"u{user}", f"i{wanted}", 1_600_000_000 + int(instant)))
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at"], orient="row")
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": [f"i{i}" for i in range(items)]}))
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


DAY_S = 24 * HOUR_S
THEMES = ("history", "music", "nature", "space", "sport", "travel")


def drift_world(
    *,
    users: int = 200,
    switches: int = 1,
    bursty: bool = False,
    moods: bool = False,
    clock: bool = True,
    seed: int = 0,
) -> tuple[Interactions, Catalogue, dict[str, list[int]]]:
    """Everyone has a favourite theme, another they like a little, and does a bit of everything; at planted dates the
    favourite becomes another. Four items of ten are of two themes.

    Args:
        users: How many.
        switches: Of each user.
        bursty: Events come in visits, seconds apart and some at one instant; months may pass between visits.
        moods: Every visit has a theme of its own, drawn from the user's, that most of its events are of.
        clock: Instants; otherwise only an order.
        seed: Of everything.

    Returns:
        The table, the catalogue, and for each user the places in the history where a new favourite begins.
    """
    rng = np.random.default_rng(seed)
    catalogue = _themed_catalogue(rng)
    rows, planted = [], {}
    for user in range(users):
        lengths = rng.integers(30, 61, switches + 1)
        planted[f"u{user}"] = np.cumsum(lengths)[:-1].tolist()
        favourites = _no_two_alike(switches + 1, rng)
        mixtures = [_mixture(favourite, int(rng.integers(len(THEMES))), rng) for favourite in favourites]
        themes = np.concatenate([rng.choice(len(THEMES), n, p=p) for n, p in zip(lengths, mixtures, strict=True)])
        times = _bursty_times(len(themes), rng) if bursty else np.sort(rng.integers(0, 365 * DAY_S, len(themes)))
        if moods:
            visit = np.concatenate([[0], np.cumsum(np.diff(times) > HOUR_S)])
            in_mood = rng.random(len(themes)) < 0.7
            themes = np.where(in_mood, themes[np.searchsorted(visit, visit)], themes)
        order = times if clock else np.arange(len(themes))
        items = [f"{THEMES[theme]}{rng.integers(20)}" for theme in themes]
        rows += [(f"u{user}", item, int(at)) for item, at in zip(items, order, strict=True)]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at" if clock else "position"], orient="row")
    interactions, catalogue, _ = read_interactions(table, catalogue, keep_duplicates=True)
    return interactions, catalogue, planted


def _themed_catalogue(rng: np.random.Generator) -> Catalogue:
    """Twenty items of each theme, of which some are of another theme as well."""
    items = [(f"{theme}{number}", theme) for theme in THEMES for number in range(20)]
    second = [str(rng.choice(THEMES)) if rng.random() < 0.4 else theme for _, theme in items]
    categories = [list({theme, other}) for (_, theme), other in zip(items, second, strict=True)]
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": [item for item, _ in items], "categories": categories}))
    return catalogue


def _no_two_alike(number: int, rng: np.random.Generator) -> list[int]:
    """So many themes of which no two that follow each other are the same."""
    themes = [int(rng.integers(len(THEMES)))]
    while len(themes) < number:
        themes.append((themes[-1] + int(rng.integers(1, len(THEMES)))) % len(THEMES))
    return themes


def _mixture(favourite: int, second: int, rng: np.random.Generator) -> np.ndarray:
    """Shares of the themes: six to seven parts in ten the favourite, about a sixth the second."""
    shares = np.full(len(THEMES), 0.2 / len(THEMES))
    shares[favourite] += rng.uniform(0.6, 0.7)
    shares[second] += 1 - shares.sum()
    return shares


def _bursty_times(events: int, rng: np.random.Generator) -> np.ndarray:
    """Visits of about six events, seconds apart and some at one instant; months may pass between visits."""
    visit_ends = rng.random(events) < 1 / 6
    gaps = np.where(visit_ends, (rng.pareto(0.8, events) * DAY_S).clip(0, 90 * DAY_S), rng.integers(0, 60, events))
    return np.cumsum(gaps).astype(np.int64)


STRATA_ROLES = ("core", "steady", "rising", "fading", "dormant", "exploring")
STRATA_SHARES = {
    0.5: (0.3, 0.2, 0.03, 0.25, 0.22, 0.0),
    0.75: (0.3, 0.2, 0.05, 0.45, 0.0, 0.0),
    1.0: (0.3, 0.2, 0.4, 0.1, 0.0, 0.0),
}
"""Until when, as a part of all events → the share of each role."""


def moving_world(
    *, users: int = 600, events: int = 16, seed: int = 0
) -> tuple[Interactions, Catalogue, dict[str, bool]]:
    """Everyone has a theme that three choices of four are of; half the users took up another one four choices ago.

    Which things of a theme they choose is chance, and nobody chooses one twice: for those who moved the newest few
    events tell what comes next, for the others the whole history tells it better.

    Returns:
        The table, the catalogue, and which users moved.
    """
    rng = np.random.default_rng(seed)
    catalogue = _themed_catalogue(rng)
    rows, moved = [], {}
    for user in range(users):
        first, second = _no_two_alike(2, rng)
        moved[f"u{user}"] = bool(rng.random() < 0.5)
        had: set[str] = set()
        for event in range(events):
            theme = second if moved[f"u{user}"] and event >= events - 5 else first
            if rng.random() < 0.25:
                theme = int(rng.integers(len(THEMES)))
            free = [item for item in (f"{THEMES[theme]}{number}" for number in range(20)) if item not in had]
            had.add(item := str(rng.choice(free)))
            rows.append((f"u{user}", item, event))
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    interactions, catalogue, _ = read_interactions(table, catalogue)
    return interactions, catalogue, moved


def strata_world(
    *, users: int = 100, events: int = 300, clock: bool = True, seed: int = 0
) -> tuple[Interactions, Catalogue, dict[tuple[str, str], str]]:
    """Everyone has one interest of every stratum, each a theme that is dealt anew to every user.

    The shares of all events are those of `STRATA_SHARES`; *steady* is core too, and *exploring* has two events.

    Returns:
        The table, the catalogue, and for each user and theme the stratum at the end.
    """
    rng = np.random.default_rng(seed)
    catalogue, _ = read_catalogue(
        pl.DataFrame({"item_id": [f"{theme}{n}" for theme in THEMES for n in range(20)]}).with_columns(
            categories=pl.concat_list(pl.col("item_id").str.replace_all(r"\d", ""))
        )
    )
    rows, expected = [], {}
    for user in range(users):
        themes = rng.permutation(THEMES)
        for role, theme in zip(STRATA_ROLES, themes, strict=True):
            expected[f"u{user}", str(theme)] = "core" if role == "steady" else role
        times = np.sort(rng.integers(0, 365 * DAY_S, events)) if clock else np.arange(events)
        for at in range(events):
            shares = next(shares for until, shares in STRATA_SHARES.items() if at < until * events)
            role = int(rng.choice(len(STRATA_ROLES), p=shares))
            if at in (events // 2, events - events // 5):
                role = STRATA_ROLES.index("exploring")
            rows.append((f"u{user}", f"{themes[role]}{rng.integers(20)}", int(times[at])))
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at" if clock else "position"], orient="row")
    interactions, catalogue, _ = read_interactions(table, catalogue, keep_duplicates=True)
    return interactions, catalogue, expected


def round_world(
    *, users: int = 150, events: int = 15, items: int = 40, seed: int = 0
) -> tuple[Interactions, Catalogue]:
    """Everyone goes round three places of their own, again and again in the same order."""
    rng = np.random.default_rng(seed)
    rounds = [rng.choice(items, 3, replace=False) for _ in range(users)]
    rows = [(f"u{user}", f"i{rounds[user][event % 3]}", event) for user in range(users) for event in range(events)]
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": [f"i{i}" for i in range(items)]}))
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    interactions, catalogue, _ = read_interactions(table, catalogue)
    return interactions, catalogue


def turning_world(
    *, users: int = 150, events: int = 20, kinds: int = 4, seed: int = 0
) -> tuple[Interactions, Catalogue]:
    """What comes next is settled by the kind of the newest item and by the time since: an hour later it is the next
    kind, three days later the one after that. Of each kind there are two items, and a coin draws which.

    Everyone does as much of everything, so how often or how lately they did it tells next to nothing.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        kind = int(rng.integers(kinds))
        instant = 1_700_000_000 + int(rng.integers(30 * DAY_S))
        for _ in range(events):
            rows.append((f"u{user}", f"{'abcd'[kind]}{rng.integers(2)}", instant))
            soon = bool(rng.integers(2))
            instant += HOUR_S if soon else 3 * DAY_S
            kind = (kind + (1 if soon else 2)) % kinds
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at"], orient="row")
    items = {
        "item_id": [f"{kind}{n}" for kind in "abcd" for n in range(2)],
        "categories": [[k] for k in "ABCD" for _ in "01"],
    }
    catalogue, _ = read_catalogue(pl.DataFrame(items))
    interactions, catalogue, _ = read_interactions(table, catalogue)
    return interactions, catalogue


EVENTS = ("view", "cart", "buy")
FROM_THE_CART = (0.05, 0.05, 0.9)
"""Of what is done within a day with a thing that was put into the cart."""


def intent_world(
    *, users: int = 600, events: int = 12, items: int = 30, seed: int = 0
) -> tuple[Interactions, Catalogue, np.ndarray]:
    """A shop, synthetic: of three items one is bought at once, one only looked at, and one in three users is a buyer.

    One item of each kind is the fashion of ten days, and two of three visits are for one of those. Days pass between
    visits; but three of five times that something is put into the cart the user is back for it within a day, and then
    nine times in ten buys it.

    Args:
        users: How many.
        events: Of each user.
        items: How many, a multiple of three.
        seed: Of everything.

    Returns:
        The table, the catalogue, and for each row of the table the probabilities its event was drawn by: ``(R, 3)``,
        in the order of `EVENTS`.
    """
    rng = np.random.default_rng(seed)
    fashion = np.stack([rng.integers(0, items // 3, 30) * 3 + kind for kind in range(3)], axis=1)  # (ten days, kind)
    rows, drawn_by = [], []
    for user in range(users):
        buyer = rng.random() < 1 / 3
        instant = int(rng.integers(200 * DAY_S))
        in_cart = None
        for _ in range(events):
            if in_cart is not None and rng.random() < 0.6:
                instant += int(rng.integers(HOUR_S, DAY_S))
                item, shares = in_cart, np.array(FROM_THE_CART)
            else:
                instant += int(rng.integers(DAY_S, 5 * DAY_S))
                wanted = fashion[instant // (10 * DAY_S), rng.integers(3)]
                item = int(wanted if rng.random() < 2 / 3 else rng.integers(items))
                logits = np.array([1.0, 0.0, 0.0]) + [(0, 0, 2), (0, 0.5, 0), (1.5, 0, -1)][item % 3]
                logits += (0, 0.5, 1.5) if buyer else (0.5, 0, -0.5)
                shares = np.exp(logits) / np.exp(logits).sum()
            event = int(rng.choice(len(EVENTS), p=shares))
            in_cart = item if EVENTS[event] == "cart" else None
            rows.append((f"u{user}", f"i{item}", 1_600_000_000 + instant, EVENTS[event]))
            drawn_by.append(shares)
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at", "event"], orient="row")
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": [f"i{i}" for i in range(items)]}))
    interactions, catalogue, _ = read_interactions(table, catalogue)
    return interactions, catalogue, np.array(drawn_by)
