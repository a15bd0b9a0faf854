"""What went wrong, as RFC 9457 puts it: what the service answers with and what its client reads."""

from pydantic import BaseModel, ConfigDict

MEDIA_TYPE = "application/problem+json"


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: str
    """What is wrong, and what was given."""
    pointer: str | None = None
    """Where in the body, as a JSON pointer."""
    parameter: str | None = None
    """Or which parameter of the address."""


class Problem(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = "about:blank"
    """The kind of problem; about:blank where the status says it all."""
    title: str
    """The kind of problem in words."""
    status: int
    """Of the answer, once more."""
    detail: str
    """This very problem: what was found, where, and what to do."""
    instance: str
    """The path that was asked."""
    errors: list[Fault] | None = None
    """Each fault of an invalid request."""
