"""The tests that break things, run for their figures: kills, the API's description, hostile bodies, many users."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

FAULTS = {
    "killed under write load": ("test_kill.py", "test_kill_server.py"),
    "schemathesis over the OpenAPI": ("test_contract.py",),
    "hostile bodies": ("test_hostile.py",),
    "users at once": ("test_hammer_users.py",),
}
TESTS = Path("tests") / "serving"


def measure(name: str, scratch: Path, *, at_length: bool) -> dict[str, Any]:
    """How many tests of one of `FAULTS` there were, how many failed, and what they recorded of themselves.

    Args:
        name: Which.
        scratch: Where pytest's report goes.
        at_length: The long form of each, or the one of every day.
    """
    report = scratch / "faults.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow" if at_length else "not slow"]
    command += [f"--junitxml={report}", *(str(TESTS / file) for file in FAULTS[name])]
    subprocess.run(command, check=False, stdout=sys.stderr)
    return read_report(report.read_text(encoding="utf-8"))


def read_report(xml: str) -> dict[str, Any]:
    """Of a JUnit report; what several tests recorded under one name is added up."""
    suite = ElementTree.fromstring(xml).find("testsuite")
    assert suite is not None  # pytest always writes one
    figures: dict[str, int] = {}
    for told in suite.iter("property"):
        figures[told.attrib["name"]] = figures.get(told.attrib["name"], 0) + int(told.attrib["value"])
    count = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    return {
        "tests": count["tests"] - count["skipped"],
        "failed": count["failures"] + count["errors"],
        "seconds": round(float(suite.attrib["time"]), 1),
        **figures,
    }
