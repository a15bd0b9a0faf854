"""A file of tensors that lies beside a bundle's core and belongs to it alone: it carries the bundle's fingerprint.

What was learnt from one bundle's towers and interests would be wrong with another's without anybody noticing, so it is
refused there, and so is a damaged file.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recsys.bundle import read_manifest, write_manifest
from recsys.errors import InputError

FACTS = "facts"


def save_companion(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], *, fingerprint: str, verb: str, layout: int
) -> None:
    """Write it into its bundle's folder, beside and renamed, and list it in the manifest.

    Args:
        path: In the bundle's folder.
        tensors: By name.
        facts: What else is to be known, as JSON can say it.
        fingerprint: Of the bundle it was made from.
        verb: The command that makes it, for messages.
        layout: The number of the format; a reader refuses any other.

    Raises:
        InputError: The folder holds another bundle.
    """
    _refuse_other(fingerprint, read_manifest(path.parent)["fingerprint"], path, verb)
    told = {"format": layout, "fingerprint": fingerprint, **facts}
    beside = path.with_name(f"{path.name}.new")
    save_file(dict(tensors), beside, metadata={FACTS: json.dumps(told, ensure_ascii=False)})
    beside.replace(path)
    write_manifest(path.parent)


def load_companion(
    path: Path, *, fingerprint: str, verb: str, layout: int
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Its tensors and facts; None where the bundle has none.

    Args:
        path: In the bundle's folder.
        fingerprint: Of the bundle it is to be used with.
        verb: The command that makes it, for messages.
        layout: The number of the format that is read.

    Raises:
        InputError: It is damaged, of another format, or of another bundle.
    """
    if not path.exists():
        return None
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != read_manifest(path.parent)["files"].get(path.name):
            raise InputError(
                f"{path}: its sha256 is not the manifest's: damaged, or from another run. {_remedy(path, verb)}"
            )
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(FACTS, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read ({error}). {_remedy(path, verb)}") from None
    if facts.get("format") != layout:
        raise InputError(
            f"{path}: format {facts.get('format')!r}; this version reads format {layout}. {_remedy(path, verb)}"
        )
    _refuse_other(facts["fingerprint"], fingerprint, path, verb)
    return tensors, facts


def _refuse_other(mine: str, fingerprint: str, path: Path, verb: str) -> None:
    if mine != fingerprint:
        raise InputError(
            f"{path}: made for bundle {mine[:12]}, the bundle here is {fingerprint[:12]}. {_remedy(path, verb)}"
        )


def _remedy(path: Path, verb: str) -> str:
    return f"Train it again: recsys {verb} --bundle {path.parent}."
