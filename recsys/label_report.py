"""What a report says of answers to many yes-or-no questions at once: figures with intervals, over all and by label.

Q cases, C labels, S resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.label_calibration import LabelCalibration
from recsys.label_metrics import f1_by_label, macro, pooled_calibration_error, ranked_well
from recsys.lists import Figure

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one scorer said of Q cases."""

    scores: npt.NDArray[np.floating]
    """(Q, C) what cases are ranked by."""
    probabilities: Floats
    """(Q, C)"""
    decisions: Bools
    """(Q, C)"""

    @classmethod
    def of(cls, scores: npt.NDArray[np.floating], calibration: LabelCalibration) -> "Answers":
        """Scores calibrated, and cut at each label's threshold."""
        probabilities = calibration.probabilities(scores)
        return cls(scores, probabilities, calibration.decisions(probabilities))

    def __getitem__(self, rows: Bools) -> "Answers":
        return Answers(self.scores[rows], self.probabilities[rows], self.decisions[rows])


def drawn_figures(answers: Answers, labels: Bools, weights: Floats) -> dict[str, Floats]:
    """Figure → (S,) on each resample that has a case.

    Args:
        answers: Of Q cases.
        labels: ``(Q, C)``.
        weights: ``(S, Q)`` from `label_metrics.user_resamples`; the first row ones.
    """
    weights = weights[weights.any(1)]
    precisions, areas = ranked_well(answers.scores, labels, weights)
    by_label, together = f1_by_label(answers.decisions, labels, weights)
    return {
        "mean_average_precision": macro(precisions),
        "auc": macro(areas),
        "macro_f1": by_label[:, labels.any(0)].mean(1),
        "micro_f1": together,
        "expected_calibration_error": pooled_calibration_error(answers.probabilities, labels, weights),
    }


def figures_of(drawn: Mapping[str, Floats]) -> dict[str, Figure]:
    """Each figure's value and its 95 % interval."""
    return {name: figure_of(figures) for name, figures in drawn.items()}


def figure_of(drawn: Floats) -> Figure:
    """The value, which is the first of (S,), and the interval in which 95 % of the others lie."""
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return {"value": float(drawn[0]), "low": float(low), "high": float(high)}


def figures_by_label(
    answers: Answers, labels: Bools, names: tuple[str, ...], thresholds: Floats
) -> dict[str, dict[str, Any]]:
    """Label → how many cases have it, and how well it is told; null where that cannot be said."""
    once = np.ones((1, len(labels)))
    precisions, areas = ranked_well(answers.scores, labels, once)
    f1, _ = f1_by_label(answers.decisions, labels, once)
    return {
        name: {
            "positives": int(labels[:, at].sum()),
            "average_precision": known(precisions[0, at]),
            "auc": known(areas[0, at]),
            "f1": float(f1[0, at]),
            "expected_calibration_error": float(
                pooled_calibration_error(answers.probabilities[:, [at]], labels[:, [at]], once)[0]
            ),
            "threshold": float(thresholds[at]),
        }
        for at, name in enumerate(names)
    }


def known(figure: float) -> float | None:
    """JSON has no word for what is not a number."""
    return None if np.isnan(figure) else float(figure)
