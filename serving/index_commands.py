"""``recsys index``: build the index of a bundle, or measure which kind serves it best."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from index.filters import Attributes
    from index.kinds import Kind
    from index.tune import Reading, Tuning
    from index.vector_index import VectorIndex
    from recsys.bundle import Bundle

INDEX = "index"
TUNING = "index_tuning.json"
CURVE = "index_tuning.png"

app = typer.Typer(help="Build the index of a bundle, or measure which kind serves it best.", no_args_is_help=True)

BundleOption = Annotated[Path, typer.Option(help="The folder that `recsys train` left.")]


@app.command()
def build(
    bundle: BundleOption,
    kind: Annotated[
        str | None, typer.Option(help="Exact, FastScan, IVFFastScan, IVFFlat, HNSW; GpuExact, GpuIVFFlat, …")
    ] = None,
    given: Annotated[list[str] | None, typer.Option("--set", help="A field of the kind: nprobe=64.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build the index: of the kind given, else of the one `tune` chose, else exact where items are few."""
    from index.kinds import to_json
    from recsys.bundle import load_bundle, write_manifest

    loaded = load_bundle(bundle)
    chosen = _kind(bundle, kind, given or [], rows=len(loaded.catalogue))
    version = build_index(loaded, bundle, chosen)
    write_manifest(bundle)
    if as_json:
        typer.echo(json.dumps({"kind": to_json(chosen), "rows": len(loaded.catalogue), "version": str(version)}))
    else:
        typer.echo(f"{version}: {len(loaded.catalogue):,} items, {chosen}")


@app.command()
def tune(
    bundle: BundleOption,
    target_recall: Annotated[float, typer.Option(min=0.0, max=1.0, help="The least share of the exact answer.")] = 0.99,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How long the answers are.")] = 100,
    memory_gb: Annotated[float | None, typer.Option(min=0.0, help="What an index may take; all kinds without.")] = None,
    patience: Annotated[float, typer.Option(min=0.0, help="Seconds one kind may take to build.")] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure recall and time of every kind that fits, on held-out user vectors, and say which to build."""
    from index.tune import tune as measure
    from index.tuning_plot import draw
    from recsys.bundle import load_bundle, write_manifest
    from recsys.errors import InputError

    loaded = load_bundle(bundle)
    if not len(loaded.query_vectors):
        raise InputError(f"{bundle / 'query_vectors.npy'}: no held-out user vectors. Train with validation cases.")
    tuning = measure(
        loaded.item_vectors[1:],
        loaded.query_vectors,
        k=min(k, len(loaded.catalogue)),
        target_recall=target_recall,
        memory_bytes=float("inf") if memory_gb is None else memory_gb * 1e9,
        patience_s=patience,
        progress=lambda reading: None if as_json else typer.echo(_line(reading), err=True),
    )
    document = {**tuning.to_json(), "fingerprint": loaded.fingerprint}
    (bundle / TUNING).write_text(json.dumps(document, indent=2), encoding="utf-8")
    drawn = draw(tuning, bundle / CURVE)
    write_manifest(bundle)
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _say(tuning, bundle, drawn=drawn)


def build_index(bundle: "Bundle", folder: Path, kind: "Kind | None" = None) -> Path:
    """Put an index of the bundle's items, with what filters ask about, into ``folder/index``; returns its version."""
    from index.snapshot import current

    index_of(bundle, kind).save(folder / INDEX)
    return current(folder / INDEX)


def index_of(bundle: "Bundle", kind: "Kind | None" = None) -> "VectorIndex":
    """An index of the bundle's items in memory; of the kind that suits their number unless one is given."""
    import numpy as np

    from index.kinds import default_for
    from index.vector_index import VectorIndex

    rows = len(bundle.catalogue)
    return VectorIndex.build(
        bundle.item_vectors[1:],
        np.arange(1, rows + 1),
        kind=kind or default_for(rows),
        attributes=attributes_of(bundle),
        fingerprint=bundle.fingerprint,
    )


def attributes_of(bundle: "Bundle") -> "Attributes":
    """The categories and numbers of every item, as filters see them."""
    from index.filters import Attributes

    catalogue = bundle.catalogue
    return Attributes(catalogue.categories[1:], {name: column[1:] for name, column in catalogue.numbers.items()})


def _kind(bundle: Path, name: str | None, given: list[str], *, rows: int) -> "Kind":
    from index.kinds import default_for, from_json
    from recsys.errors import InputError

    if name is None and given:
        raise InputError(f"--set {given[0]}: of which kind? Pass --kind too.")
    if name is not None:
        return from_json({"name": name, **dict(map(_field, given))})
    tuned = bundle / TUNING
    return from_json(json.loads(tuned.read_text(encoding="utf-8"))["chosen"]) if tuned.exists() else default_for(rows)


def _field(text: str) -> tuple[str, Any]:
    from recsys.errors import InputError

    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError as cause:
        raise InputError(f"--set {text}: expected FIELD=NUMBER, or FIELD=true.") from cause


def _line(reading: "Reading") -> str:
    return (
        f"{reading.kind!s:75} recall {reading.recall:.4f}  batch 1 {reading.batch_1_ms:7.3f} ms"
        f"  batch 64 {reading.batch_64_qps:9,.0f}/s  {reading.megabytes:8,.0f} MB"
    )


def _say(tuning: "Tuning", bundle: Path, *, drawn: bool) -> None:
    for line in tuning.left_out:
        typer.echo(f"not measured: {line}")
    typer.echo(f"{tuning.chosen}: {tuning.why}.")
    curve = f" and {CURVE}" if drawn else "; install matplotlib for the curve"
    typer.echo(f"{bundle} holds {TUNING}{curve}. `recsys index build --bundle {bundle}` builds it.")
