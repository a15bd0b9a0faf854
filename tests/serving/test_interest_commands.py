"""``recsys interests`` prints what `interests_of` tells."""

import json
import shutil

import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner

from recsys.interests import UserInterests, interests_of
from serving.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["interests", *map(str, arguments)])


def test_as_json_it_is_what_interests_of_tells(shop, bundle):
    result = run("--bundle", shop, "--user", "顾客3", "--json")
    assert result.exit_code == 0
    assert TypeAdapter(UserInterests).validate_json(result.stdout) == interests_of(bundle, "顾客3")


def test_in_words_every_interest_has_its_line(shop):
    result = run("--bundle", shop, "--user", "顾客3")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "user 顾客3: 9 events, the newest 2023-1" in lines[0]
    assert "p = 1.000" in lines[0]
    for interest in ("odd", "even"):
        (line,) = [line for line in lines if line.split()[:1] == [interest]]
        assert line.split()[1] in ("core", "exploring")
    assert "No change that chance would not make as well." in result.stdout


def test_as_of_an_earlier_instant(shop, bundle):
    when = bundle.interactions.occurred_at[bundle.interactions.of_user(bundle.interactions.user_index("顾客3"))]
    result = run("--bundle", shop, "--user", "顾客3", "--requested-at", int(when[5]), "--json")
    assert json.loads(result.stdout)["events"] == 5


def test_without_a_clock(shop_without_clock):
    result = run("--bundle", shop_without_clock, "--user", "顾客3")
    assert result.exit_code == 0
    assert "0 ago" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--user", "路人"], "user '路人': nothing is stored"),
        (["--user", "顾客3", "--requested-at", "soon"], "--requested-at soon: no instant"),
        (["--user", "顾客3", "--requested-at", "1970-01-01"], "nothing is stored of the time before 0"),
    ],
)
def test_what_cannot_be_told_is_said(shop, arguments, words):
    result = run("--bundle", shop, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_classifier_is_trained_kept_and_told(shop, tmp_path):
    folder = shutil.copytree(shop, tmp_path / "shop")
    result = run("train", "--bundle", folder)
    assert result.exit_code == 0, result.stderr
    assert "horizon: the next event" in result.stdout
    report = json.loads((folder / "interests.json").read_text(encoding="utf-8"))
    # Who stands on an odd place mostly moves to an even one: the newest item tells, how often does not.
    better = report["scorers"]["classifier"]["mean_average_precision"]["value"]
    assert better > 1.2 * report["scorers"]["own frequencies"]["mean_average_precision"]["value"]
    told = run("--bundle", folder, "--user", "顾客3")
    assert "Expected, should they come (horizon: the next event): " in told.stdout
    expected = json.loads(run("--bundle", folder, "--user", "顾客3", "--json").stdout)["expected"]
    assert {one["name"] for one in expected} == {"odd", "even"}
    assert 0.8 < sum(one["probability"] for one in expected) < 1.2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--user", "顾客3"], "give both --bundle DIR and --user ID"),
        (["train", "--bundle", "nowhere"], "no bundle here"),
        (["train", "--horizon", "soon"], "--horizon soon: no time"),
        (["train", "--horizon", "7d"], "only the next event can be asked for"),
    ],
)
def test_what_cannot_be_trained_is_said(shop, arguments, words):
    given = arguments if "--bundle" in arguments or "train" not in arguments else [*arguments, "--bundle", shop]
    result = run(*given)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())
