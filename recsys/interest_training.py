"""Train the interest classifier of a bundle: cases by time, evidence, head, calibration.

Q cases, C interests.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recsys.bundle import Bundle
from recsys.errors import InputError
from recsys.interest_cases import InterestCases, labels_of, settle_horizon, split_interest_cases
from recsys.interest_classifier import InterestClassifier
from recsys.interest_evidence import EvidenceReader
from recsys.interest_head import HeadConfig, fit_head, lean_on_best_count
from recsys.interests import bundle_taxonomy
from recsys.label_calibration import LabelCalibration
from recsys.label_metrics import mean_average_precision
from recsys.split import make_split, thinned
from recsys.strata import Population

MOST_ANSWERS = 14_000_000
"""Cases times interests that are learnt from, and that validation is asked: 1.3 GB of evidence. On completejourney half
as many ranked 0.6 % worse."""
MOST_CASES = 40_000
"""Each costs a pass of the user tower."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A classifier and what it was made from, for its report."""

    classifier: InterestClassifier
    reader: EvidenceReader
    cases: InterestCases
    curve: list[float]
    """Mean average precision on validation, check by check."""


def train_interest_classifier(
    bundle: Bundle, *, horizon_s: int | None = None, config: HeadConfig | None = None
) -> Trained:
    """Learn from the bundle's training rows; stop, calibrate and decide by its validation period.

    Args:
        bundle: Its split is made again as its config says.
        horizon_s: How far ahead to look; settled by the training rows unless given.
        config: Of the head.

    Raises:
        InputError: There are fewer than two interests, or the horizon leaves no case.
    """
    config = config or HeadConfig(seed=bundle.config.seed)
    taxonomy = bundle_taxonomy(bundle)
    if len(taxonomy) < 2:
        raise InputError(
            f"the items are of {len(taxonomy)} interests, and a classifier needs two. Give the items categories, or "
            "texts in which interests can be discovered, and train the bundle again."
        )
    split = make_split(bundle.interactions, bundle.config.split)
    cases = split_interest_cases(split, settle_horizon(split) if horizon_s is None else horizon_s)
    most = min(MOST_CASES, max(MOST_ANSWERS // len(taxonomy), 1))
    cases = replace(cases, train=thinned(cases.train, most), validation=thinned(cases.validation, most))
    usual = Population.of(split.train, taxonomy).share
    reader = EvidenceReader.of(bundle, taxonomy, usual, horizon_s=cases.horizon_s)

    validation = reader.of_cases(cases.validation)
    wanted = labels_of(cases.validation, bundle.interactions, taxonomy)

    def judge(logits: npt.NDArray[np.floating]) -> float:
        return mean_average_precision(logits, wanted)

    labels = labels_of(cases.train, bundle.interactions, taxonomy)
    head, curve = fit_head(reader.of_cases(cases.train), labels, cases.train.user_idx, validation, judge, config)
    head = lean_on_best_count(head, validation, judge)
    classifier = InterestClassifier(
        names=taxonomy.names,
        horizon_s=cases.horizon_s,
        usual=usual,
        head=head,
        config=config,
        calibration=LabelCalibration.fit(head.logits(validation), wanted),
        fingerprint=bundle.fingerprint,
    )
    return Trained(classifier, reader, cases, curve)
