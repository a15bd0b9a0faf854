"""Peers as recommenders of ours: hands them a split, reads their rankings back, and judges them on the same cases.

What a peer leaves is read as scores, so that one evaluator sees to masks, ties and ranks for it and for ours alike.

Shapes: Q cases, N items, R rows of rankings.parquet.
"""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from recsys.baselines import Scorer
from recsys.catalogue import Catalogue
from recsys.errors import InputError
from recsys.evaluate import Judged, judge
from recsys.interactions import Interactions
from recsys.ranking import OUT
from recsys.split import Cases, Rows, Split, without_request_time

PYTHON = Path(".venv-recommenders/bin/python")
"""The interpreter of the peers' environment; `make .venv-recommenders/installed` makes it."""
TABLES = ("train", "validation", "cases")


@dataclass(frozen=True, eq=False)
class Peer:
    """One peer's answers."""

    judged: Judged
    """On the test cases; what `recsys.figures.report` takes."""
    facts: dict[str, Any]
    """What run.json says: parameters, seconds, epochs, whether the time was up, memory, versions."""


def run_peers(
    split: Split,
    catalogue: Catalogue,
    peers: Sequence[str],
    folder: Path,
    *,
    request_time: bool,
    minutes: float = 30,
    seed: int = 0,
    threads: int = 1,
    python: Path = PYTHON,
) -> dict[str, Peer]:
    """Run what is missing, one peer at a time, and judge all of them on ``split.test``.

    Args:
        split: What to learn from and what to ask.
        catalogue: That the split's items are numbered by.
        peers: Names that `benchmarks.peers.run` knows.
        folder: Takes the tables the peers read, and a folder per peer. What was run there before is not run again,
            unless its time was up and it may have more now.
        request_time: Whether peers are told the instant of the target, as ours is under ``--request-time``.
        minutes: How long a peer may learn, in the time its cores spend on it: other work on the machine costs none.
        seed: Of what a peer draws.
        threads: Cores it may use.
        python: The interpreter that has them.

    Raises:
        InputError: The folder holds results of another split, or there is no such interpreter.
        CalledProcessError: A peer failed; its log.txt says why.
    """
    digests = export_cases(split, catalogue, folder, request_time=request_time)
    done = {}
    for name in peers:
        if not _stands(folder / name / "run.json", minutes):
            _run(name, folder, minutes=minutes, seed=seed, threads=threads, python=python)
        facts = json.loads((folder / name / "run.json").read_text(encoding="utf-8"))
        if facts["tables_sha256"] != digests:
            raise InputError(
                f"{folder / name} holds rankings of other tables than those of this split. Remove it to run {name} "
                "again, or give another folder."
            )
        done[name] = Peer(judged(folder / name / "rankings.parquet", split, catalogue), facts)
    return done


def judged(rankings: Path, split: Split, catalogue: Catalogue) -> Judged:
    """What a peer's rankings are worth on ``split.test``.

    Raises:
        InputError: They name a user or an item twice, or one that is not there.
    """
    return judge(scorer(rankings, split.interactions, catalogue), split.test, split.interactions)


def scorer(rankings: Path, interactions: Interactions, catalogue: Catalogue) -> Scorer:
    """A rankings.parquet as scores, −∞ for what is not in it; the order in the file and its ranks are not looked at."""
    rows = pl.read_parquet(rankings)
    users = _numbered(rows["user_id"], interactions.user_ids, place=rankings)  # (R,)
    items = _numbered(rows["item_id"], catalogue.item_ids, place=rankings)  # (R,)
    scores = rows["score"].to_numpy().astype(np.float32)
    if len(np.unique(users << 32 | items)) < len(rows):
        raise InputError(f"{rankings}: a user has the same item twice. Write each once.")
    order = np.argsort(users, kind="stable")
    users, items, scores = users[order], items[order], scores[order]
    starts = np.searchsorted(users, np.arange(len(interactions.user_ids) + 1))

    def score(cases: Cases) -> torch.Tensor:
        table = np.full((len(cases), len(catalogue) + 1), OUT, np.float32)
        for row, user in enumerate(cases.user_idx):
            mine = slice(starts[user], starts[user + 1])
            table[row, items[mine]] = scores[mine]
        return torch.from_numpy(table)

    return score


