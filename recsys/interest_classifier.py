"""The interest classifier: P(the user turns to an interest within the horizon | history, instant), and its file.

It lies beside a bundle's core and carries the bundle's fingerprint: with another bundle's towers it would be wrong
without anybody noticing, so it is refused there. Q cases, C interests, F features, D width.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from recsys.bundle import Bundle, read_manifest, write_manifest
from recsys.errors import InputError
from recsys.interactions import Interactions
from recsys.interest_cases import horizon_name
from recsys.interest_evidence import EvidenceReader
from recsys.interest_head import Evidence, HeadConfig, InterestHead
from recsys.label_calibration import LabelCalibration
from recsys.split import Cases
from recsys.taxonomy import Taxonomy

FORMAT = 1
FILE = "interest_classifier.safetensors"
CALIBRATION = ("slope", "offset", "threshold")


@dataclass(frozen=True)
class ExpectedInterest:
    """How likely a user turns to an interest."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    name: str
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
    """Write it into its bundle's folder, beside and renamed, and list it in the manifest.

    Raises:
        InputError: The folder holds another bundle.
    """
    _refuse_other(classifier.fingerprint, read_manifest(folder)["fingerprint"], folder)
    numbers = {name: torch.from_numpy(getattr(classifier.calibration, name)) for name in CALIBRATION}
    tensors = {f"head.{name}": tensor for name, tensor in classifier.head.state_dict().items()}
    told = {
        "format": FORMAT,
        "fingerprint": classifier.fingerprint,
        "interests": classifier.names,
        "horizon_s": classifier.horizon_s,
        "head": asdict(classifier.config),
    }
    beside = folder / f"{FILE}.new"
    save_file(
        tensors | numbers | {"usual": torch.from_numpy(classifier.usual)},
        beside,
        metadata={"interest_classifier": json.dumps(told, ensure_ascii=False)},
    )
    beside.replace(folder / FILE)
    write_manifest(folder)


def load_classifier(folder: Path, *, fingerprint: str) -> InterestClassifier | None:
    """The classifier of a bundle; None where none was trained.

    Args:
        folder: The bundle's.
        fingerprint: Of the bundle it is to be used with.

    Raises:
        InputError: It is damaged, of another format, or of another bundle.
    """
    path = folder / FILE
    if not path.exists():
        return None
    remedy = f"Train it again: recsys interests train --bundle {folder}"
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != read_manifest(folder)["files"].get(FILE):
            raise InputError(f"{path}: its sha256 is not the manifest's: damaged, or from another run. {remedy}.")
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {}).get("interest_classifier", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read ({error}). {remedy}.") from None
    if told.get("format") != FORMAT:
        raise InputError(f"{path}: format {told.get('format')!r}; this version reads format {FORMAT}. {remedy}.")
    _refuse_other(told["fingerprint"], fingerprint, folder)
    config = HeadConfig(**told["head"])
    head = InterestHead(
        features=len(tensors["head.mean"]),
        width=tensors["head.user.weight"].shape[1],
        interests=len(told["interests"]),
        hidden=config.hidden,
        dropout=config.dropout,
    )
    head.load_state_dict({name[5:]: tensor for name, tensor in tensors.items() if name.startswith("head.")})
    return InterestClassifier(
        names=tuple(told["interests"]),
        horizon_s=told["horizon_s"],
        usual=tensors["usual"].numpy(),
        head=head.eval(),
        config=config,
        calibration=LabelCalibration(*(tensors[name].numpy() for name in CALIBRATION)),
        fingerprint=told["fingerprint"],
    )


def _refuse_other(mine: str, fingerprint: str, folder: Path) -> None:
    if mine != fingerprint:
        raise InputError(
            f"{folder / FILE}: made for bundle {mine[:12]}, the bundle here is {fingerprint[:12]}. "
            f"Train it again: recsys interests train --bundle {folder}."
        )
