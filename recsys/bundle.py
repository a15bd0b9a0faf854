"""The folder a run leaves and serving reads: written beside and renamed, checked file by file when it is loaded.

Row number = item_idx = index id; row 0 is padding.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsys.catalogue import Catalogue, load_catalogue
from recsys.config import Config, config_toml, read_config
from recsys.errors import InputError
from recsys.features import Vocabulary
from recsys.interactions import Interactions
from recsys.opinions import Opinions, SecondTower
from recsys.prior import TransitionPrior
from recsys.recommend import Reorder
from recsys.rerank import Reranker, Reranking
from recsys.towers import ItemTower, TwoTower, UserTower
from recsys.transitions import TransitionCounter

FORMAT = 1
MANIFEST = "manifest.json"
CORE = (
    "config.toml",
    "vocabulary.json",
    "catalogue.parquet",
    "interactions.parquet",
    "towers.safetensors",
    "item_vectors.npy",
    "query_vectors.npy",
    "prior.safetensors",
    "training.json",
)
"""What every bundle has and the fingerprint covers: all that decides an answer. Reports and indexes lie beside."""
RERANKER = "reranker.safetensors"
"""Where it paid to have one; the fingerprint covers it then."""
SECOND_TOWER = "second_tower.safetensors"
"""Where one was trained, likewise."""
OPTIONAL = (RERANKER, SECOND_TOWER)
PRIOR_NUMBERS = ("weight", "floor", "damping")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained run, ready to answer."""

    config: Config
    catalogue: Catalogue
    vocabulary: Vocabulary
    interactions: Interactions
    """Every checked interaction of the run's table, held-out ones included: the users' stored histories."""
    model: TwoTower
    """In evaluation mode, on the CPU."""
    item_vectors: npt.NDArray[np.float32]
    """(N + 1, D) unit rows, row 0 zeros."""
    query_vectors: npt.NDArray[np.float32]
    """(Q, D) user vectors of validation cases: what real questions to an index look like."""
    prior: TransitionPrior | None
    """None where the config leaves it out."""
    training: dict[str, Any]
    """The curve, the protocol and the fingerprint of the rows trained on."""
    interests: Sequence[Sequence[str]] | None = None
    """(N + 1,) those discovered in each item's text; None where the categories are the interests."""
    reranker: Reranker | None = None
    """None where the config leaves it out, or where it did not pay."""
    second_tower: SecondTower | None = None
    """The reranker's second opinion; None where the config leaves it out, or a reranker could not be learnt."""
    fingerprint: str = ""
    """Of all core files; indexes and answers carry it."""

    @property
    def intents(self) -> tuple[str, ...]:
        """The event types that can be asked for; none where the reranker has no heads."""
        return () if self.reranker is None else self.reranker.intent_names

    def reorder(self, item_vectors: Tensor) -> Reorder | None:
        """What orders the retrieved: the reranker, else the prior, else nothing.

        Args:
            item_vectors: ``(more than N, D)`` unit rows, of items that came after training too.
        """
        if self.reranker is not None:
            return Reranking(self.reranker, item_vectors)
        return None if self.prior is None else self.prior.reorder


def save_bundle(bundle: Bundle, folder: Path) -> str:
    """Write a bundle beside ``folder``, then rename it into place: a killed run leaves no half bundle.

    Returns:
        Its fingerprint.

    Raises:
        InputError: ``folder`` holds something that is not a bundle.
    """
    refuse_foreign_folder(folder)
    folder = folder.resolve()
    beside, old = sibling(folder, "new"), sibling(folder, "old")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    (beside / "config.toml").write_text(config_toml(bundle.config), encoding="utf-8")
    _write_json(beside / "vocabulary.json", asdict(bundle.vocabulary) | {"interests": bundle.interests})
    _write_json(beside / "training.json", bundle.training)
    bundle.catalogue.save(beside / "catalogue.parquet")
    _interactions_frame(bundle.interactions).write_parquet(beside / "interactions.parquet")
    save_file(bundle.model.state_dict(), beside / "towers.safetensors")
    np.save(beside / "item_vectors.npy", bundle.item_vectors)
    np.save(beside / "query_vectors.npy", bundle.query_vectors)
    prior = bundle.prior
    tensors = {} if prior is None else prior.counter.tensors()
    numbers = None if prior is None else {name: getattr(prior, name) for name in PRIOR_NUMBERS}
    # One entry: several would be written in any order, and the same bundle would get another fingerprint.
    save_file(tensors, beside / "prior.safetensors", metadata={"prior": json.dumps(numbers)})
    if (second_tower := bundle.second_tower) is not None:
        save_file(second_tower.tensors(), beside / SECOND_TOWER)
    if (reranker := bundle.reranker) is not None:
        save_file(reranker.tensors(), beside / RERANKER, metadata={"reranker": reranker.facts()})
    fingerprint = write_manifest(beside)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return fingerprint


