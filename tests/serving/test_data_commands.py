import json

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from recsys.errors import InputError
from serving.data_commands import app


@pytest.fixture
def shop(tmp_path):
    """A folder with two small tables: one visit of four is of an unknown item, and one item of three is repeated."""
    items = {"sku": ["tea", "ink", "tea"], "title": ["茶", "墨", "茶"]}
    pl.DataFrame(items).write_csv(tmp_path / "items.csv")
    visits = {
        "uid": ["007", "ann", "007", "bob"],
        "item_id": ["tea", "ink", "hat", "ink"],
        "occurred_at": ["1970-01-01", "1970-01-02", "1970-01-03", "1970-01-04T00:00:30Z"],
        "event": ["view", "buy", "buy", "view"],
    }
    pl.DataFrame(visits).write_csv(tmp_path / "visits.csv")
    return tmp_path


def check(shop, *options):
    tables = ["--interactions", str(shop / "visits.csv"), "--items", str(shop / "items.csv")]
    columns = ["--column", "user_id=uid", "--item-column", "item_id=sku"]
    return CliRunner().invoke(app, ["check", *tables, *columns, *options])


def test_check_says_what_is_there_and_what_is_bad(shop):
    result = check(shop)
    assert result.exit_code == 0
    for words in (
        "users",
        "view 2, buy 1",
        "1970-01-04T00:00:30Z",
        "2 of 3 rows kept",
        "sku: duplicate of an earlier row in 1 row (row 2: tea)",
        "3 of 4 rows kept",
        "item_id: unknown item in 1 row (row 2: hat)",
    ):
        assert words in result.stdout


def test_check_as_json(shop):
    told = json.loads(check(shop, "--json").stdout)
    items, interactions = told.pop("reports")
    assert told == {
        "users": 3,
        "items": 2,
        "items_seen": 2,
        "interactions": 3,
        "events": {"view": 2, "buy": 1},
        "first": "1970-01-01T00:00:00Z",
        "last": "1970-01-04T00:00:30Z",
    }
    assert items["problems"][0]["examples"] == [{"row": 2, "value": "tea"}]
    assert interactions["problems"][0]["problem"] == "unknown item"


def test_strict_ends_with_code_1_and_still_reports(shop):
    result = check(shop, "--strict", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["interactions"] == 3


def test_strict_ends_with_code_0_when_all_is_well(shop):
    (shop / "items.csv").write_text("sku\ntea\nink\nhat\n")
    assert check(shop, "--strict").exit_code == 0


def test_quarantine_takes_both_tables(shop):
    check(shop, "--quarantine", str(shop / "bad.csv"))
    assert (shop / "bad.csv").read_text().splitlines()[1] == "2,item_id,unknown item,007,hat,1970-01-03,buy"
    assert (shop / "bad.items.csv").read_text().splitlines()[1] == "2,sku,duplicate of an earlier row,tea,茶"


def test_options_reach_the_reader(shop):
    table = pl.DataFrame({"user_id": "ann", "item_id": "tea", "occurred_at": [1_300_000_000_000] * 2})
    table.write_parquet(shop / "ms.parquet")
    arguments = ["check", "--interactions", str(shop / "ms.parquet"), "--json"]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, InputError)
    assert "--time-unit ms" in str(refused.exception)
    told = json.loads(CliRunner().invoke(app, [*arguments, "--time-unit", "ms"]).stdout)
    assert (told["interactions"], told["first"]) == (1, "2011-03-13T07:06:40Z")
    told = json.loads(CliRunner().invoke(app, [*arguments, "--time-unit", "ms", "--keep-duplicates"]).stdout)
    assert told["interactions"] == 2


def test_an_order_without_a_clock_has_no_first_and_last(shop):
    table = pl.DataFrame({"user_id": ["ann"], "item_id": ["tea"], "position": [1]})
    table.write_parquet(shop / "order.parquet")
    result = CliRunner().invoke(app, ["check", "--interactions", str(shop / "order.parquet"), "--json"])
    assert set(json.loads(result.stdout)) == {"users", "items", "items_seen", "interactions", "events", "reports"}


def test_fetch_knows_its_data_sets(tmp_path):
    result = CliRunner().invoke(app, ["fetch", "ml-99", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "completejourney" in result.output


def test_fetch_refuses_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    result = CliRunner().invoke(app, ["fetch", "ml-100k", "--out", str(tmp_path)])
    assert isinstance(result.exception, InputError)


@pytest.mark.slow
def test_fetch_tells_the_terms(tmp_path):
    mounted = typer.Typer()
    mounted.add_typer(app, name="data")
    result = CliRunner().invoke(mounted, ["data", "fetch", "ml-100k", "--out", str(tmp_path / "ml")])
    assert result.exit_code == 0
    assert "not to be redistributed" in result.stdout
    assert (tmp_path / "ml" / "items.parquet").exists()
