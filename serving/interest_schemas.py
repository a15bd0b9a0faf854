"""A text whose interests are asked for."""

from typing import Annotated

from pydantic import ConfigDict, Field

from serving.fields import RequestModel


class TextBody(RequestModel):
    """What a user writes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "a war film with robots"}]})

    # Not \S: what counts as a space differs between the readers of this pattern.
    text: Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"[^ \t\r\n]")]
    """A query, a review, a line about themselves. The encoder reads its first few hundred words."""
