"""Everything about a running service that an operator may set, by environment, by a TOML file, or on the command line.

The environment is stronger than the file: ``RECSYS_LIMITS__MAX_IN_FLIGHT=64`` is ``max_in_flight = 64`` under
``[limits]``. Every name stands in a group because Kubernetes puts RECSYS_PORT into the environment of any pod that can
see a service called recsys, and means something else by it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from recsys.errors import InputError

PREFIX = "RECSYS_"
BETWEEN = "__"

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ServerSettings(_Group):
    """What is served and where, and how it stops."""

    bundle: Path | None = None
    """The folder that `recsys train` left, or a link to it."""
    host: str = "127.0.0.1"
    """The address to listen at; 0.0.0.0 for all."""
    port: int = Field(8000, ge=0, le=65_535)
    """0 takes any that is free."""
    workers: int = Field(1, ge=1, le=64)
    """Processes that share the port, each with a model and an index of its own."""
    drain_s: Seconds = 10.0
    """How long requests under way may take to finish once the service is told to stop."""
    keep_alive_s: Seconds = 75.0
    """How long an idle connection stays open: longer than balancers and clients keep theirs, so that no request meets
    a connection that is just being closed."""
    telemetry: bool = False
    """Send traces and metrics by OpenTelemetry, as the OTEL_… variables say; needs the extra `otel`."""


class LimitSettings(_Group):
    """What one request may ask for, and how many may ask at once. Past a limit the answer is a problem, and quick."""

    max_in_flight: int = Field(128, ge=1)
    """Requests being answered at once; one more is told 503 and when to come back."""
    retry_after_s: int = Field(1, ge=1)
    """What those are told."""
    timeout_s: Seconds = 10.0
    """From the first byte of a request to its answer; past it the answer is 503."""
    max_body_bytes: int = Field(8 * 2**20, ge=1)
    max_path_bytes: int = Field(8_192, ge=1)
    """Of the address with its query."""
    max_header_bytes: int = Field(16_384, ge=1)
    """Of all headers together."""


class BatchSettings(_Group):
    """How requests that come together share one pass through the model and one search."""

    max_requests: int = Field(16, ge=1)
    """As many as one batch may hold; 1 answers one by one. More make no answer come sooner once the tower is busy."""
    gather_ms: float = Field(0.0, ge=0, le=1_000)
    """How long the first of a batch may wait for as many as came together last time. Alone, nothing ever waits."""


class TowerSettings(_Group):
    """How user vectors are computed."""

    runtime: Literal["auto", "torch", "onnx", "onnx-int8"] = "auto"
    """auto takes the quickest on this machine among torch and what `recsys export onnx` left in the bundle."""
    min_agreement: Share = 0.98
    """The least share of torch's ten nearest items that a runtime must find; below it, auto passes it over."""
    cached_vectors: int = Field(100_000, ge=0)
    """Histories of which user vectors are kept, the least recently used dropped first; 0 keeps none. Of one bundle with
    second towers that is four vectors each, 200 MB at the default."""


class AccessSettings(_Group):
    """Who may ask what, and how often. Without a key file everyone who reaches the port may do everything."""

    key_file: Path | None = None
    """Made by `recsys keys create`; read again when it changes."""
    rate_limit: str | None = None
    """Per key, or per address where there are no keys: "100/second", "5000/minute; 50/second"."""
    rate_storage: SecretStr = SecretStr("async+memory://")
    """Where the counts are kept; async+redis://… shares them among replicas."""
    metrics_need_key: bool = False
    """Whether /metrics asks for a key of scope read; else it is open, as scrapers expect."""


class LogSettings(_Group):
    """What is written on standard error. Never a key, a header, a body, or a user_id in the clear."""

    level: Literal["debug", "info", "warning", "error"] = "warning"
    """info writes a line for every request."""
    format: Literal["text", "json"] = "text"
    user_key: SecretStr | None = None
    """Users are told apart in logs by a hash under this key; left out, a new one at every start."""


class StateSettings(_Group):
    """Where users' events and items that came later are kept; bundles come and go, this stays."""

    folder: Path | None = None
    """Left out, films.state beside the bundle's folder films."""
    redis_url: SecretStr | None = None
    """redis://host:6379/0 for users' events that several machines share; needs the extra `redis`."""
    user_key: SecretStr | None = None
    """Deleted users are remembered by a hash under this key; left out, one is made and kept with the events."""
    max_events: int = Field(1_000, ge=1)
    """The newest of a user, no fewer than the bundle reads."""
    max_age_days: float | None = Field(None, gt=0, le=100_000, allow_inf_nan=False)
    """Events that happened longer ago are neither read nor kept; left out, age does not count."""


class SwapSettings(_Group):
    """How a new bundle takes over while the service runs."""

    watch_s: Seconds = 0.0
    """How often to look whether the bundle's folder, or the link in its place, has changed; 0 never looks."""


class TrialSettings(_Group):
    """A second bundle beside the first, for some users or in the shadow."""

    bundle: Path | None = None
    share: Share = 0.0
    """Of users who are answered by the second bundle; who is whose follows from the user_id alone."""
    shadow: bool = False
    """Answer everyone by the first bundle, let the second answer that share as well, and only compare."""
    salt: SecretStr = SecretStr("trial")
    """Another salt deals the users anew."""


class Settings(BaseSettings):
    """The whole of it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=BETWEEN,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    batch: BatchSettings = BatchSettings()
    tower: TowerSettings = TowerSettings()
    access: AccessSettings = AccessSettings()
    log: LogSettings = LogSettings()
    state: StateSettings = StateSettings()
    swap: SwapSettings = SwapSettings()
    trial: TrialSettings = TrialSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in code, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def read_settings(file: Path | None = None, *, server: Mapping[str, Any] | None = None) -> Settings:
    """The settings of the environment and a TOML file.

    Args:
        file: None reads the environment alone.
        server: What the command line says of the server; stronger than both.

    Raises:
        InputError: There is no such file, or a setting is unknown or out of bounds; the message names it.
    """
    if file is not None and not file.is_file():
        raise InputError(f"--settings {file}: no such file.")
    _refuse_unknown_groups(os.environ)

    class SettingsOfFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        read = SettingsOfFile(server=dict(server or {}))
        # A class made here cannot be sent to another process.
        return Settings.model_construct(**{group: getattr(read, group) for group in Settings.model_fields})
    except ValidationError as problem:
        raise InputError(_told(problem, file)) from None
    except ValueError as problem:  # TOML that is none
        raise InputError(f"{file or 'the environment'}: {problem}.") from None


def _refuse_unknown_groups(environment: Mapping[str, str]) -> None:
    for name in environment:
        group, between, _ = name.removeprefix(PREFIX).partition(BETWEEN)
        if name.startswith(PREFIX) and between and group.lower() not in Settings.model_fields:
            raise InputError(f"{name}: no such setting. The groups are {', '.join(Settings.model_fields)}.")


def _told(problem: ValidationError, file: Path | None) -> str:
    first = problem.errors()[0]
    place = [str(part) for part in first["loc"]]
    variable = PREFIX + BETWEEN.join(place).upper()
    return f"setting {'.'.join(place)}: {first['msg']}. It comes from {variable}{f' or {file}' if file else ''}."