def export_cases(split: Split, catalogue: Catalogue, folder: Path, *, request_time: bool) -> dict[str, str]:
    """Write train.parquet, validation.parquet and cases.parquet for `benchmarks.peers.run`.

    All have user_id, item_id and occurred_at (or position, where there is no clock), in the table's order. The latter
    two hold every row of every case's history and the instant of its request; validation also the targets, marked.

    Returns:
        sha256 of each file by its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    interactions = split.interactions
    validation, test = split.validation, split.test
    if not request_time:
        validation, test = (without_request_time(cases, interactions) for cases in (validation, test))
    frames = {
        "train": _train_frame(split, catalogue),
        "validation": pl.concat(
            [
                _case_frame(validation, interactions, catalogue).with_columns(target=pl.lit(False)),
                _case_frame(validation, interactions, catalogue, targets=True).with_columns(target=pl.lit(True)),
            ]
        ),
        "cases": _case_frame(test, interactions, catalogue),
    }
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet")
    return {name: hashlib.sha256((folder / f"{name}.parquet").read_bytes()).hexdigest() for name in TABLES}


def _train_frame(split: Split, catalogue: Catalogue) -> pl.DataFrame:
    return _frame(split.train, np.arange(len(split.train)), catalogue)


def _case_frame(
    cases: Cases, interactions: Interactions, catalogue: Catalogue, *, targets: bool = False
) -> pl.DataFrame:
    """Every row of the cases' histories, or of their targets, and when the case is asked."""
    rows, of_case = (cases.target_rows, cases.target_cases) if targets else cases.history_rows()
    frame = _frame(interactions, rows, catalogue)
    requested_at = None if cases.requested_at is None else cases.requested_at[of_case]
    return frame.with_columns(
        pl.Series("requested_at", [None] * len(rows) if requested_at is None else requested_at, dtype=pl.Int64)
    )


def _frame(interactions: Interactions, rows: Rows, catalogue: Catalogue) -> pl.DataFrame:
    user_idx, occurred_at = interactions.user_idx[rows], interactions.occurred_at
    if occurred_at is None:
        order = {"position": rows - interactions.starts[user_idx]}
    else:
        order = {"occurred_at": occurred_at[rows]}
    return pl.DataFrame(
        {
            "user_id": pl.Series(np.array(interactions.user_ids, dtype=object)[user_idx], dtype=pl.String),
            "item_id": pl.Series(
                np.array(catalogue.item_ids, dtype=object)[interactions.item_idx[rows]], dtype=pl.String
            ),
            **order,
        }
    )


def _numbered(names: pl.Series, vocabulary: Sequence[str], *, place: Path) -> npt.NDArray[np.int64]:
    """Where each name stands in the vocabulary."""
    number_of = {name: number for number, name in enumerate(vocabulary)}
    numbers = names.replace_strict(number_of, default=None, return_dtype=pl.Int64)
    if numbers.null_count():
        unknown = names.filter(numbers.is_null())[0]
        raise InputError(f"{place}: {names.name} {unknown!r} is not in the table. Rank the cases of this split.")
    return numbers.to_numpy()


def _stands(done: Path, minutes: float) -> bool:
    """Whether more time would change nothing about what was run before."""
    if not done.exists():
        return False
    facts = json.loads(done.read_text(encoding="utf-8"))
    return bool(not facts["capped"] or facts["minutes_allowed"] >= minutes)


def _run(name: str, folder: Path, *, minutes: float, seed: int, threads: int, python: Path) -> None:
    if not python.exists():
        raise InputError(
            f"{python}: no such interpreter. Make the peers' environment: make .venv-recommenders/installed"
        )
    out = folder / name
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").unlink(missing_ok=True)
    knobs = {"peer": name, "out": out, "minutes": minutes, "seed": seed, "threads": threads}
    knobs |= {table: folder / f"{table}.parquet" for table in TABLES}
    command = [str(python), "-m", "benchmarks.peers.run", *(f"--{knob}={value}" for knob, value in knobs.items())]
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
