"""README's tables of the text classifier are those of the committed results."""

import re
from pathlib import Path

import pytest

from benchmarks.accuracy.tables import READMES
from benchmarks.interests.tables import MARKER, tables

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_readme_holds_what_was_measured(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    stands = re.search(rf"<!-- {MARKER} -->\n(.*?)\n<!-- /{MARKER} -->", text, re.DOTALL)
    if stands is None:
        pytest.skip(f"{readme} has no such table")
    assert stands[1] == tables(RESULTS)
