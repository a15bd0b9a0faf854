"""Train the text classifier of a bundle on the texts of its items, and report it on items that were held out.

N items, Q items with a text, T width of a text vector, C interests.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recsys.bundle import Bundle
from recsys.encoders import read_texts
from recsys.errors import InputError
from recsys.features import EncodeText
from recsys.interests import bundle_taxonomy
from recsys.label_calibration import LabelCalibration
from recsys.label_metrics import mean_average_precision, user_resamples
from recsys.label_report import Answers, Bools, drawn_figures, figures_by_label, figures_of
from recsys.taxonomy import Taxonomy
from recsys.text_interests import LinearHead, TextInterests, best_linear_head, own_texts
from recsys.text_lora import TuningConfig, tune_encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SHARES = (0.7, 0.85)
"""Where the items' random order is cut: learnt from, held out for choosing, held out for the report."""
FEWEST_ITEMS = 50
DRAWS = 200
FROZEN, TUNED, POPULARITY = "head on sentence vectors", "head on fine-tuned vectors", "popularity"


@dataclass(frozen=True, eq=False)
class TextItems:
    """Items with a text and an interest, in three parts."""

    texts: list[str]
    """(Q,)"""
    labels: Bools
    """(Q, C)"""
    parts: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
    """Rows to learn from, to choose by, to report."""

    @classmethod
    def of(cls, bundle: Bundle, taxonomy: Taxonomy) -> "TextItems":
        """The bundle's items, parted by its seed.

        Raises:
            InputError: Too few have a text and an interest, or there is nothing to tell apart.
        """
        texts = own_texts(bundle.catalogue)
        held = taxonomy.shares.toarray() > 0
        rows = np.array([row for row, text in enumerate(texts) if text and held[row].any()], dtype=np.int64)
        if len(rows) < FEWEST_ITEMS or len(taxonomy) < 2:
            raise InputError(
                f"{len(rows)} items have a title or description and an interest, and there are {len(taxonomy)} "
                f"interests. A text classifier needs {FEWEST_ITEMS} and 2: give the items texts and categories."
            )
        order = np.random.default_rng(bundle.config.seed).permutation(len(rows))
        first, second = (int(share * len(rows)) for share in SHARES)
        return cls([texts[row] for row in rows], held[rows], (order[:first], order[first:second], order[second:]))


@dataclass(frozen=True, eq=False)
class FittedHead:
    """The head that does best on one reading of the texts."""

    head: LinearHead
    penalty: float
    calibration: LabelCalibration
    validation: float
    """Mean average precision of the items to choose by."""
    answers: Answers
    """To the items to report."""

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32], items: TextItems) -> "FittedHead":
        """Learnt from the first part of the items' vectors ``(Q, T)``, chosen and calibrated by the second."""
        learnt, chosen, reported = items.parts

        def judge(logits: npt.NDArray[np.floating]) -> float:
            return mean_average_precision(logits, items.labels[chosen])

        head, penalty = best_linear_head(vectors[learnt], items.labels[learnt], vectors[chosen], judge)
        logits = head.logits(vectors[chosen])
        calibration = LabelCalibration.fit(logits, items.labels[chosen])
        return cls(head, penalty, calibration, judge(logits), Answers.of(head.logits(vectors[reported]), calibration))


@dataclass(frozen=True, eq=False)
class TrainedTextInterests:
    """A text classifier, what reads for it, and how good it is."""

    classifier: TextInterests
    tuned: "SentenceTransformer | None"
    """The fine-tuned encoder, where validation likes it better; it is saved with the classifier."""
    report: dict[str, Any]
    """What text_interests.json says."""


def train_text_interests(
    bundle: Bundle,
    encode: EncodeText,
    *,
    encoder: str,
    to_tune: "SentenceTransformer | None" = None,
    tuning: TuningConfig | None = None,
) -> TrainedTextInterests:
    """Learn from item texts which interests a text is about.

    Args:
        bundle: Whose items and interests.
        encode: Reads texts.
        encoder: Its fingerprint.
        to_tune: A copy of the same encoder, which is fine-tuned in place; whether it is kept, validation says.
        tuning: How; the defaults unless given.

    Raises:
        InputError: Too few items have a text and an interest, there is nothing to tell apart, or the encoder cannot be
            fine-tuned.
    """
    taxonomy = bundle_taxonomy(bundle)
    items = TextItems.of(bundle, taxonomy)
    tuning = tuning or TuningConfig(seed=bundle.config.seed)
    fitted = {FROZEN: FittedHead.of(encode(items.texts), items)}
    if to_tune is not None:
        fitted[TUNED] = FittedHead.of(tuned_vectors(to_tune, items, tuning), items)
    best = max(fitted, key=lambda name: fitted[name].validation)
    kept = fitted[best]
    classifier = TextInterests(taxonomy.names, kept.head, kept.calibration, encoder, bundle.fingerprint)
    answers = {name: fitted[name].answers for name in sorted(fitted, key=lambda name: name != best)}
    protocol = {
        "texts": "title and description of items, without their categories",
        "items": {name: len(rows) for name, rows in zip(("train", "validation", "test"), items.parts, strict=True)},
        "interests": len(taxonomy),
        "discovered": bundle.interests is not None,
        "penalty": kept.penalty,
        "mean_average_precision_on_validation": {name: one.validation for name, one in fitted.items()},
        "kept": best,
        "tuning": None if to_tune is None else asdict(tuning),
        "encoder": encoder,
        "fingerprint": bundle.fingerprint,
    }
    report = text_report(answers | {POPULARITY: popularity(items)}, items, taxonomy.names, kept.calibration)
    return TrainedTextInterests(classifier, to_tune if best == TUNED else None, report | {"protocol": protocol})


def tuned_vectors(to_tune: "SentenceTransformer", items: TextItems, tuning: TuningConfig) -> npt.NDArray[np.float32]:
    """``(Q, T)`` the vectors of all items after the encoder was fine-tuned, in place, on those to learn from."""
    learnt = items.parts[0]
    tune_encoder(to_tune, [items.texts[row] for row in learnt], items.labels[learnt], tuning)
    return read_texts(to_tune, items.texts)


def text_report(
    answers: Mapping[str, Answers], items: TextItems, names: tuple[str, ...], calibration: LabelCalibration
) -> dict[str, Any]:
    """Figures of the held-out items, each with its interval, and those of the first scorer by label.

    Args:
        answers: Scorer → what it said of the items to report.
        items: All.
        names: ``(C,)``.
        calibration: Of the first scorer.
    """
    reported = items.parts[2]
    labels = items.labels[reported]
    weights = user_resamples(reported, draws=DRAWS, rng=np.random.default_rng(0))
    return {
        "scorers": {name: figures_of(drawn_figures(one, labels, weights)) for name, one in answers.items()},
        "labels": figures_by_label(next(iter(answers.values())), labels, names, calibration.threshold),
    }


def popularity(items: TextItems) -> Answers:
    """Every interest as likely as it is among the items learnt from."""
    learnt, chosen, reported = items.parts
    share = items.labels[learnt].mean(0)
    logits = np.log((share + 1e-6) / (1 - share + 1e-6))
    calibration = LabelCalibration.fit(np.tile(logits, (len(chosen), 1)), items.labels[chosen])
    return Answers.of(np.tile(logits, (len(reported), 1)), calibration)
