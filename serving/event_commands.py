"""``recsys events``: users' events into the store of a service and out of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serving.state import State

app = typer.Typer(help="Put users' events into the store of a service, or take them out.", no_args_is_help=True)

BundleOption = Annotated[Path | None, typer.Option(help="The bundle that is served; the store lies beside it.")]
SettingsOption = Annotated[Path | None, typer.Option("--settings", help="The service's TOML file of settings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("import")
def import_(
    bundle: BundleOption = None,
    interactions: Annotated[
        Path | None, typer.Option(help="Who did what when: a table as for training. Without it, the bundle's own.")
    ] = None,
    settings: SettingsOption = None,
    as_json: AsJson = False,
) -> None:
    """Add a table of events. Those the store holds already, and those of deleted users, are left out."""
    from recsys.bundle import load_bundle
    from serving.event_table import events_of_bundle, events_of_file, import_events

    with _opened(bundle, settings) as (state, folder):
        parts = events_of_file(interactions) if interactions else events_of_bundle(load_bundle(folder))
        done = import_events(state.histories, parts)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
    else:
        typer.echo(
            f"{done.read:,} events read, {done.new:,} new, {done.of_deleted_users:,} of deleted users left out. "
            f"Of each user the newest {state.histories.retention.max_events:,} are kept."
        )


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The Parquet file to write; `recsys train --interactions` reads it.")],
    bundle: BundleOption = None,
    settings: SettingsOption = None,
    as_json: AsJson = False,
) -> None:
    """Write all stored events to a Parquet file."""
    from serving.event_table import export_events

    with _opened(bundle, settings) as (state, _):
        written = export_events(state.histories, out)
    typer.echo(json.dumps({"events": written, "file": str(out)}) if as_json else f"{written:,} events in {out}.")


@contextmanager
def _opened(bundle: Path | None, settings: Path | None) -> Iterator[tuple["State", Path]]:
    """The state that the service uses, and the bundle it serves."""
    from recsys.errors import InputError
    from serving.refusals import UnavailableError
    from serving.settings import read_settings
    from serving.state import state_for

    told = read_settings(settings)
    folder = bundle or told.server.bundle
    if folder is None:
        raise InputError("events: which store? Pass --bundle DIR, or --settings FILE that names one.")
    state = state_for(folder, told.state)
    try:
        yield state, folder
    except UnavailableError as problem:
        raise InputError(f"events: the store failed on the way: {problem} What is done already counts.") from problem
    finally:
        state.close()
