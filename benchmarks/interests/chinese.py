"""A text classifier that has learnt from English films, asked in Chinese: how much of it crosses the language.

    python -m benchmarks.interests.chinese runs/bench-ml-1m/everything-seed0

Each encoder's head learns from the bundle's films (title and plot, English) and their genres. It is asked about films
that were held out, and about invented ones (invented_films.jsonl, written for this: a Chinese sentence, the same in
English, genres) in both languages; and whether each Chinese sentence finds its English twin among all of them.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.machine import describe_machine
from recsys.bundle import load_bundle
from recsys.encoder_choice import ENGLISH, MULTILINGUAL
from recsys.encoders import TextEncoder
from recsys.interests import bundle_taxonomy
from recsys.label_metrics import user_resamples
from recsys.label_report import Answers, Bools, drawn_figures, figures_of
from recsys.lists import Figure
from recsys.text_training import DRAWS, POPULARITY, FittedHead, TextItems, popularity

RESULTS = Path("benchmarks/results")
FILMS = Path(__file__).with_name("invented_films.jsonl")


@dataclass(frozen=True, eq=False)
class InventedFilms:
    """Q films that nobody has made, in two languages."""

    chinese: list[str]
    english: list[str]
    genres: list[list[str]]

    @classmethod
    def read(cls) -> "InventedFilms":
        """Those that lie beside this file."""
        films = [json.loads(line) for line in FILMS.read_text(encoding="utf-8").splitlines()]
        return cls(*([film[field] for film in films] for field in ("chinese", "english", "genres")))

    def labels(self, names: tuple[str, ...]) -> Bools:
        """(Q, C) which interest each film is of."""
        return np.array([[name in genres for name in names] for genres in self.genres])


def main() -> None:
    """Judge both encoders on both languages, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a trained bundle of films with plots, whose interests are genres")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    given = parser.parse_args()
    bundle = load_bundle(given.bundle)
    taxonomy = bundle_taxonomy(bundle)
    items, films = TextItems.of(bundle, taxonomy), InventedFilms.read()
    reported, invented = items.labels[items.parts[2]], films.labels(taxonomy.names)
    share = popularity(items)
    result: dict[str, Any] = {
        "films": {"learnt from": len(items.parts[0]), "held out": len(reported), "invented": len(invented)},
        "genres": len(taxonomy),
        "encoders": {},
        POPULARITY: {
            "held out, English": _figures(share, reported),
            # It says the same of every film.
            "invented": _figures(_repeated(share, len(invented)), invented),
        },
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.interests.chinese", *sys.argv[1:]]),
    }
    for name in (ENGLISH, MULTILINGUAL):
        encoder = TextEncoder(name)
        fitted = FittedHead.of(encoder(items.texts), items)
        chinese, english = encoder(films.chinese), encoder(films.english)
        result["encoders"][name] = {
            "held out, English": _figures(fitted.answers, reported),
            "invented, English": _figures(_asked(fitted, english), invented),
            "invented, Chinese": _figures(_asked(fitted, chinese), invented),
            "Chinese finds its English twin": twins_found(chinese, english),
            "English finds its Chinese twin": twins_found(english, chinese),
        }
        print(name, json.dumps(result["encoders"][name], ensure_ascii=False), flush=True)
    target = given.out / "interests-text-chinese.json"
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def twins_found(asked: npt.NDArray[np.float32], offered: npt.NDArray[np.float32]) -> float:
    """The share of rows ``(Q, T)`` whose nearest among ``(Q, T)`` others is the one of the same number.

    Example:
        >>> twins_found(np.eye(2, dtype=np.float32), np.array([[0.9, 0.2], [0.8, 0.1]], np.float32))
        0.5
    """
    return float(((asked @ offered.T).argmax(1) == np.arange(len(asked))).mean())


def _asked(fitted: FittedHead, vectors: npt.NDArray[np.float32]) -> Answers:
    return Answers.of(fitted.head.logits(vectors), fitted.calibration)


def _repeated(answers: Answers, times: int) -> Answers:
    parts = (answers.scores, answers.probabilities, answers.decisions)
    scores, probabilities, decisions = (np.repeat(part[:1], times, axis=0) for part in parts)
    return Answers(scores, probabilities, decisions)


def _figures(answers: Answers, labels: Bools) -> dict[str, Figure]:
    weights = user_resamples(np.arange(len(labels)), draws=DRAWS, rng=np.random.default_rng(0))
    figures = figures_of(drawn_figures(answers, labels, weights))
    return {name: figures[name] for name in ("mean_average_precision", "auc", "micro_f1")}


if __name__ == "__main__":
    main()
