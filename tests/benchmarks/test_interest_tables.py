"""README's tables of the text classifier are those of the committed results."""

import re
from pathlib import Path

import pytest

from benchmarks.accuracy.tables import READMES
from benchmarks.interests.tables import MARKER, chinese_table, scorers_table, tables
from benchmarks.interests.texts import FROZEN, TF_IDF

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_readme_holds_what_was_measured(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    stands = re.search(rf"<!-- {MARKER} -->\n(.*?)\n<!-- /{MARKER} -->", text, re.DOTALL)
    if stands is None:
        pytest.skip(f"{readme} has no such table")
    assert stands[1] == tables(RESULTS)


def figure(value):
    return {"mean_average_precision": {"value": value, "low": value - 0.01, "high": value + 0.02}}


def test_a_row_per_data_set_and_a_gap_where_nothing_was_measured():
    result = {"scorers": {FROZEN: figure(0.54), TF_IDF: figure(0.5)}, "items": [7_000, 1_500, 1_513]}
    assert scorers_table({"ml-1m": result}).splitlines()[2:] == [
        "| MovieLens-1M, genres, 1,513 items | 0.540 (0.530–0.560) |  | 0.500 (0.490–0.520) |  |"
    ]


def test_a_row_per_encoder_and_what_the_languages_lose():
    asked = {"held out, English": figure(0.5), "invented, English": figure(0.8), "invented, Chinese": figure(0.3)}
    result = {
        "films": {"learnt from": 2_391, "held out": 513, "invented": 54},
        "encoders": {"mine": asked | {"Chinese finds its English twin": 0.25}},
        "popularity": {"held out, English": figure(0.1), "invented": figure(0.2)},
    }
    lines = chinese_table(result).splitlines()
    assert lines[0].startswith("| learnt from 2,391 English films | 513 held out, English | 54 invented, English |")
    assert lines[2:] == [
        "| mine | 0.500 (0.490–0.520) | 0.800 (0.790–0.820) | 0.300 (0.290–0.320) | 25% |",
        "| popularity | 0.100 (0.090–0.120) | 0.200 (0.190–0.220) | 0.200 (0.190–0.220) | |",
    ]
