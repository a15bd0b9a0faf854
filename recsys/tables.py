"""The door for tables: Parquet, CSV, JSON lines, pandas, polars and Arrow become one polars frame.

A table keeps its owner's column names, so that every message and every quarantine file speaks the owner's language;
the column map says which of them is which of ours. Rows count from 0, the header not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from recsys.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Source: TypeAlias = "str | Path | pl.DataFrame | pl.LazyFrame | pd.DataFrame | pa.Table"
"""What a table may be given as."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table as its owner wrote it, and where our columns are in it."""

    frame: pl.DataFrame
    """The owner's rows, under the owner's column names."""
    place: str
    """What messages call the table: the path, or the kind of frame."""
    columns: Mapping[str, str]
    """Our name → the owner's, where they differ."""

    def theirs(self, ours: str) -> str:
        """The owner's name of one of our columns."""
        return self.columns.get(ours, ours)

    def has(self, ours: str) -> bool:
        """Whether the table holds one of our columns."""
        return self.theirs(ours) in self.frame.columns

    def column(self, ours: str) -> pl.Series:
        """One of our columns, as its owner wrote it.

        Raises:
            InputError: The table does not hold it.
        """
        if not self.has(ours):
            raise InputError(
                f"{self.place}: there is no column {self.theirs(ours)}. Found: {', '.join(self.frame.columns)}.\n"
                f"If it goes by another name, pass --column {ours}=THAT_NAME."
            )
        return self.frame[self.theirs(ours)]

    def cells(self, ours: str) -> pl.Series:
        """One of our columns, which holds one value in each row.

        Raises:
            InputError: The table does not hold it, or holds lists, structs or bytes there.
        """
        column = self.column(ours)
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            raise InputError(
                f"{self.place}: column {column.name} holds {column.dtype}. Give one text, number or time in each row."
            )
        return column

    def unused(self, used: Iterable[str]) -> tuple[str, ...]:
        """The owner's names of the columns that none of ours (``used``) reads."""
        read = {self.theirs(ours) for ours in used}
        return tuple(name for name in self.frame.columns if name not in read)


def read_table(source: Source, *, columns: Mapping[str, str] | None = None, text: Collection[str] = ()) -> Table:
    """Read a table without changing it.

    Args:
        source: A path (.parquet, .csv, .tsv, .jsonl, .ndjson; the last four also with .gz) or a frame.
        columns: Our name → the owner's name, where they differ.
        text: Our columns that a CSV must not guess a type for, so that the id 007 stays 007.

    Raises:
        InputError: The table cannot be read, is empty, or lacks a column that the map names.

    Example:
        >>> table = read_table(pl.DataFrame({"uid": ["ann"], "sku": ["tea"]}), columns={"user_id": "uid"})
        >>> table.column("user_id").to_list(), table.unused(["user_id"])
        (['ann'], ('sku',))
    """
    columns = columns or {}
    names_kept_as_text = [columns.get(ours, ours) for ours in text]
    if isinstance(source, str | Path):
        table = Table(_read_file(Path(source), names_kept_as_text), str(source), columns)
    else:
        table = Table(*_read_frame(source), columns)
    if not len(table.frame):
        raise InputError(f"{table.place}: the table has no rows. Give one with at least one row.")
    for ours in columns:
        table.column(ours)
    return table


def names(column: pl.Series) -> pl.Series:
    """Ids as text, null where there is none: the numbers 196 and 196.0 are both "196", a blank is no id.

    Example:
        >>> names(pl.Series([196.0, None])).to_list(), names(pl.Series(["007", " "])).to_list()
        (['196', None], ['007', None])
    """
    if column.dtype.is_float():  # pandas turns whole ids into floats as soon as one is missing
        whole = column.cast(pl.Int64, strict=False)
        text = whole.cast(pl.String).zip_with(
            (whole.cast(pl.Float64) == column).fill_null(False), column.fill_nan(None).cast(pl.String)
        )
    else:
        text = column.cast(pl.String)
    return text.set(text.str.strip_chars() == "", None)


def numbers(column: pl.Series) -> pl.Series:
    """Float64 values, null where a cell is empty or not a number.

    Example:
        >>> numbers(pl.Series(["4.5", "n/a", ""])).to_list()
        [4.5, None, None]
    """
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    return column.cast(pl.Float64, strict=False).fill_nan(None)


def parse_columns(pairs: Iterable[str]) -> dict[str, str]:
    """A column map from the command line's ``ours=theirs`` pairs.

    Raises:
        InputError: A pair is not of that form.

    Example:
        >>> parse_columns(["user_id=uid", "occurred_at=时间"])
        {'user_id': 'uid', 'occurred_at': '时间'}
    """
    columns = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise InputError(f"--column {pair}: expected OURS=THEIRS, such as --column user_id=uid.")
        columns[ours] = theirs
    return columns


def _read_file(path: Path, text: list[str]) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file (looked in {Path.cwd()}). Check the path.")
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    readers: dict[str, Callable[[], pl.DataFrame]] = {
        ".parquet": lambda: pl.read_parquet(path),
        ".csv": lambda: _read_csv(path, text, separator=","),
        ".tsv": lambda: _read_csv(path, text, separator="\t"),
        ".jsonl": lambda: pl.read_ndjson(path, infer_schema_length=None),
        ".ndjson": lambda: pl.read_ndjson(path, infer_schema_length=None),
    }
    if suffix not in readers:
        raise InputError(f"{path}: a table cannot be read from {suffix or 'a file without an ending'}. Give {FILES}.")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty. Give a table with a header and at least one row.")
    try:
        return readers[suffix]()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"{path}: it cannot be read as {suffix[1:]} ({_first_line(error)}). {_remedy(error)}"
        ) from error


FILES = "one of .parquet, .csv, .tsv, .jsonl, .ndjson"


def _read_csv(path: Path, text: list[str], *, separator: str) -> pl.DataFrame:
    return pl.read_csv(
        path,
        separator=separator,
        schema_overrides=dict.fromkeys(text, pl.String),
        infer_schema_length=None,  # all rows: a type guessed from the first hundred fails on the last
    )


def _remedy(error: Exception) -> str:
    if "utf-8" in str(error) or "utf8" in str(error):
        return "Save it as UTF-8, for example with `iconv -f GBK -t UTF-8`."
    return "Check that the file is whole and that its ending says what it is."


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _read_frame(source: object) -> tuple[pl.DataFrame, str]:
    if isinstance(source, pl.DataFrame):
        return source, "the polars table"
    if isinstance(source, pl.LazyFrame):
        return source.collect(), "the polars table"
    # By name, so that neither library is imported for those who do not use it.
    kind = f"{type(source).__module__.partition('.')[0]}.{type(source).__name__}"
    try:
        if kind == "pandas.DataFrame":
            return pl.from_pandas(source), "the pandas table"  # type: ignore[call-overload]
        if kind == "pyarrow.Table":
            return pl.DataFrame(pl.from_arrow(source)), "the Arrow table"
    except (ValueError, TypeError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"the {kind.partition('.')[0]} table cannot be read ({_first_line(error)}). "
            "Give every column one type, such as df['user_id'] = df['user_id'].astype(str), and a name of its own."
        ) from error
    raise InputError(f"a table cannot be read from {kind}. Give a path, or a pandas, polars or Arrow table.")
