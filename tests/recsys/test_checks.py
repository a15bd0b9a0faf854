import json

import polars as pl
import pytest

from recsys.checks import Rule, repeated, set_aside
from recsys.errors import InputError
from recsys.tables import Table

FRAME = pl.DataFrame(
    {"a": ["x", None, "z", "y", "z"], "row": [10, 20, 30, 40, 50], "tags": [["p"], [], None, ["q", "r"], []]}
)
TABLE = Table(FRAME, "things.parquet", {})
FIRST = Rule(["a"], "first problem", pl.Series([False, True, True, False, None]))
SECOND = Rule(["a", "row"], "second problem", pl.Series([False, False, True, True, False]))


def aside(*, strict=False, quarantine=None, rules=(FIRST, SECOND)):
    return set_aside(TABLE, rules, unread_columns={"tags": "a list"}, strict=strict, quarantine=quarantine)


def test_a_row_with_two_problems_goes_by_the_first():
    good, report = aside()
    assert good.to_list() == [True, False, False, False, True]
    assert [(finding.problem, finding.count) for finding in report.findings] == [
        ("first problem", 2),
        ("second problem", 1),
    ]
    assert report.rows_read - report.rows_kept == sum(finding.count for finding in report.findings)
    assert not report.ok


def test_the_report_in_words():
    assert str(aside()[1]) == (
        "things.parquet: 2 of 5 rows kept\n"
        "  a: first problem in 2 rows (row 1: nothing; row 2: z)\n"
        "  a, row: second problem in 1 row (row 3: y, 40)\n"
        "  not read: tags (a list)"
    )


def test_the_report_as_json():
    report = aside()[1].as_dict()
    assert json.loads(json.dumps(report)) == report
    assert report["problems"][1] == {
        "column": "a, row",
        "problem": "second problem",
        "count": 1,
        "examples": [{"row": 3, "value": "y, 40"}],
    }
    assert (report["rows_read"], report["rows_kept"], report["unread_columns"]) == (5, 2, {"tags": "a list"})


def test_long_and_blank_values_stay_legible():
    table = Table(pl.DataFrame({"a": ["x" * 200, "  "]}), "t", {})
    rule = Rule(["a"], "odd", pl.Series([True, True]))
    with pytest.raises(InputError, match=r"row 0: x{57}\.\.\.; row 1: '  '"):
        set_aside(table, [rule], unread_columns={}, strict=False, quarantine=None)


def test_strict_refuses_and_names_the_first_problems():
    with pytest.raises(InputError, match=r"first problem in 2 rows \(row 1: nothing(.|\n)*--strict"):
        aside(strict=True)
    good, report = aside(strict=True, rules=())
    assert good.all()
    assert report.ok


def test_a_table_without_a_good_row_is_refused():
    with pytest.raises(InputError, match="No row is left"):
        aside(rules=[Rule(["a"], "bad", pl.Series([True] * 5))])


def test_quarantine_as_parquet_keeps_the_owners_columns(tmp_path):
    aside(quarantine=tmp_path / "new" / "bad.parquet")
    bad = pl.read_parquet(tmp_path / "new" / "bad.parquet")
    assert bad.columns == ["row", "column", "problem", "a", "row_", "tags"]
    assert bad.rows() == [
        (1, "a", "first problem", None, 20, []),
        (2, "a", "first problem", "z", 30, None),
        (3, "a, row", "second problem", "y", 40, ["q", "r"]),
    ]


def test_quarantine_as_csv_writes_lists_as_text(tmp_path):
    aside(quarantine=tmp_path / "bad.csv")
    lines = (tmp_path / "bad.csv").read_text().splitlines()
    assert lines[0] == "row,column,problem,a,row_,tags"
    assert lines[3] == "3,\"a, row\",second problem,y,40,\"['q', 'r']\""


def test_quarantine_is_written_when_strict_refuses_and_not_when_all_is_well(tmp_path):
    with pytest.raises(InputError):
        aside(strict=True, quarantine=tmp_path / "bad.csv")
    assert (tmp_path / "bad.csv").exists()
    aside(quarantine=tmp_path / "none.csv", rules=())
    assert not (tmp_path / "none.csv").exists()


def test_quarantine_doors(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"bad\.txt.*\.parquet or \.csv"):
        aside(quarantine=tmp_path / "bad.txt", rules=())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="overwrite the table itself"):
        aside(quarantine=tmp_path / "things.parquet")


def test_repeats_are_counted_among_good_rows_only():
    keys = pl.DataFrame({"k": [1, 1, 1, 1, None, None, 2], "v": [None, None, None, None, 1.0, 1.0, 2.0]})
    bad = Rule(["k"], "bad", pl.Series([True, True, False, False, False, False, False]))
    assert repeated(keys, [bad]).to_list() == [False, False, False, True, False, True, False]
    assert repeated(keys, []).to_list() == [False, True, True, True, False, True, False]


def test_the_first_three_rows_at_fault_are_shown():
    rule = Rule(["row"], "odd", pl.Series([False, True, True, True, True]))
    report = aside(rules=[rule])[1]
    assert report.findings[0].examples == ((1, "20"), (2, "30"), (3, "40"))
