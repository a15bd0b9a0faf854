"""How good an interest classifier is on the test period, beside what needs no learning: overall, by label, by group.

Q cases, C interests, S resamples of users.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from recsys.bundle import Bundle
from recsys.drift import drift_groups
from recsys.interest_baselines import BASELINES
from recsys.interest_cases import horizon_name, labels_of
from recsys.interest_pasts import Pasts
from recsys.interest_training import Trained
from recsys.label_calibration import LabelCalibration
from recsys.label_metrics import mean_average_precision, ranked_well, user_resamples
from recsys.label_report import Answers, Bools, drawn_figures, figure_of, figures_by_label, figures_of, known
from recsys.split import Cases

DRAWS = 200
CLASSIFIER = "classifier"


def interest_report(bundle: Bundle, trained: Trained) -> dict[str, Any]:
    """Everything interests.json says. Baselines choose their form on validation and are calibrated there as well."""
    cases, seed = trained.cases, trained.classifier.config.seed
    labels = labels_of(cases.test, bundle.interactions, trained.reader.taxonomy)
    answers: dict[str, Answers] = {
        CLASSIFIER: Answers.of(
            trained.classifier.head.logits(trained.reader.of_cases(cases.test)), trained.classifier.calibration
        )
    }
    forms = {}
    for kind, judged, theirs in _chosen_baselines(bundle, trained):
        forms[kind], answers[kind] = judged, theirs
    weights = user_resamples(cases.test.user_idx, draws=DRAWS, rng=np.random.default_rng(seed))
    drawn = {name: drawn_figures(one, labels, weights) for name, one in answers.items()}
    best = max(BASELINES, key=lambda kind: drawn[kind]["mean_average_precision"][0])
    ours = drawn[CLASSIFIER]["mean_average_precision"]
    over = {
        kind: {"mean_average_precision": figure_of(ours / drawn[kind]["mean_average_precision"] - 1)}
        for kind in BASELINES
    }
    return {
        "protocol": _protocol(bundle, trained) | {"baseline_forms_on_validation": forms, "draws": DRAWS},
        "scorers": {name: figures_of(figures) for name, figures in drawn.items()},
        "over_best_baseline": {"baseline": best, **over[best]},
        "over_baselines": over,
        "labels": _by_label(answers, labels, trained, best=best),
        "groups": {
            group: {
                name: figures_of(drawn_figures(one[rows], labels[rows], weights[:, rows]))
                for name, one in answers.items()
            }
            | {"cases": int(rows.sum())}
            for group, rows in _groups(bundle, trained).items()
            if rows.any()
        },
    }


def _chosen_baselines(bundle: Bundle, trained: Trained) -> Iterator[tuple[str, dict[str, float], Answers]]:
    """Of each kind: how well its forms rank validation, best first, and what the best of them says of test."""
    interactions, taxonomy = bundle.interactions, trained.reader.taxonomy
    validation, test = (
        Pasts.of_cases(part, interactions, taxonomy, horizon_s=trained.cases.horizon_s)
        for part in (trained.cases.validation, trained.cases.test)
    )
    wanted, usual = labels_of(trained.cases.validation, interactions, taxonomy), trained.classifier.usual
    for kind, forms in BASELINES.items():
        judged = {form: mean_average_precision(score(validation, usual), wanted) for form, score in forms.items()}
        ranked = dict(sorted(judged.items(), key=lambda one: -one[1]))
        best = forms[next(iter(ranked))]
        calibration = LabelCalibration.fit(best(validation, usual), wanted)
        yield kind, ranked, Answers.of(best(test, usual), calibration)


def _by_label(answers: Mapping[str, Answers], labels: Bools, trained: Trained, *, best: str) -> dict[str, Any]:
    """Label → what the classifier makes of it, and the average precision of the best baseline."""
    ours = figures_by_label(
        answers[CLASSIFIER], labels, trained.classifier.names, trained.classifier.calibration.threshold
    )
    theirs, _ = ranked_well(answers[best].scores, labels, np.ones((1, len(labels))))
    return {
        name: figures | {"average_precision_of_best_baseline": known(theirs[0, at])}
        for at, (name, figures) in enumerate(ours.items())
    }


def _groups(bundle: Bundle, trained: Trained) -> dict[str, Bools]:
    """Test cases by the length of their history, and by whether interests moved before the user was first asked."""
    cases = trained.cases.test
    lengths = cases.stops - cases.starts
    firsts = np.unique(cases.user_idx, return_index=True)[1]
    users = Cases(
        user_idx=cases.user_idx[firsts],
        starts=cases.starts[firsts],
        stops=cases.stops[firsts],
        target_rows=np.zeros(0, np.int64),
        target_cases=np.zeros(0, np.int64),
        requested_at=None if cases.requested_at is None else cases.requested_at[firsts],
    )
    moved = drift_groups(bundle.interactions, trained.reader.taxonomy, users, seed=trained.classifier.config.seed)
    return {
        "history 1-9": lengths < 10,
        "history 10-49": (lengths >= 10) & (lengths < 50),
        "history 50-199": (lengths >= 50) & (lengths < 200),
        "history 200+": lengths >= 200,
    } | {group: np.isin(cases.user_idx, users.user_idx[rows]) for group, rows in moved.items()}


def _protocol(bundle: Bundle, trained: Trained) -> dict[str, Any]:
    cases = trained.cases
    return {
        "split": trained.reader.bundle.config.split.kind,
        "horizon_s": cases.horizon_s,
        "horizon": horizon_name(cases.horizon_s),
        "asked": "when a user comes, and again when they come after the horizon has passed",
        "macro": "mean over the interests that any test case turns to",
        "intervals": "95 %, bootstrap over users",
        "cases": {name: len(getattr(cases, name)) for name in ("train", "validation", "test")},
        "test_users": len(np.unique(cases.test.user_idx)),
        "interests": len(trained.classifier.names),
        "validation_curve": trained.curve,
        "seed": trained.classifier.config.seed,
        "fingerprint": bundle.fingerprint,
    }
