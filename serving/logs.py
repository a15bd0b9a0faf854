"""How the log looks: one line for each thing said, as text for a terminal or as JSON for a collector."""

import hmac
import logging
import secrets
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from serving.request_log import request_id
from serving.settings import LogSettings

FACTS = ("method", "route", "status", "ms", "key_id", "user")
"""What a line may carry besides its words; nothing else that a library attaches gets through."""


def configure_logs(settings: LogSettings) -> None:
    """Send all that is logged in this process to standard error, in one form."""
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    if settings.format == "text":
        renderer = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "logger", "event"])
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(allow=FACTS),
            _add_request_id,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,  # the lines of code, never the values in them
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler])


def user_tags(settings: LogSettings) -> Callable[[str], str]:
    """What stands for a user in the log: the same for the same user, and without the key nobody can say whose."""
    key = secrets.token_bytes(32) if settings.user_key is None else settings.user_key.get_secret_value().encode()
    return lambda user_id: hmac.digest(key, user_id.encode(errors="replace"), "sha256").hex()[:16]


def _add_request_id(_: object, __: str, said: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if name := request_id.get():
        said["request_id"] = name
    return said
