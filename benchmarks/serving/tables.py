"""README's tables about the service, rebuilt from the committed results.

python -m benchmarks.serving.tables benchmarks/results/serving.json
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tables import READMES, put
from benchmarks.serving.goals import Goal, goals_of

MARKER = "serving"

Result = dict[str, Any]


def tables(result: Result) -> str:
    """What was promised, bundle beside bundle and then of the service as a whole; and how quick it was."""
    goals = goals_of(result)
    parts = [_of_bundles(result["bundles"], goals), _of_all([goal for goal in goals if not goal.where])]
    return "\n\n".join(part for part in parts if part)


def write_tables(result: Result) -> None:
    """Put them between their markers in both READMEs."""
    for readme in READMES:
        text = readme.read_text(encoding="utf-8")
        readme.write_text(put(text, MARKER, tables(result)), encoding="utf-8")


def _of_bundles(bundles: Result, goals: Sequence[Goal]) -> str:
    if not bundles:
        return ""
    names = list(bundles)
    lines = [
        "| | goal | " + " | ".join(f"{bundles[name]['items']:,} items" for name in names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for label, shape, load in (
        ("one worker, one client: p50, p99", "one worker", "alone"),
        ("one worker, many: p50, p99", "one worker", "peak"),
        ("two workers, many: p50, p99", "two workers", "peak"),
    ):
        cells = [_reading(bundles[name].get(shape), load) for name in names]
        lines.append(f"| {label} | | {' | '.join(cells)} |")
    for promise in dict.fromkeys(goal.promise for goal in goals if goal.where):
        kept = {goal.where: goal for goal in goals if goal.promise == promise}
        limit = next(iter(kept.values())).limit.partition(":")[0]  # what it comes to differs between bundles
        cells = [_measured(kept[name]) if name in kept else "" for name in names]
        lines.append(f"| {promise} | {limit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of_all(goals: Sequence[Goal]) -> str:
    if not goals:
        return ""
    rows = [f"| {goal.promise} | {goal.limit} | {_measured(goal)} |" for goal in goals]
    return "\n".join(["| | goal | |", "|---|---|---|", *rows])


def _reading(shape: Result | None, load: str) -> str:
    if shape is None:
        return ""
    read = shape[load]
    return f"{read['p50_ms']:.2f}, {read['p99_ms']:.2f} ms; {read['good_per_second']:,.0f}/s"


def _measured(goal: Goal) -> str:
    return goal.measured if goal.holds else f"**missed:** {goal.measured}"


if __name__ == "__main__":
    write_tables(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
