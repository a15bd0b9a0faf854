"""Which interests a text is about: P(interest | what a user writes), learnt from the catalogue's own texts.

A head over the vectors of the bundle's sentence encoder, or of a copy fine-tuned for it: one logistic regression per
interest. It lies beside the bundle's core and carries the fingerprints of the bundle, whose interests it names, and of
the encoder, whose vectors it reads. Q texts, C interests, T width of a text vector.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict
from torch import Tensor
from torch.nn import functional as F

from recsys.bundle import write_manifest
from recsys.catalogue import Catalogue
from recsys.companion import load_companion, save_companion
from recsys.encoder_folders import encoder_fingerprint
from recsys.errors import InputError
from recsys.label_calibration import LabelCalibration

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FILE = "text_interests.safetensors"
TUNED = "text_encoder"
"""How folders of encoders that were fine-tuned for the classifier begin; their fingerprint follows."""
VERB = "interests train-text"
LAYOUT = 1
"""The number of the file's format."""
CALIBRATION = ("slope", "offset", "threshold")
PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""On squared weights; validation chooses."""
ROUNDS = 100
"""Of L-BFGS, at most."""

Vectors = npt.NDArray[np.float32]
Judge = Callable[[npt.NDArray[np.floating]], float]


@dataclass(frozen=True)
class TextInterest:
    """How likely a text is about an interest."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    name: str
    """Which interest."""
    probability: float
    """That an item with such a text would be of this interest."""
    about: bool
    """Whether the probability is above the interest's threshold, at which F1 was largest on held-out items."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Vectors → logits."""

    weight: Tensor
    """(T, C) float32"""
    bias: Tensor
    """(C,) float32"""

    def logits(self, vectors: Vectors) -> npt.NDArray[np.float32]:
        """(Q, C) of ``(Q, T)``."""
        return np.asarray(torch.from_numpy(vectors) @ self.weight + self.bias, np.float32)


@dataclass(frozen=True, eq=False)
class TextInterests:
    """A trained head and what its logits mean."""

    names: tuple[str, ...]
    """(C,)"""
    head: LinearHead
    calibration: LabelCalibration
    encoder: str
    """The fingerprint of the sentence encoder whose vectors it reads."""
    fingerprint: str
    """Of the bundle whose interests it names."""
    tuned: Path | None = None
    """The folder of the encoder, where it was fine-tuned for this; None where it is the bundle's."""

    def ranked(self, vector: Vectors, *, encoder: str) -> list[TextInterest]:
        """Every interest, the likeliest first.

        Args:
            vector: ``(1, T)`` of a text.
            encoder: The fingerprint of what read it.

        Raises:
            InputError: Another encoder read it.
        """
        if encoder != self.encoder:
            raise InputError(
                f"the text was read by encoder {encoder[:12]}, the classifier has learnt from {self.encoder[:12]}. "
                "Install the encoder it was trained with, or train it again: recsys interests train-text."
            )
        probabilities = self.calibration.probabilities(self.head.logits(vector))
        about = self.calibration.decisions(probabilities)[0]
        order = np.argsort(-probabilities[0], kind="stable")
        return [TextInterest(self.names[at], float(probabilities[0, at]), bool(about[at])) for at in order]


def own_texts(catalogue: Catalogue) -> list[str]:
    """(N + 1,) what is written about each item: title and description, without the categories that are to be told."""
    return [". ".join(filter(None, one)) for one in zip(catalogue.titles, catalogue.descriptions, strict=True)]


def fit_linear_head(vectors: Vectors, labels: npt.NDArray[np.bool_], *, penalty: float) -> LinearHead:
    """Logistic regression of each label, all at once.

    Args:
        vectors: ``(Q, T)`` unit rows.
        labels: ``(Q, C)``.
        penalty: Mean cross-entropy is added so much of half the squared weights.
    """
    rows, targets = torch.from_numpy(vectors), torch.from_numpy(labels.astype(np.float32))
    weight = torch.zeros(rows.shape[1], targets.shape[1], requires_grad=True)
    bias = torch.logit((targets.sum(0) + 0.5) / (len(targets) + 1)).requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        losses = F.binary_cross_entropy_with_logits(rows @ weight + bias, targets, reduction="none")
        loss = losses.mean(0).sum() + penalty / 2 * (weight**2).sum()  # each label has its own regression
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)
    return LinearHead(weight.detach(), bias.detach())


