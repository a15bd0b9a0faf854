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
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.machine import describe_machine
from recsys.bundle import load_bundle
from recsys.encoders import TextEncoder
from recsys.interests import bundle_taxonomy
from recsys.label_calibration import LabelCalibration
from recsys.label_metrics import mean_average_precision
from recsys.label_report import Answers
from recsys.text_interests import best_linear_head
from recsys.text_lora import TuningConfig, tune_encoder
from recsys.text_training import TextItems, text_report

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
    learnt = items.parts[0]
    encoder = TextEncoder(bundle.config.item_tower.encoder)
    scored, seconds = {}, {}
    began = time.perf_counter()
    scored[FROZEN] = _head(encoder(items.texts), items)
    seconds[FROZEN] = time.perf_counter() - began
    if given.tune:
        began = time.perf_counter()
        model = encoder.model
        texts = [items.texts[row] for row in learnt]
        print("loss", tune_encoder(model, texts, items.labels[learnt], TuningConfig()), flush=True)
        read = model.encode(items.texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
        scored[TUNED] = _head(np.asarray(read, np.float32), items)
        seconds[TUNED] = time.perf_counter() - began
    began = time.perf_counter()
    scored[TF_IDF] = _tf_idf(items)
    seconds[TF_IDF] = time.perf_counter() - began
    answers = {name: one[1] for name, one in scored.items()}
    result: dict[str, Any] = text_report(answers, items, taxonomy.names, scored[FROZEN][2]) | {
        "data": given.name,
        "items": [len(part) for part in items.parts],
        "interests_discovered_from_the_same_vectors": bundle.interests is not None,
        "mean_average_precision_on_validation": {name: one[0] for name, one in scored.items()},
        "seconds": {name: round(took) for name, took in seconds.items()},
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.interests.texts", *sys.argv[1:]]),
    }
    target = given.out / f"interests-text-{given.name}.json"
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    for name, figures in result["scorers"].items():
        print(name, {figure: round(one["value"], 4) for figure, one in figures.items()})


def _head(vectors: npt.NDArray[np.float32], items: TextItems) -> tuple[float, Answers, LabelCalibration]:
    learnt, chosen, reported = items.parts

    def judge(logits: npt.NDArray[np.floating]) -> float:
        return mean_average_precision(logits, items.labels[chosen])

    head, _ = best_linear_head(vectors[learnt], items.labels[learnt], vectors[chosen], judge)
    return _judged(head.logits(vectors[chosen]), head.logits(vectors[reported]), items)


def _tf_idf(items: TextItems) -> tuple[float, Answers, LabelCalibration]:
    parts = [[items.texts[row] for row in part] for part in items.parts]
    reader = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2))
    learnt, chosen, reported = reader.fit_transform(parts[0]), reader.transform(parts[1]), reader.transform(parts[2])
    labels = items.labels[items.parts[0]]
    tried = []
    for strength in STRENGTHS:
        of_chosen, of_reported = _logistic(learnt, labels, (chosen, reported), strength)
        tried.append(_judged(of_chosen, of_reported, items))
    return max(tried, key=lambda one: one[0])


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


def _judged(
    chosen: npt.NDArray[np.floating], reported: npt.NDArray[np.floating], items: TextItems
) -> tuple[float, Answers, LabelCalibration]:
    wanted = items.labels[items.parts[1]]
    calibration = LabelCalibration.fit(chosen, wanted)
    return mean_average_precision(chosen, wanted), Answers.of(reported, calibration), calibration


if __name__ == "__main__":
    main()
