"""README stays true: its tables are those of the committed results, its counts and commands those of the code."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.accuracy.tables import (
    DATA,
    READMES,
    ablation_table,
    accuracy_table,
    evidence_table,
    put,
    read_results,
    scoring_table,
    seeds_table,
)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize("readme", READMES, ids=str)
@pytest.mark.parametrize(
    ("name", "table"),
    [
        *((data, accuracy_table) for data in DATA),
        ("ml-1m-ablation", lambda result: ablation_table(result["variants"])),
        ("ml-100k-ablation", lambda result: ablation_table(result["variants"])),
    ],
)
def test_tables_are_those_of_the_committed_results(readme, name, table):
    result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    stands = re.search(
        rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL
    )
    assert stands is not None
    assert stands[1] == table(result)


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_what_evidence_brings_is_what_was_measured(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert put(text, "evidence", evidence_table(read_results(RESULTS, "evidence"))) == text


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_what_the_reranker_gains_over_seeds_is_what_was_measured(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert "<!-- seeds -->" in text
    assert put(text, "seeds", seeds_table(read_results(RESULTS, "seeds"))) == text


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_what_scoring_costs_is_what_was_measured(readme):
    bundles = json.loads((RESULTS / "scoring.json").read_text(encoding="utf-8"))["bundles"]
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert "<!-- scoring -->" in text
    assert put(text, "scoring", scoring_table(bundles)) == text


def test_gains_are_reranked_over_towers():
    ours = {"two_tower": 0.20, "two_tower+prior": 0.21, "two_tower+rerank": 0.22}
    result = {
        "seeds": [0, 1],
        "recommenders": {name: {"ndcg@10": figure} for name, figure in ours.items()},
        "p_values": {"two_tower+rerank": {"two_tower": 0.0001}},
        "drift_groups": {"drift high": {"two_tower": 0.1, "two_tower+rerank": 0.12}},
        "calibration": [{"two_tower+rerank": {"ece": ece}} for ece in (0.001, 0.002)],
    }
    row = "| d | 2 | 0.2000 | 0.2100 | 0.2200 | +10.0 % | 0.0001 | +20.0 % |  | 0.0020 |"
    assert seeds_table({"d": result}).splitlines()[2:] == [row]


def test_a_training_step_is_as_many_lines_as_it_says():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    claimed = int(re.search(r"takes (\d+) lines in seven files", text)[1])
    files = re.search(r"wc -l recsys/\{(.*?)\}\.py", text)[1].split(",")
    assert len(files) == 7
    actual = sum(len((ROOT / "recsys" / f"{name}.py").read_text(encoding="utf-8").splitlines()) for name in files)
    assert claimed == actual


def test_every_make_target_it_names_exists():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for readme in READMES:
        named = set(re.findall(r"make ([a-z][a-z0-9-]+)", (ROOT / readme).read_text(encoding="utf-8")))
        named -= {"up"}
        assert named <= targets, named - targets


def test_every_recsys_option_it_shows_exists():
    import typer

    from serving.cli import app

    command = typer.main.get_command(app)
    for line in re.findall(r"^recsys (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE):
        words = line.split()
        verb = command
        while hasattr(verb, "commands") and words and words[0] in verb.commands:
            verb = verb.commands[words.pop(0)]
        options = {option for parameter in verb.params for option in parameter.opts}
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= options, line
