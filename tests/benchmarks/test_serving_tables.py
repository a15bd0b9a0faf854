"""README's tables about the service are those of the committed results, and promises are judged as they are worded."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.accuracy.tables import READMES
from benchmarks.serving.faults import read_report
from benchmarks.serving.goals import goals_of, growth
from benchmarks.serving.tables import MARKER, tables

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "serving.json"


@pytest.mark.skipif(not RESULT.exists(), reason="make bench-serving has not been run")
@pytest.mark.parametrize("readme", READMES, ids=str)
def test_readme_holds_what_was_measured(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    stands = re.search(rf"<!-- {MARKER} -->\n(.*?)\n<!-- /{MARKER} -->", text, re.DOTALL)
    assert stands is not None
    assert stands[1] == tables(json.loads(RESULT.read_text(encoding="utf-8")))


def load(p50_ms, p99_ms, per_second):
    return {"p50_ms": p50_ms, "p99_ms": p99_ms, "good_per_second": per_second, "worst_of_all_ms": 9_000.0}


def measured(**changed):
    """Everything just kept: 1.5 × 2 ms + 1 ms, 70 of 100, 4.9 times, 56 of 70."""
    one = {"alone": load(4.0, 5.0, 200.0), "peak": load(9.0, 20.0, 70.0), "at 70 %": load(2.0, 9.8, 49.0)}
    readings = {
        "items": 1_682,
        "floor": {"p50_ms": 2.0, "per_second_together": {"1": 50.0, "8": 100.0}},
        "one worker": one,
        "overload": load(3.0, 4.0, 56.0) | {"seconds": 600.0, "megabytes": [90.0, 100.0, 100.0, 101.9]},
    }
    return {
        "bundles": {"demo": readings},
        "swaps": {"swaps": 200, "good": 5_000, "failed": 0, "mixed": 0},
        "import": {"events": 2_000_000, "seconds": 59.0, "processor_seconds": 30.0},
        "faults": {"hostile bodies": {"tests": 1, "failed": 0, "seconds": 60.0, "bodies": 100_000}},
        **changed,
    }


def test_every_promise_that_is_just_kept_holds():
    goals = goals_of(measured())
    assert [goal.promise for goal in goals if not goal.holds] == []
    assert len(goals) == 9
    assert [goal.measured for goal in goals][-1] == "100,000 bodies, 1 tests, 0 failed"


@pytest.mark.parametrize(
    ("place", "value", "promise"),
    [
        (("one worker", "alone", "p50_ms"), 4.01, "p50 at one client"),
        (("one worker", "peak", "good_per_second"), 69.0, "requests a second at the peak"),
        (("one worker", "at 70 %", "p99_ms"), 10.0, "p99 at 70 % load"),
        (("overload", "good_per_second"), 55.9, "good answers at 3 times the peak"),
        (("overload", "worst_of_all_ms"), 10_001.0, "longest wait then"),
        (("overload", "megabytes"), [90.0, 100.0, 100.0, 102.1], "memory over 10 minutes of it"),
    ],
)
def test_a_promise_that_is_just_broken_is_missed(place, value, promise):
    result = measured()
    *path, last = place
    part = result["bundles"]["demo"]
    for name in path:
        part = part[name]
    part[last] = value
    assert [goal.promise for goal in goals_of(result) if not goal.holds] == [promise]


@pytest.mark.parametrize(
    "changed",
    [
        {"swaps": {"swaps": 200, "good": 5_000, "failed": 0, "mixed": 1}},
        {"swaps": {"swaps": 200, "good": 5_000, "failed": 1, "mixed": 0}},
        {"import": {"events": 500_000, "seconds": 15.1, "processor_seconds": 9.0}},
        {"faults": {"hostile bodies": {"tests": 3, "failed": 1, "seconds": 60.0}}},
        {"faults": {"hostile bodies": {"tests": 0, "failed": 0, "seconds": 60.0}}},
    ],
)
def test_a_service_that_fails_is_said_to_fail(changed):
    assert [goal.holds for goal in goals_of(measured(**changed))].count(False) == 1
    assert "**missed:**" in tables(measured(**changed))


def test_a_run_that_was_stopped_is_judged_by_what_it_measured():
    stopped = measured()
    del stopped["bundles"]["demo"]["overload"], stopped["swaps"], stopped["import"], stopped["faults"]
    assert len(goals_of(stopped)) == 3
    del stopped["bundles"]["demo"]["one worker"]
    assert goals_of(stopped) == []
    assert goals_of({}) == []


def test_memory_that_grows_at_first_and_then_no_more_is_flat():
    assert growth([50.0, 90.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0]) == 0
    assert growth([50.0, 90.0, 100.0, 102.0, 110.0, 110.0, 112.0, 110.0]) == pytest.approx(111 / 101 - 1)


def test_a_report_of_tests_is_added_up():
    xml = """<testsuites><testsuite tests="3" failures="1" errors="1" skipped="1" time="2.54">
    <properties><property name="kills" value="20"/><property name="kills" value="100"/></properties>
    <testcase/><testcase/><testcase/></testsuite></testsuites>"""
    assert read_report(xml) == {"tests": 2, "failed": 2, "seconds": 2.5, "kills": 120}
