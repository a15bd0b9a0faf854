"""The door for tables: Parquet, CSV, JSON lines, pandas, polars and Arrow become one polars frame.

A table keeps its owner's column names, so that every message and every quarantine file speaks the owner's language;
the column map says which of them is which of ours. Rows count from 0, the header not counted. R rows.
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

ENDINGS = ".parquet, .csv, .tsv, .jsonl or .ndjson; all but the first may also end in .gz"


@dataclass(frozen=True, eq=False)
class Table:
    """A table as its owner wrote it, and where our columns are in it."""

    frame: pl.DataFrame
    """(R,) the owner's rows, under the owner's column names."""
    place: str
    """What messages call the table: the path, or the kind of frame."""
    columns: Mapping[str, str]
    """Our name → the owner's, where they differ; an empty name leaves a column unread."""

    def theirs(self, ours: str) -> str:
        """The owner's name of one of our columns."""
        return self.columns.get(ours, ours)

    def has(self, ours: str) -> bool:
        """Whether the table holds one of our columns."""
        return self.theirs(ours) in self.frame.columns

    def column(self, ours: str) -> pl.Series:
        """(R,) one of our columns, as its owner wrote it.

        Raises:
            InputError: The table does not hold it.
        """
        if not self.has(ours):
            raise InputError(
                f"{self.place}: there is no column {self.theirs(ours) or ours}. "
                f"Found: {', '.join(self.frame.columns)}.\n"
                f"If it goes by another name, add {ours}=THAT_NAME to the column map."
            )
        return self.frame[self.theirs(ours)]

    def cells(self, ours: str) -> pl.Series:
        """(R,) one of our columns, which holds one value in each row.

        Raises:
            InputError: The table does not hold it, or holds lists, structs, bytes or durations there.
        """
        column = self.column(ours)
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object, pl.Duration):
            raise InputError(
                f"{self.place}: column {column.name} holds {column.dtype}. Give one text, number or time in each row."
            )
        return column

    def unread(self, read: Iterable[str]) -> list[str]:
        """The owner's names of the columns that none of ours (``read``) stands for."""
        theirs = {self.theirs(ours) for ours in read}
        return [name for name in self.frame.columns if name not in theirs]


def read_table(source: Source, *, columns: Mapping[str, str] | None = None, text: Collection[str] = ()) -> Table:
    """Read a table without changing it.

    Args:
        source: A path (.parquet, .csv, .tsv, .jsonl, .ndjson; all but the first may also end in .gz) or a frame.
        columns: Our name → the owner's name, where they differ; an empty name leaves a column unread.
        text: Our columns whose type a CSV must not guess, so that the id 007 stays 007.

    Raises:
        InputError: The table cannot be read, is empty, or lacks a column that the map names.

    Example:
        >>> table = read_table(pl.DataFrame({"uid": ["ann"], "sku": ["tea"]}), columns={"user_id": "uid"})
        >>> table.column("user_id").to_list(), table.unread(["user_id"])
        (['ann'], ['sku'])
    """
    columns = columns or {}
    if isinstance(source, str | Path):
        kept_as_text = [columns.get(ours, ours) for ours in text]
        table = Table(_read_file(Path(source), kept_as_text), str(source), columns)
    else:
        table = Table(*_read_frame(source), columns)
    if not len(table.frame):
        raise InputError(f"{table.place}: the table has no rows. Give one with at least one.")
    for ours, theirs in columns.items():
        if theirs:
            table.column(ours)
    return table