def best_linear_head(
    vectors: Vectors, labels: npt.NDArray[np.bool_], validation: Vectors, judge: Judge
) -> tuple[LinearHead, float]:
    """The head of the penalty that validation likes best, and the penalty.

    Args:
        vectors: ``(Q, T)`` to learn from.
        labels: ``(Q, C)``.
        validation: Vectors of held-out texts.
        judge: How good logits of those are; larger is better.
    """
    heads = {penalty: fit_linear_head(vectors, labels, penalty=penalty) for penalty in PENALTIES}
    best = max(heads, key=lambda penalty: judge(heads[penalty].logits(validation)))
    return heads[best], best


def save_text_interests(
    trained: TextInterests, folder: Path, *, tuned: "SentenceTransformer | None" = None
) -> TextInterests:
    """Keep it in its bundle's folder, and the encoder that was fine-tuned for it in a folder of its own there.

    Args:
        trained: By this bundle's items.
        folder: The bundle's.
        tuned: What read the texts it has learnt from; None where that was the bundle's encoder.

    Returns:
        The classifier as it lies there: it knows its encoder.

    Raises:
        InputError: The folder holds another bundle.
    """
    if tuned is not None:
        trained = replace(trained, **_save_encoder(tuned, folder))
    tensors = {name: torch.from_numpy(getattr(trained.calibration, name)) for name in CALIBRATION}
    tensors |= {"weight": trained.head.weight, "bias": trained.head.bias}
    facts = {"encoder": trained.encoder, "interests": trained.names, "tuned": trained.tuned and trained.tuned.name}
    save_companion(folder / FILE, tensors, facts, fingerprint=trained.fingerprint, verb=VERB, layout=LAYOUT)
    outdated = [old for old in folder.glob(f"{TUNED}-*") if old != trained.tuned]
    for old in outdated:
        shutil.rmtree(old)
    if outdated:
        write_manifest(folder)
    return trained


def load_text_interests(folder: Path, *, fingerprint: str) -> TextInterests | None:
    """The text classifier of a bundle; None where none was trained.

    Args:
        folder: The bundle's.
        fingerprint: Of the bundle it is to be used with.

    Raises:
        InputError: It or its encoder is damaged, of another format, or of another bundle.
    """
    found = load_companion(folder / FILE, fingerprint=fingerprint, verb=VERB, layout=LAYOUT)
    if found is None:
        return None
    tensors, facts = found
    tuned = folder / facts["tuned"] if facts.get("tuned") else None  # older classifiers do not say
    if tuned is not None and (not tuned.is_dir() or encoder_fingerprint(tuned) != facts["encoder"]):
        raise InputError(
            f"{tuned}: is not the encoder that the text classifier has learnt from: damaged, or from another run. "
            f"Train it again: recsys {VERB} --tune --bundle {folder}."
        )
    return TextInterests(
        names=tuple(facts["interests"]),
        head=LinearHead(tensors["weight"], tensors["bias"]),
        calibration=LabelCalibration(*(tensors[name].numpy() for name in CALIBRATION)),
        encoder=facts["encoder"],
        fingerprint=fingerprint,
        tuned=tuned,
    )


def _save_encoder(tuned: "SentenceTransformer", folder: Path) -> dict[str, Any]:
    """Put it into the bundle's folder, by its fingerprint: the classifier that is there may still need another."""
    beside = folder / f"{TUNED}.new"
    shutil.rmtree(beside, ignore_errors=True)
    tuned.save(str(beside), create_model_card=False)
    fingerprint = encoder_fingerprint(beside)
    place = folder / f"{TUNED}-{fingerprint[:16]}"
    shutil.rmtree(place, ignore_errors=True)
    beside.rename(place)
    return {"encoder": fingerprint, "tuned": place}
