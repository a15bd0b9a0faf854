"""``recsys export``: a bundle's parts in forms that other programs read."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Write a bundle's parts in forms that other programs read.", no_args_is_help=True)


@app.callback()
def export() -> None:
    """Write a bundle's parts in forms that other programs read."""


@app.command()
def onnx(bundle: Annotated[Path, typer.Option(help="The folder that `recsys train` left.")]) -> None:
    """The user tower as ONNX, float32 and int8, into the bundle: `recsys serve` takes the quickest that agrees."""
    from recsys.bundle import load_bundle
    from serving.onnx_export import export_user_tower

    for path in export_user_tower(load_bundle(bundle), bundle):
        typer.echo(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