def refuse_foreign_folder(folder: Path) -> None:
    """Nothing but a bundle is ever overwritten.

    Raises:
        InputError: ``folder`` is a file, or holds something that is not a bundle.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file, and a bundle is a folder. Pass --out another name.")
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise InputError(f"{folder}: holds files but no {MANIFEST}, so it is no bundle. Pass --out another folder.")


def sibling(folder: Path, what: str) -> Path:
    """A hidden folder beside a bundle's, for what is not finished: ``runs/.demo.new`` beside ``runs/demo``."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.{what}")


def _finish_killed_save(folder: Path) -> None:
    """Put back what a kill between the two renames of `save_bundle` left beside its place."""
    new, old = sibling(folder, "new"), sibling(folder, "old")
    if not folder.exists() and old.exists():
        (new if (new / MANIFEST).exists() else old).rename(folder)


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle, after every core file has been compared with the manifest.

    Raises:
        InputError: No bundle, another format, or a file that is missing, damaged or from another run.
    """
    manifest = read_manifest(folder)
    for name in CORE:
        _check(folder / name, manifest["files"].get(name))
    if manifest["fingerprint"] != _fingerprint(manifest["files"]):
        raise InputError(f"{folder / MANIFEST}: its fingerprint is not that of the files it lists. Train again.")
    for name in OPTIONAL:
        if name in manifest["files"]:
            _check(folder / name, manifest["files"][name])
    config = read_config(folder / "config.toml")
    raw = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    vocabulary = Vocabulary(tuple(raw["categories"]), {name: (m, s) for name, (m, s) in raw["numbers"].items()})
    catalogue = load_catalogue(folder / "catalogue.parquet")
    interactions = _load_interactions(folder / "interactions.parquet")
    prior = _load_prior(folder, config)
    model = _load_towers(folder, config, vocabulary, interactions, num_items=len(catalogue))
    second_tower = _load_second_tower(folder, config, interactions) if SECOND_TOWER in manifest["files"] else None
    opinions = Opinions(model.user_tower, second_tower)
    return Bundle(
        config=config,
        catalogue=catalogue,
        vocabulary=vocabulary,
        interactions=interactions,
        model=model,
        item_vectors=np.load(folder / "item_vectors.npy", allow_pickle=False),
        query_vectors=np.load(folder / "query_vectors.npy", allow_pickle=False),
        prior=prior,
        reranker=_load_reranker(folder, prior, opinions) if RERANKER in manifest["files"] else None,
        second_tower=second_tower,
        training=json.loads((folder / "training.json").read_text(encoding="utf-8")),
        interests=raw.get("interests"),
        fingerprint=manifest["fingerprint"],
    )


def write_manifest(folder: Path) -> str:
    """List every file of a bundle with its sha256; call it again when a report or an index was added.

    Returns:
        The fingerprint, which depends on the core files alone.
    """
    files = {
        str(path.relative_to(folder)): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    fingerprint = _fingerprint(files)
    beside = folder / f"{MANIFEST}.new"
    _write_json(
        beside,
        {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
            "files": files,
        },
    )
    beside.replace(folder / MANIFEST)
    return fingerprint


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle.

    Raises:
        InputError: There is none, it cannot be read, or another format wrote it.
    """
    _finish_killed_save(folder)
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder}: no bundle here ({MANIFEST} is missing). Make one with `recsys train`.") from None
    except ValueError:
        raise InputError(f"{path}: damaged, not JSON. Restore the bundle or train it again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise InputError(f"{path}: format {found!r}; this version reads format {FORMAT}. Train the bundle again.")
    if not isinstance(manifest.get("files"), dict) or not isinstance(manifest.get("fingerprint"), str):
        raise InputError(f"{path}: damaged, it lacks files or fingerprint. Restore the bundle or train it again.")
    return manifest


def _fingerprint(files: Mapping[str, str]) -> str:
    core = {name: files[name] for name in (*CORE, *OPTIONAL) if name in CORE or name in files}
    return hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()


def _check(path: Path, expected: str | None) -> None:
    if expected is None:
        raise InputError(f"{path.parent / MANIFEST}: does not list {path.name}. Restore the bundle or train it again.")
    if not path.exists():
        raise InputError(f"{path}: missing from the bundle. Restore it or train again.")
    if (found := _sha256(path)) != expected:
        raise InputError(
            f"{path}: sha256 {found[:12]}…, the manifest says {expected[:12]}…: damaged, or from another run. "
            "Restore the bundle or train it again."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, tree: Any) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=1), encoding="utf-8")


