"""The interest classifier: P(the user turns to an interest within the horizon | history, instant), and its file.

Q cases, C interests, D width.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict

from recsys.bundle import Bundle
from recsys.companion import load_companion, save_companion
from recsys.interactions import Interactions
from recsys.interest_cases import horizon_name
from recsys.interest_evidence import EvidenceReader
from recsys.interest_head import Evidence, HeadConfig, InterestHead
from recsys.label_calibration import LabelCalibration
from recsys.split import Cases
from recsys.taxonomy import Taxonomy

FILE = "interest_classifier.safetensors"
VERB = "interests train"
LAYOUT = 3
"""The number of the file's format; 1 was a head of one hidden layer, 2 knew nothing of single items."""
CALIBRATION = ("slope", "offset", "threshold")


@dataclass(frozen=True)
class ExpectedInterest:
    """How likely a user turns to an interest."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    name: str
    """Which interest."""
    probability: float
    """That they choose something of it within the horizon, should they come at the instant asked about."""
    expected: bool
    """Whether the probability is above the interest's threshold, at which F1 was largest on validation."""


@dataclass(frozen=True, eq=False)
class InterestClassifier:
    """A trained head and what its logits mean."""

    names: tuple[str, ...]
    """(C,)"""
    horizon_s: int | None
    """How far ahead is looked; None looks at the next event."""
    usual: npt.NDArray[np.float64]
    """(C,) shares of the interests in the training rows."""
    head: InterestHead
    config: HeadConfig
    calibration: LabelCalibration
    fingerprint: str
    """Of the bundle whose towers it reads."""

    def probabilities(self, evidence: Evidence) -> npt.NDArray[np.float64]:
        """(Q, C) calibrated."""
        return self.calibration.probabilities(self.head.logits(evidence))

    def ranked(self, evidence: Evidence) -> list[ExpectedInterest]:
        """Every interest of one case, Q = 1, the likeliest first."""
        probabilities = self.probabilities(evidence)
        expected = self.calibration.decisions(probabilities)[0]
        order = np.argsort(-probabilities[0], kind="stable")
        return [ExpectedInterest(self.names[at], float(probabilities[0, at]), bool(expected[at])) for at in order]


@dataclass(frozen=True, eq=False)
class InterestForecast:
    """A bundle's classifier with all it reads; made once for a bundle."""

    classifier: InterestClassifier
    reader: EvidenceReader

    @classmethod
    def of(cls, bundle: Bundle, taxonomy: Taxonomy, classifier: InterestClassifier) -> "InterestForecast":
        """Put together what belongs together: see `load_classifier`."""
        reader = EvidenceReader.of(bundle, taxonomy, classifier.usual, horizon_s=classifier.horizon_s)
        return cls(classifier, reader)

    @property
    def horizon(self) -> str:
        """How far ahead is looked, in words."""
        return horizon_name(self.classifier.horizon_s)

    def of_user(self, user_idx: int, events: int, requested_at: int | None) -> list[ExpectedInterest]:
        """For a user of the bundle, after their first so many events.

        Args:
            user_idx: Of the bundle's interactions.
            events: How many of their events are known, at least one.
            requested_at: Unix seconds; the instant of the newest of them unless given, None where there is no clock.
        """
        interactions = self.reader.bundle.interactions
        first = interactions.starts[user_idx]
        stop = first + events
        if requested_at is None and interactions.occurred_at is not None:
            requested_at = int(interactions.occurred_at[stop - 1])
        nothing = np.zeros(0, np.int64)
        asked = None if requested_at is None or interactions.occurred_at is None else np.array([requested_at])
        one = Cases(np.array([user_idx]), np.array([first]), np.array([stop]), nothing, nothing, asked)
        return self.classifier.ranked(self.reader.of_cases(one))

    def of_history(
        self, mass: npt.NDArray[np.float32], history: Interactions, requested_at: int, user_vector: torch.Tensor
    ) -> list[ExpectedInterest]:
        """For any history: see `EvidenceReader.of_history`."""
        return self.classifier.ranked(self.reader.of_history(mass, history, requested_at, user_vector))


def save_classifier(classifier: InterestClassifier, folder: Path) -> None:
    """Keep it in its bundle's folder.

    Raises:
        InputError: The folder holds another bundle.
    """
    tensors = {f"head.{name}": tensor for name, tensor in classifier.head.state_dict().items()}
    tensors |= {name: torch.from_numpy(getattr(classifier.calibration, name)) for name in CALIBRATION}
    tensors["usual"] = torch.from_numpy(classifier.usual)
    facts = {
        "interests": classifier.names,
        "horizon_s": classifier.horizon_s,
        "head": asdict(classifier.config),
    }
    save_companion(folder / FILE, tensors, facts, fingerprint=classifier.fingerprint, verb=VERB, layout=LAYOUT)


def load_classifier(folder: Path, *, fingerprint: str) -> InterestClassifier | None:
    """The classifier of a bundle; None where none was trained.

    Args:
        folder: The bundle's.
        fingerprint: Of the bundle it is to be used with.

    Raises:
        InputError: It is damaged, of another format, or of another bundle.
    """
    found = load_companion(folder / FILE, fingerprint=fingerprint, verb=VERB, layout=LAYOUT)
    if found is None:
        return None
    tensors, facts = found
    config = HeadConfig(**facts["head"])
    head = InterestHead(
        features=len(tensors["head.mean"]) - 1,
        width=tensors["head.user.weight"].shape[1],
        interests=len(facts["interests"]),
        hidden=config.hidden,
        dropout=config.dropout,
    )
    head.load_state_dict({name[5:]: tensor for name, tensor in tensors.items() if name.startswith("head.")})
    return InterestClassifier(
        names=tuple(facts["interests"]),
        horizon_s=facts["horizon_s"],
        usual=tensors["usual"].numpy(),
        head=head.eval(),
        config=config,
        calibration=LabelCalibration(*(tensors[name].numpy() for name in CALIBRATION)),
        fingerprint=fingerprint,
    )
