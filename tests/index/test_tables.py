"""README's tables about the index are those of the committed results."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.accuracy.tables import READMES
from benchmarks.index import tables

ROOT = Path(__file__).parents[2]
RESULTS = [ROOT / "benchmarks" / "results" / name for name in ("index-1m/index.json", "index-gpu/gpu.json")]
TABLES = {
    name: table
    for result in RESULTS
    for name, table in tables.tables_of(json.loads(result.read_text(encoding="utf-8"))).items()
}


@pytest.mark.parametrize("readme", READMES, ids=str)
@pytest.mark.parametrize("name", TABLES)
def test_readme_holds_what_was_measured(readme, name):
    text = (ROOT / readme).read_text(encoding="utf-8")
    stands = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", text, re.DOTALL)
    assert stands is not None
    assert stands[1] == TABLES[name]


def test_of_alike_readings_the_quickest_that_meets_the_target_is_shown():
    def reading(k_factor, recall, qps, build_s=0.0):
        kind = {"name": "FastScan", "k_factor": k_factor, "numbers_per_code": 1, "half": False}
        times = {"batch_1_ms": 1.0, "batch_64_qps": qps, "build_s": build_s, "megabytes": 584.0}
        return {"kind": kind, "recall": recall, **times}

    readings = [reading(2.0, 0.9, 900.0, 6.7), reading(4.0, 0.991, 700.0), reading(10.0, 0.999, 500.0)]
    table = tables.kinds_table({"k": 100, "kinds": {"readings": readings}, "peers": []})
    assert table.splitlines()[2:] == ["| FastScan | 0.9910 | 1.00 | 700 | 6.7 s | 584 |"]
    table = tables.kinds_table({"k": 100, "kinds": {"readings": readings[:1]}, "peers": []})
    assert table.splitlines()[2:] == ["| FastScan, k_factor 2 | 0.9000 | 1.00 | 900 | 6.7 s | 584 |"]
