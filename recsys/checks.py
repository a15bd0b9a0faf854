"""What is wrong with a table's rows: found once, counted, shown, and set aside.

Every row is kept or counted, never both: a row with two problems goes by the first, in the order the rules are given.
R rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.errors import InputError
from recsys.tables import Table

EXAMPLES_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Rule:
    """One way in which rows can be bad."""

    column: str
    """The owner's name of the column at fault."""
    problem: str
    """What is wrong, as a person would say it."""
    broken: pl.Series
    """(R,) true for the rows at fault; null counts as fine."""


@dataclass(frozen=True)
class Finding:
    """One problem of one column."""

    column: str
    problem: str
    count: int
    """How many rows were set aside for it."""
    examples: tuple[tuple[int, str], ...]
    """The first rows at fault: row number from 0, and the value that stands there."""

    def __str__(self) -> str:
        shown = ", ".join(f"row {row}: {value}" for row, value in self.examples)
        return f"{self.column}: {self.problem} in {self.count:,} row{'s' * (self.count != 1)} ({shown})"


@dataclass(frozen=True)
class CheckReport:
    """What the door found in one table. Rows count from 0, the header not counted."""

    place: str
    """The table, as messages call it."""
    rows_read: int
    rows_kept: int
    findings: tuple[Finding, ...] = ()
    """Their counts add up to the rows read and not kept."""
    unused_columns: tuple[str, ...] = field(default=())
    """Columns that nothing reads, and why."""

    @property
    def ok(self) -> bool:
        """Whether every row was kept."""
        return not self.findings

    def lines(self) -> list[str]:
        """The report for people, one line each."""
        lines = [f"{self.place}: {self.rows_kept:,} of {self.rows_read:,} rows kept"]
        lines += [f"  {finding}" for finding in self.findings]
        if self.unused_columns:
            lines.append(f"  not used: {', '.join(self.unused_columns)}")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def as_dict(self) -> dict[str, Any]:
        """The report for programs, ready for JSON."""
        return {
            "table": self.place,
            "rows_read": self.rows_read,
            "rows_kept": self.rows_kept,
            "problems": [
                {
                    "column": finding.column,
                    "problem": finding.problem,
                    "count": finding.count,
                    "examples": [{"row": row, "value": value} for row, value in finding.examples],
                }
                for finding in self.findings
            ],
            "unused_columns": list(self.unused_columns),
        }


def apply_rules(
    table: Table,
    rules: Sequence[Rule],
    *,
    unused_columns: tuple[str, ...],
    strict: bool,
    quarantine: Path | None,
) -> tuple[npt.NDArray[np.bool_], CheckReport]:
    """Set the bad rows aside.

    Args:
        table: The table as its owner wrote it.
        rules: In the order in which they name a row.
        unused_columns: For the report.
        strict: Refuse a table with any bad row.
        quarantine: Where the bad rows go (.parquet or .csv), with their row, column and problem; written only if there
            are any.

    Returns:
        (R,) true for the rows to keep, and the report.

    Raises:
        InputError: No row is left, or one is bad and ``strict`` is set.
    """
    verdict = first_broken(rules, rows=len(table.frame))  # (R,)
    findings = [_finding(table, rule, np.flatnonzero(verdict == number)) for number, rule in enumerate(rules)]
    kept: npt.NDArray[np.bool_] = verdict < 0
    report = CheckReport(
        place=table.place,
        rows_read=len(verdict),
        rows_kept=int(kept.sum()),
        findings=tuple(finding for finding in findings if finding.count),
        unused_columns=unused_columns,
    )
    if quarantine and not report.ok:
        write_quarantine(table, rules, verdict, quarantine)
    if strict and not report.ok:
        raise InputError(f"{report}\nMend these rows, or leave out --strict to set them aside.")
    if not report.rows_kept:
        raise InputError(f"{report}\nNo row is left. Mend the table, or its column map.")
    return kept, report


def first_broken(rules: Sequence[Rule], *, rows: int) -> npt.NDArray[np.int16]:
    """(R,) the number of the first rule each row breaks, -1 where it breaks none."""
    verdict = np.full(rows, -1, dtype=np.int16)
    for number in reversed(range(len(rules))):
        verdict[rules[number].broken.fill_null(False).to_numpy()] = number
    return verdict


def write_quarantine(table: Table, rules: Sequence[Rule], verdict: npt.NDArray[np.int16], path: Path) -> None:
    """Write the bad rows as their owner wrote them, after their row number, column and problem.

    Raises:
        InputError: The path is the table's own, or has another ending than .parquet or .csv.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"--quarantine {path}: expected a .parquet or .csv file.")
    if Path(table.place).exists() and path.resolve() == Path(table.place).resolve():
        raise InputError(f"--quarantine {path} is the table itself. Choose another file.")
    bad = np.flatnonzero(verdict >= 0)
    reasons = pl.DataFrame(
        {
            "row": bad,
            "column": [rules[number].column for number in verdict[bad]],
            "problem": [rules[number].problem for number in verdict[bad]],
        }
    )
    theirs = table.frame[bad].rename(lambda name: f"{name}_" if name in reasons.columns else name)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = pl.concat([reasons, theirs], how="horizontal")
    if path.suffix == ".parquet":
        aside.write_parquet(path)
    else:
        aside.with_columns(_as_text(column) for column in aside if column.dtype.is_nested()).write_csv(path)


def _finding(table: Table, rule: Rule, rows: npt.NDArray[np.intp]) -> Finding:
    shown = rows[:EXAMPLES_SHOWN]
    cells = table.frame[rule.column].gather(shown)
    examples = tuple(
        (int(row), "nothing" if cell is None else str(cell)) for row, cell in zip(shown, cells, strict=True)
    )
    return Finding(column=rule.column, problem=rule.problem, count=len(rows), examples=examples)


def _as_text(column: pl.Series) -> pl.Series:
    return pl.Series(column.name, [None if cell is None else str(cell) for cell in column.to_list()], dtype=pl.String)
