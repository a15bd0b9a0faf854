"""``recsys keys``: make, list and revoke the keys that callers of the service show."""

from pathlib import Path
from typing import Annotated

import typer

from recsys.errors import InputError
from serving.keys import KeyRing, Scope, create_key, read_keys, write_keys

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

KeyFile = Annotated[Path, typer.Option("--file", help="Where hashes of keys are kept; RECSYS_ACCESS__KEY_FILE.")]


@app.command()
def create(
    file: KeyFile,
    scope: Annotated[list[Scope], typer.Option(help="read, write or admin; may be given several times.")],
    note: Annotated[str, typer.Option(help="Whose key it is.")] = "",
) -> None:
    """Make a key and print it. It is not kept and cannot be shown again. A running service takes it within seconds."""
    ring = read_keys(file) if file.exists() else KeyRing(())
    key, kept = create_key(scope, note=note)
    write_keys(file, KeyRing((*ring.keys, kept)))
    typer.echo(key)


@app.command("list")
def list_keys(file: KeyFile) -> None:
    """Say which keys there are: id, scopes, when made, whose."""
    for key in read_keys(file).keys:
        typer.echo(f"{key.key_id}  {','.join(key.scopes):<16}  {key.created_at}  {key.note}")


@app.command()
def revoke(file: KeyFile, key_id: Annotated[str, typer.Argument(help="As `recsys keys list` shows it.")]) -> None:
    """Take a key back. A running service refuses it within seconds."""
    ring = read_keys(file)
    left = tuple(key for key in ring.keys if key.key_id != key_id)
    if len(left) == len(ring.keys):
        raise InputError(f"{file}: no key {key_id}. `recsys keys list --file {file}` shows those there are.")
    write_keys(file, KeyRing(left))
