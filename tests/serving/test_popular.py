import polars as pl
import pytest

from recsys.catalogue import Catalogue
from recsys.interactions import DAY_S, read_interactions
from serving.popular import Popularity

START = 1_000 * DAY_S
EVENTS = [
    *((0, "ink"), (0, "ink"), (0, "pen"), (0, "pen"), (1, "ink"), (1, "hat")),
    *((40, "tea"), (41, "tea"), (42, "hat"), (69, "pen")),
]
"""(day, item); numbered ink 1, hat 2, tea 3, pen 4; new 5 was never chosen."""
CATALOGUE = Catalogue(item_ids=["", "ink", "hat", "tea", "pen", "new"])


def popularity_of(order):
    rows = [(f"u{row}", item, START + day * DAY_S) for row, (day, item) in enumerate(EVENTS)]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", order], orient="row").reverse()
    interactions, _, _ = read_interactions(table, CATALOGUE)
    return Popularity.of(interactions, num_items=len(CATALOGUE))


@pytest.mark.parametrize(
    ("day", "ranking", "counts"),
    [
        (99, [3, 4, 2, 1, 5], [2, 1, 1, 0, 0]),  # the month up to day 69; of equals, first those with more ever
        (69, [3, 2, 1, 4, 5], [2, 1, 0, 0, 0]),  # day 69 is not over: days 39 to 68
        (42, [3, 1, 4, 2, 5], [2, 0, 0, 0, 0]),
        (1, [1, 4, 2, 3, 5], [2, 2, 0, 0, 0]),
        (0, [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]),  # nothing is known yet
    ],
)
def test_the_last_thirty_days_count_then_all_days_then_the_catalogues_order(day, ranking, counts):
    item_idx, of_late = popularity_of("occurred_at").ranking(before=START + day * DAY_S)
    assert item_idx.tolist() == ranking
    assert of_late.tolist() == counts


def test_without_a_clock_everything_counts():
    item_idx, of_late = popularity_of("position").ranking(before=0)
    assert item_idx.tolist() == [1, 4, 2, 3, 5]
    assert of_late.tolist() == [3, 3, 2, 2, 0]
