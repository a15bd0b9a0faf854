"""The ``recsys`` command. Every verb imports what it needs when it is called, so that ``recsys --help`` is quick."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from index.errors import VectorIndexError
from recsys.errors import InputError
from serving import (
    data_commands,
    demo,
    doctor,
    event_commands,
    export_commands,
    index_commands,
    interest_commands,
    key_commands,
    replica_commands,
    train_commands,
)

if TYPE_CHECKING:
    from serving.schemas import RecommendAnswer, RecommendRequest

BAD_INPUT = 2
FAILED = 1


class CleanErrors(TyperGroup):
    """What the user can mend is one message, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except (InputError, VectorIndexError) as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(BAD_INPUT) from None


app = typer.Typer(
    cls=CleanErrors, no_args_is_help=True, help="Two-tower retrieval: from two tables to a served top-k answer."
)
app.add_typer(data_commands.app, name="data")
app.add_typer(event_commands.app, name="events")
app.add_typer(index_commands.app, name="index")
app.add_typer(interest_commands.app, name="interests")
app.add_typer(export_commands.app, name="export")
app.add_typer(key_commands.app, name="keys")
app.command()(demo.demo)
app.command()(train_commands.train)
app.command()(train_commands.evaluate)
app.command()(doctor.doctor)
app.command()(replica_commands.replicas)

BundleOption = Annotated[Path, typer.Option(help="The folder that `recsys train` left.")]


@app.command()
def serve(
    bundle: Annotated[Path | None, typer.Option(help="The folder that `recsys train` left, or a link to it.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen at; 0.0.0.0 for all.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes that share the port.")] = None,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file; see serving/settings.py for all there is.")
    ] = None,
) -> None:
    """Answer over HTTP until stopped. The API is described at /docs.

    Limits, keys, logs and more are set by --settings FILE and by RECSYS_… in the environment.
    """
    from serving.logs import configure_logs
    from serving.server import LoadingFailedError
    from serving.server import serve as serve_until_stopped
    from serving.settings import read_settings

    given = {"bundle": bundle, "host": host, "port": port, "workers": workers}
    chosen = read_settings(settings, server={name: value for name, value in given.items() if value is not None})
    configure_logs(chosen.log)
    try:
        serve_until_stopped(
            chosen, announce=lambda url: print(f"{chosen.server.bundle} at {url}, see {url}/docs", flush=True)
        )
    except LoadingFailedError:  # the log has said why
        raise typer.Exit(FAILED) from None
    except OSError as problem:
        where = f"{chosen.server.host}, port {chosen.server.port}"
        typer.echo(f"Error: cannot listen at {where}: {problem.strerror}. Pass another --port.", err=True)
        raise typer.Exit(FAILED) from None


@app.command()
def recommend(
    bundle: BundleOption,
    user: Annotated[str | None, typer.Option(help="A user_id of the bundle's interactions.")] = None,
    history: Annotated[str, typer.Option(help="Item ids, the oldest first: 242,302. They follow what is stored.")] = "",
    k: Annotated[int, typer.Option("-k", "--k", min=1, max=1000, help="How many items.")] = 10,
    requested_at: Annotated[
        str | None, typer.Option(help="As of when: unix seconds or ISO 8601, UTC unless it says otherwise.")
    ] = None,
    exclude_seen: Annotated[bool, typer.Option(help="Leave out what the history holds.")] = True,
    seen_by: Annotated[
        list[str] | None,
        typer.Option(help="Of the history's items leave out those alone with which this event happened; any number."),
    ] = None,
    intent: Annotated[
        str | None, typer.Option(help="Order by how likely the user does this with an item: buy, view, …")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what brought each item here.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as the HTTP service answers.")] = False,
) -> None:
    """Recommend items to a user, to a history, or to a stranger, as a service of this bundle would answer now."""
    from serving.opening import open_service
    from serving.refusals import RefusedError
    from serving.settings import read_settings
    from serving.state import state_left_by_a_service

    request = _request(
        user_id=user,
        history=[{"item_id": item_id.strip()} for item_id in history.split(",") if item_id.strip()],
        k=k,
        requested_at=None if requested_at is None else _unix_seconds(requested_at),
        exclude_seen=seen_by or exclude_seen,
        intent=intent,
        explain=explain,
    )
    state = state_left_by_a_service(bundle, read_settings().state)
    try:
        answer = open_service(bundle, state=state).recommend(request)
    except RefusedError as refusal:
        raise InputError(f"--{refusal}") from None
    if as_json:
        typer.echo(answer.model_dump_json(exclude_none=True))
    else:
        _print_answer(answer)


def _request(**fields: object) -> "RecommendRequest":
    from pydantic import ValidationError

    from serving.schemas import RecommendRequest

    try:
        return RecommendRequest.model_validate(fields)
    except ValidationError as problem:
        first = problem.errors()[0]
        raise InputError(f"recommend, {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _unix_seconds(instant: str) -> int:
    import polars as pl

    from recsys.instants import unix_seconds

    seconds = unix_seconds(pl.Series([instant]), unit="s")[0]
    if seconds is None:
        raise InputError(f"--requested-at {instant}: no instant. Write 2026-11-22T09:30 or unix seconds.")
    return int(seconds)


def _print_answer(answer: "RecommendAnswer") -> None:
    from rich.console import Console
    from rich.table import Table

    explained = any(item.reasons for item in answer.items)
    table = Table(title=f"{answer.path}, model {answer.model[:12]}", title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("item_id", no_wrap=True)
    table.add_column("title")
    table.add_column("score", justify="right")
    events = list(next((item.intents for item in answer.items if item.intents), {}))
    likely = ["probability", *events] if any(item.probability is not None for item in answer.items) else []
    for heading in likely:
        table.add_column(heading, justify="right")
    if explained:
        table.add_column("because of")
    for rank, item in enumerate(answer.items, start=1):
        cells = [str(rank), item.item_id, item.title, f"{item.score:.3f}"]
        shares = {"probability": item.probability, **(item.intents or {})}
        cells += ["" if shares.get(name) is None else f"{shares[name]:.4f}" for name in likely]
        if item.reasons:
            carriers = item.reasons.followed or item.reasons.alike
            cells.append(", ".join(carrier.title or carrier.item_id for carrier in carriers))
        table.add_row(*cells)
    Console().print(table)
    for warning in answer.warnings:
        Console(file=sys.stderr).print(warning, style="yellow", markup=False)
