"""What a text is about, on items that were held out: a head on frozen or fine-tuned vectors, beside TF-IDF.

    python -m benchmarks.interests.texts runs/bench-ml-1m/everything-seed0 --name ml-1m --tune

The bundle gives items and interests; its sentence encoder reads title and description, never the categories. Where
interests were discovered, they are clusters of the same encoder's vectors, so its figures are flattered there: the
report says so. TF-IDF chooses its strength on the same validation items.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.machine import describe_machine
from recsys.bundle import load_bundle
from recsys.encoders import TextEncoder, load_encoder
from recsys.interests import bundle_taxonomy
from recsys.label_calibration import LabelCalibration
from recsys.label_metrics import mean_average_precision
from recsys.label_report import Answers
from recsys.text_lora import TuningConfig
from recsys.text_training import POPULARITY, FittedHead, TextItems, popularity, text_report, tuned_vectors

RESULTS = Path("benchmarks/results")
STRENGTHS = (0.3, 1.0, 3.0, 10.0)
"""Of TF-IDF's logistic regression: scikit-learn's C."""
FROZEN, TUNED, TF_IDF = "head on frozen vectors", "head on fine-tuned vectors", "TF-IDF and logistic regression"


def main() -> None:
    """Judge every scorer on the same held-out items, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a trained bundle whose items have texts")
    parser.add_argument("--name", required=True, help="of the data, for the file of results")
    parser.add_argument("--tune", action="store_true", help="fine-tune the encoder as well")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    given = parser.parse_args()
    bundle = load_bundle(given.bundle)
    taxonomy = bundle_taxonomy(bundle)
    items = TextItems.of(bundle, taxonomy)
    encoder = TextEncoder(bundle.config.item_tower.encoder)
    tuning = TuningConfig()
    readings: dict[str, Callable[[], npt.NDArray[np.float32]]] = {FROZEN: lambda: encoder(items.texts)}
    if given.tune:
        readings[TUNED] = lambda: tuned_vectors(load_encoder(encoder.folder), items, tuning)
    answers, validation, seconds, calibrations = {}, {}, {}, []
    for name, read in readings.items():
        began = time.perf_counter()
        fitted = FittedHead.of(read(), items)
        seconds[name] = time.perf_counter() - began
        answers[name], validation[name] = fitted.answers, fitted.validation
        calibrations.append(fitted.calibration)
    began = time.perf_counter()
    answers[TF_IDF], validation[TF_IDF] = tf_idf(items)
    seconds[TF_IDF] = time.perf_counter() - began
    answers[POPULARITY] = popularity(items)
    result: dict[str, Any] = text_report(answers, items, taxonomy.names, calibrations[0]) | {
        "data": given.name,
        "encoder": encoder.name,
        "items": [len(part) for part in items.parts],
        "interests_discovered_from_the_same_vectors": bundle.interests is not None,
        "mean_average_precision_on_validation": validation,
        "tuning": asdict(tuning) if given.tune else None,
        "seconds": {name: round(took) for name, took in seconds.items()},
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.interests.texts", *sys.argv[1:]]),
    }
    target = given.out / f"interests-text-{given.name}.json"
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    for name, figures in result["scorers"].items():
        print(name, {figure: round(one["value"], 4) for figure, one in figures.items()})


def tf_idf(items: TextItems) -> tuple[Answers, float]:
    """What counted words say of the items to report, and their mean average precision on those to choose by."""
    parts = [[items.texts[row] for row in part] for part in items.parts]
    reader = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2))
    learnt, chosen, reported = reader.fit_transform(parts[0]), reader.transform(parts[1]), reader.transform(parts[2])
    labels, wanted = items.labels[items.parts[0]], items.labels[items.parts[1]]
    tried = []
    for strength in STRENGTHS:
        of_chosen, of_reported = _logistic(learnt, labels, (chosen, reported), strength)
        calibration = LabelCalibration.fit(of_chosen, wanted)
        tried.append((Answers.of(of_reported, calibration), mean_average_precision(of_chosen, wanted)))
    return max(tried, key=lambda one: one[1])


def _logistic(
    learnt: sparse.csr_matrix, labels: npt.NDArray[np.bool_], asked: tuple[sparse.csr_matrix, ...], strength: float
) -> list[npt.NDArray[np.float64]]:
    """(Q, C) logits of each of the sets asked; a label that is never or always there has the same everywhere."""
    logits = [np.zeros((part.shape[0], labels.shape[1])) for part in asked]
    for label in np.flatnonzero(labels.any(0) & ~labels.all(0)):
        model = LogisticRegression(C=strength, max_iter=300).fit(learnt, labels[:, label])
        for part, found in zip(asked, logits, strict=True):
            found[:, label] = model.decision_function(part)
    return logits


if __name__ == "__main__":
    main()