def _interactions_frame(interactions: Interactions) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "user_id": np.array(interactions.user_ids, dtype=object)[interactions.user_idx],
        "item_idx": interactions.item_idx,
        "file_row": interactions.file_row,
        "event": pl.Series(interactions.event_names, dtype=pl.String).gather(interactions.event.astype(np.int64)),
        "value": interactions.value,
    }
    for name in ("occurred_at", "lat", "lon"):
        if (values := getattr(interactions, name)) is not None:
            columns[name] = values
    return pl.DataFrame(columns, schema_overrides={"user_id": pl.String, "event": pl.Enum(interactions.event_names)})


def _load_interactions(path: Path) -> Interactions:
    frame = pl.read_parquet(path)
    event = frame["event"].dtype
    assert isinstance(event, pl.Enum)  # as `_interactions_frame` wrote it
    runs = frame["user_id"].rle().struct.unnest()  # a user's rows stand together
    optional = {
        name: frame[name].to_numpy() if name in frame.columns else None for name in ("occurred_at", "lat", "lon")
    }
    return Interactions(
        user_ids=runs["value"].to_list(),
        starts=np.concatenate([[0], runs["len"].cum_sum().to_numpy()]).astype(np.int64),
        item_idx=frame["item_idx"].to_numpy(),
        file_row=frame["file_row"].to_numpy(),
        event=frame["event"].to_physical().to_numpy().astype(np.int16),
        event_names=event.categories.to_list(),
        value=frame["value"].to_numpy(),
        **optional,
    )


def _load_towers(
    folder: Path, config: Config, vocabulary: Vocabulary, interactions: Interactions, *, num_items: int
) -> TwoTower:
    weights = load_file(folder / "towers.safetensors")
    text = weights.get("item_tower.text.weight")
    towers = TwoTower(
        ItemTower(
            config.item_tower,
            width=config.width,
            num_items=num_items,
            text_width=0 if text is None else text.shape[1],
            num_categories=len(vocabulary.categories),
            num_numbers=len(vocabulary.numbers),
        ),
        UserTower(config, num_events=len(interactions.event_names), value_edges=weights["user_tower.value_edges"]),
    )
    towers.load_state_dict(weights)
    return towers.eval()


def _load_prior(folder: Path, config: Config) -> TransitionPrior | None:
    with safe_open(folder / "prior.safetensors", framework="pt") as file:
        numbers = json.loads(file.metadata()["prior"])
        if numbers is None:
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
    return TransitionPrior(TransitionCounter.from_tensors(tensors, config.prior), config.train.temperature, **numbers)


def _load_second_tower(folder: Path, config: Config, interactions: Interactions) -> SecondTower:
    return SecondTower.from_tensors(load_file(folder / SECOND_TOWER), config, num_events=len(interactions.event_names))


def _load_reranker(folder: Path, prior: TransitionPrior | None, opinions: Opinions) -> Reranker:
    assert prior is not None  # without its counts there would be no reranker
    with safe_open(folder / RERANKER, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
        return Reranker.from_tensors(tensors, file.metadata()["reranker"], prior, opinions)
