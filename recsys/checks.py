"""What is wrong with a table's rows: found once, counted, shown, and set aside.

Every row is kept or counted, never both: a row with two problems goes by the first, in the order the rules are given.
R rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    columns: Sequence[str]
    """The owner's names of the columns at fault."""
    problem: str
    """What is wrong, as a person would say it."""
    broken: pl.Series
    """(R,) true for the rows at fault; null counts as fine."""

    @property
    def column(self) -> str:
        """The columns at fault, in one text."""
        return ", ".join(self.columns)


@dataclass(frozen=True)
class Finding:
    """One problem of one column, or of several together."""

    column: str
    problem: str
    count: int
    """How many rows were set aside for it."""
    examples: tuple[tuple[int, str], ...]
    """The first rows at fault: row number from 0, and what stands there."""

    def __str__(self) -> str:
        shown = "; ".join(f"row {row}: {value}" for row, value in self.examples)
        return f"{self.column}: {self.problem} in {self.count:,} row{'s' * (self.count != 1)} ({shown})"


@dataclass(frozen=True)
class CheckReport:
    """What the door found in one table. Rows count from 0, the header not counted.

    Example:
        >>> late = Finding("occurred_at", "in the future", 1, ((17, "2099-01-01"),))
        >>> print(CheckReport("visits.csv", rows_read=90, rows_kept=89, findings=(late,)))
        visits.csv: 89 of 90 rows kept
          occurred_at: in the future in 1 row (row 17: 2099-01-01)
    """

    place: str
    """The table, as messages call it."""
    rows_read: int
    rows_kept: int
    findings: tuple[Finding, ...] = ()
    """Their counts add up to the rows read and not kept."""
    unread_columns: Mapping[str, str] = field(default_factory=dict)
    """Columns that nothing reads → why, where there is more to say."""

    @property
    def ok(self) -> bool:
        """Whether every row was kept."""
        return not self.findings

    def lines(self) -> list[str]:
        """The report for people, one line each."""
        lines = [f"{self.place}: {self.rows_kept:,} of {self.rows_read:,} rows kept"]
        lines += [f"  {finding}" for finding in self.findings]
        if self.unread_columns:
            told = (f"{name} ({why})" if why else name for name, why in self.unread_columns.items())
            lines.append(f"  not read: {', '.join(told)}")
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
            "unread_columns": dict(self.unread_columns),
        }


def set_aside(
    table: Table,
    rules: Sequence[Rule],
    *,
    unread_columns: Mapping[str, str],
    strict: bool,
    quarantine: Path | None,
) -> tuple[pl.Series, CheckReport]:
    """Part the good rows from the bad.

    Args:
        table: The table as its owner wrote it.
        rules: In the order in which they name a row.
        unread_columns: For the report.
        strict: Refuse a table with any bad row.
        quarantine: Where the bad rows go (.parquet or .csv), after their row number, column and problem; written only
            if there are any.

    Returns:
        (R,) true for the rows to keep, and the report.

    Raises:
        InputError: No row is left, one is bad and ``strict`` is set, or the quarantine file cannot be written there.
    """
    if quarantine:
        _check_quarantine(quarantine, table)
    verdict = _first_broken(rules, rows=len(table.frame))  # (R,)
    findings = [_finding(table, rule, np.flatnonzero(verdict == number)) for number, rule in enumerate(rules)]
    kept = verdict < 0
    report = CheckReport(
        place=table.place,
        rows_read=len(verdict),
        rows_kept=int(kept.sum()),
        findings=tuple(finding for finding in findings if finding.count),
        unread_columns=unread_columns,
    )
    if quarantine and not report.ok:
        _write_quarantine(table, rules, verdict, quarantine)
    if strict and not report.ok:
        raise InputError(f"{report}\nMend these rows, or leave out --strict to set them aside.")
    if not report.rows_kept:
        raise InputError(f"{report}\nNo row is left. Mend the table, or the column map.")
    return pl.Series(kept), report


def repeated(keys: pl.DataFrame, rules: Sequence[Rule]) -> pl.Series:
    """(R,) rows whose keys a good row has further up; a row that breaks a rule neither repeats nor is repeated."""
    bad = pl.Series("bad", _first_broken(rules, rows=len(keys)) >= 0)
    return keys.with_columns(bad).select(~pl.struct(pl.all()).is_first_distinct()).to_series() & ~bad


def _first_broken(rules: Sequence[Rule], *, rows: int) -> npt.NDArray[np.int16]:
    """(R,) the number of the first rule each row breaks, -1 where it breaks none."""
    verdict = np.full(rows, -1, dtype=np.int16)
    for number in reversed(range(len(rules))):
        verdict[rules[number].broken.fill_null(False).to_numpy()] = number
    return verdict


def _finding(table: Table, rule: Rule, rows: npt.NDArray[np.intp]) -> Finding:
    shown = rows[:EXAMPLES_SHOWN]
    values = (", ".join(map(_shown, cells)) for cells in table.frame[shown].select(rule.columns).iter_rows())
    return Finding(rule.column, rule.problem, count=len(rows), examples=tuple(zip(shown.tolist(), values, strict=True)))


def _shown(cell: object) -> str:
    text = "nothing" if cell is None else str(cell) if str(cell).strip() else repr(cell)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_quarantine(path: Path, table: Table) -> None:
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"{path}: bad rows are not written there. Give a file that ends in .parquet or .csv.")
    if path.resolve() == Path(table.place).resolve():
        raise InputError(f"{path}: bad rows would overwrite the table itself. Give another file.")


def _write_quarantine(table: Table, rules: Sequence[Rule], verdict: npt.NDArray[np.int16], path: Path) -> None:
    bad = np.flatnonzero(verdict >= 0)
    reasons = pl.DataFrame(
        {
            "row": bad,
            "column": [rules[number].column for number in verdict[bad]],
            "problem": [rules[number].problem for number in verdict[bad]],
        }
    )
    theirs = table.frame[bad].rename(lambda name: f"{name}_" if name in reasons.columns else name)
    aside = pl.concat([reasons, theirs], how="horizontal")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        aside.write_parquet(path)
    else:  # CSV has no lists
        aside.with_columns(_as_text(column) for column in aside if column.dtype.is_nested()).write_csv(path)


def _as_text(column: pl.Series) -> pl.Series:
    return pl.Series(column.name, [None if cell is None else str(cell) for cell in column.to_list()], dtype=pl.String)