def parse_columns(pairs: Iterable[str]) -> dict[str, str]:
    """A column map from the command line's ``OURS=THEIRS`` pairs; ``OURS=`` leaves a column unread.

    Raises:
        InputError: A pair is not of that form, or one of our columns is mapped twice.

    Example:
        >>> parse_columns(["user_id=uid", "occurred_at=时间", "position="])
        {'user_id': 'uid', 'occurred_at': '时间', 'position': ''}
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals):
            raise InputError(f"{pair} maps no column. Write OURS=THEIRS, such as user_id=uid.")
        if ours in columns:
            raise InputError(f"{ours} is mapped to both {columns[ours]} and {theirs}. Keep one.")
        columns[ours] = theirs
    return columns


def names(cells: pl.Series) -> pl.Series:
    """(R,) ids as text, null where there is none: the numbers 196 and 196.0 are both "196".

    Example:
        >>> names(pl.Series([196.0, None])).to_list(), names(pl.Series(["007", " "])).to_list()
        (['196', None], ['007', None])
    """
    text = cells.cast(pl.String)
    if cells.dtype.is_float():  # pandas turns whole numbers into floats as soon as one is missing
        whole = cells.cast(pl.Int64, strict=False)
        text = whole.cast(pl.String).zip_with((whole.cast(pl.Float64) == cells).fill_null(False), text)
    return text.set(blank(cells), None)


def numbers(cells: pl.Series) -> pl.Series:
    """(R,) Float64 values, null where a cell is blank or not a number.

    Example:
        >>> numbers(pl.Series(["4.5", "n/a", ""])).to_list()
        [4.5, None, None]
    """
    if not (cells.dtype.is_numeric() or cells.dtype == pl.Boolean):
        cells = cells.cast(pl.String).str.strip_chars()  # a date is no number, though polars would make it one
    return cells.cast(pl.Float64, strict=False).fill_nan(None)


def blank(cells: pl.Series) -> pl.Series:
    """(R,) whether a cell holds nothing: null, NaN or white space.

    Example:
        >>> blank(pl.Series(["a", " ", None])).to_list(), blank(pl.Series([0.0, float("nan")])).to_list()
        ([False, True, True], [False, True])
    """
    if cells.dtype.is_float():
        return cells.is_null() | cells.is_nan().fill_null(False)
    if cells.dtype in (pl.String, pl.Categorical, pl.Enum):
        return (cells.cast(pl.String).str.strip_chars() == "").fill_null(True)
    return cells.is_null()


def _read_file(path: Path, text: list[str]) -> pl.DataFrame:
    readers: dict[str, Callable[[], pl.DataFrame]] = {
        ".parquet": lambda: pl.read_parquet(path),
        ".csv": lambda: _read_csv(path, text, separator=","),
        ".tsv": lambda: _read_csv(path, text, separator="\t"),
        ".jsonl": lambda: pl.read_ndjson(path, infer_schema_length=None),
        ".ndjson": lambda: pl.read_ndjson(path, infer_schema_length=None),
    }
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if not path.is_file():
        raise InputError(f"{path}: there is no such file (looking from {Path.cwd()}). Check the path.")
    if suffix not in readers:
        raise InputError(f"{path}: its ending does not say what kind of table it is. Give {ENDINGS}.")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty. Give a table with at least one row.")
    try:
        return readers[suffix]()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: cannot be read as {suffix[1:]} ({_gist(error)}). {_remedy(error)}") from error


def _read_csv(path: Path, text: list[str], *, separator: str) -> pl.DataFrame:
    return pl.read_csv(
        path,
        separator=separator,
        schema_overrides=dict.fromkeys(text, pl.String),
        infer_schema_length=None,  # all rows: a type guessed from the first hundred fails on a later one
    )


def _gist(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _remedy(error: Exception) -> str:
    if "utf-8" in str(error):
        return "Save it as UTF-8, for example with iconv -f GB18030 -t UTF-8."
    if "more fields" in str(error):
        return "Some row has more cells than the header: put text that holds the separator in double quotes."
    return "Check that the file is whole and is what its ending says."


def _read_frame(source: object) -> tuple[pl.DataFrame, str]:
    if isinstance(source, pl.DataFrame):
        return source, "the polars table"
    # Told by name, so that neither library is imported for those who do not use it.
    library = type(source).__module__.partition(".")[0]
    kind = f"{library}.{type(source).__name__}"
    try:
        if isinstance(source, pl.LazyFrame):
            return source.collect(), "the polars table"
        if kind == "pandas.DataFrame":
            return pl.from_pandas(source), "the pandas table"  # type: ignore[call-overload]
        if kind == "pyarrow.Table":
            return pl.DataFrame(pl.from_arrow(source)), "the Arrow table"
    except (ValueError, TypeError, OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"the {library} table cannot be read ({_gist(error)}).\n"
            "Give each column a name of its own and one type, such as df['user_id'] = df['user_id'].astype(str)."
        ) from error
    raise InputError(f"{kind} is no table. Give a path, or a pandas, polars or Arrow table.")
