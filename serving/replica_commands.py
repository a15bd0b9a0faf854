"""``recsys replicas``: the service several times over behind one address, on as many machines as Ray has."""

from pathlib import Path
from typing import Annotated

import typer

from recsys.errors import InputError


def replicas(
    bundle: Annotated[Path | None, typer.Option(help="The folder that `recsys train` left; on every machine.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen at; 0.0.0.0 for all.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port to listen at.")] = None,
    fewest: Annotated[int, typer.Option(min=1, help="Replicas that are always there.")] = 2,
    most: Annotated[int, typer.Option(min=1, help="Replicas while requests queue.")] = 8,
    settings: Annotated[Path | None, typer.Option(help="A TOML file, as for `recsys serve`.")] = None,
) -> None:
    """Answer over HTTP with replicas that Ray starts, adds to and replaces; until stopped.

    RAY_ADDRESS joins a cluster; without it one is started here. Let users' events be shared: RECSYS_STATE__REDIS_URL.
    """
    from serving.settings import read_settings

    try:
        from serving.replicas import run
    except ImportError as missing:
        raise InputError(f"replicas: {missing.name} is missing. pip install 'two-tower-recsys[ray]'.") from None

    if most < fewest:
        raise InputError(f"replicas: --most {most} is less than --fewest {fewest}.")
    given = {"bundle": bundle and bundle.absolute(), "host": host, "port": port}
    chosen = read_settings(settings, server={name: value for name, value in given.items() if value is not None})
    run(chosen, fewest=fewest, most=most)
    typer.echo(
        f"{chosen.server.bundle} at http://{chosen.server.host}:{chosen.server.port}, {fewest} to {most} replicas"
    )
    _wait()


def _wait() -> None:
    """Until Ctrl-C or a signal; Ray ends with this process, where it was started by it."""
    import signal

    signal.sigwait({signal.SIGINT, signal.SIGTERM})
