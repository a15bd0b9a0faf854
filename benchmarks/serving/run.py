"""The service measured: its floor, its peak, its waits, and what it does under overload, swaps, kills and nonsense.

    python -m benchmarks.serving.run --bundle runs/demo --out benchmarks/results/serving.json

Service, load and floor are processes of their own. On two cores the load takes part of one from the service, so the
figures are the less favourable ones. The first bundle is --bundle, the second is made of random items. Every reading is
written when it is there, so a run that is stopped keeps what it measured, and --only adds to what was kept.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.serving import bundles, event_import, faults, swaps
from benchmarks.serving.goals import Goal, goals_of
from benchmarks.serving.under_load import NEVER_TWICE, ONE, SHAPES, TWO, K, questions, readings

SECTIONS = ("import", "trained", "swaps", "synthetic", "faults")
SWAP_REQUESTS = 64
LONGEST_SYNTHETIC_OVERLOAD_S = 60.0
"""Memory is watched for long on the first bundle; on the second what counts is what still comes out."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    seconds: float
    """Each reading."""
    overload_s: float
    swaps: int
    rows: int
    """Items of the synthetic bundle."""
    events: int
    """To import."""
    at_length: bool
    """Whether the tests among it take their long form."""


FULL = Plan(seconds=8, overload_s=600, swaps=200, rows=1_000_000, events=1_000_000, at_length=True)
QUICK = Plan(seconds=2, overload_s=15, swaps=20, rows=100_000, events=1_000_000, at_length=False)


def main() -> None:
    """Measure the sections that are asked for, write the readings and say which promises hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="a trained bundle")
    parser.add_argument("--quick", action="store_true", help="all of it in five minutes instead of twenty-five")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    result = _kept(given.out) if given.only != SECTIONS else {}
    result |= {"command": "python -m benchmarks.serving.run " + " ".join(sys.argv[1:])}
    result |= {"machine": describe_machine(), "k": K, "plan": asdict(plan)}
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as scratch:
        for section in given.only:
            _measure(section, given.bundle, plan, Path(scratch), _Record(result, given.out))
    for goal in goals_of(result):
        print(_told(goal))


class _Record:
    """The readings so far, on the disk as soon as they are there."""

    def __init__(self, result: Json, out: Path) -> None:
        self.result, self._out = result, out

    def keep(self, reading: Any, *place: str) -> None:
        """Put a reading where it belongs, and judge anew."""
        _say(f"{', '.join(place)}: {reading}")
        part = self.result
        for name in place[:-1]:
            part = part.setdefault(name, {})
        part[place[-1]] = reading
        self.result["goals"] = [asdict(goal) for goal in goals_of(self.result)]
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._out.write_text(json.dumps(self.result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _measure(section: str, bundle: Path, plan: Plan, scratch: Path, record: _Record) -> None:
    match section:
        case "import":
            record.keep(event_import.measure(bundle, scratch, events=plan.events), "import")
        case "trained":
            folder = bundles.with_quick_towers(bundle, scratch / bundle.name)
            for name, reading in readings(
                folder, scratch, shapes=list(SHAPES), seconds=plan.seconds, overload_s=plan.overload_s
            ):
                record.keep(reading, "bundles", bundle.name, name)
        case "swaps":
            asked = questions(bundle)[:SWAP_REQUESTS]
            # Runtimes round differently, and which is the quicker is found anew by each load.
            settings = NEVER_TWICE | {"TOWER__RUNTIME": "torch"}
            record.keep(swaps.measure(bundle, asked, scratch, plan.swaps, settings), "swaps")
        case "synthetic":
            folder = bundles.synthetic(scratch / "synthetic", rows=plan.rows)
            overload_s = min(plan.overload_s, LONGEST_SYNTHETIC_OVERLOAD_S)
            for name, reading in readings(
                folder, scratch, shapes=(ONE, TWO), seconds=plan.seconds, overload_s=overload_s
            ):
                record.keep(reading, "bundles", "synthetic", name)
        case "faults":
            for name in faults.FAULTS:
                record.keep(faults.measure(name, scratch, at_length=plan.at_length), "faults", name)


def _kept(out: Path) -> Json:
    read: Json = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    return read


def _told(goal: Goal) -> str:
    verdict = "holds " if goal.holds else "MISSED"
    where = f"{goal.where}: " if goal.where else ""
    return f"{verdict}  {where}{goal.promise}: {goal.measured} (promised: {goal.limit})"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
