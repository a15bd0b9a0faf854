"""What a request may wish of its answer besides relevance: filters, and diversity at a price."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from serving.fields import AnswerModel, Name, RequestModel, Value

MAX_NAMES = 10_000

Names = Annotated[list[Name], Field(max_length=MAX_NAMES)]


class Bounds(RequestModel):
    """From where to where a number may lie, both ends included; at least one is given."""

    min: Value | None = None
    """The lowest; left out, there is none."""
    max: Value | None = None
    """The highest; left out, there is none."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is None and self.max is None:
            raise PydanticCustomError("no_bound", "Give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError("bounds_crossed", "min is above max, so nothing lies between")
        return self


class Filters(RequestModel):
    """Which items may be in the answer. All conditions hold together; k items come where k are eligible."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"any_of": ["Comedy", "Drama"], "none_of": ["Horror"], "ranges": {"year": {"min": 1990}}}]
        }
    )

    allow: Names | None = None
    """Only these item ids; an empty list lets none through."""
    deny: Names = Field([])
    """Not these item ids."""
    any_of: Names = Field([])
    """At least one of these categories."""
    all_of: Names = Field([])
    """Every one of these categories."""
    none_of: Names = Field([])
    """None of these categories."""
    ranges: dict[Name, Bounds] = Field({}, max_length=100)
    """Numeric column of the catalogue → its bounds. An item whose number is unknown never fits."""


class Diversity(RequestModel):
    """Trade some score for an answer whose items are less alike (maximal marginal relevance)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"strength": 0.4, "max_per_category": 3}]})

    strength: float = Field(0.3, ge=0, le=1, allow_inf_nan=False)
    """0 leaves the ranking as it is; at 1 the first item is followed by whatever is least like what stands before."""
    max_per_category: int | None = Field(None, ge=1)
    """No category has more items in the answer than this; an item of several categories counts in each."""


class DiversityPrice(AnswerModel):
    """What diversity cost, and what it bought."""

    score_given_up: float
    """Mean score of the k best less that of the items given; in the unit of this answer's scores."""
    replaced: int
    """How many of the k best items are not in the answer."""
    alikeness_before: float
    """Of the k best items: the mean cosine of each to the one most like it among them, in [-1, 1]."""
    alikeness_after: float
    """The same of the items given."""
