"""What requests and answers are made of: bounded types, the two kinds of model, a place, what is told of an item.

A text in a docstring under a field is also its description on /docs.
"""

from typing import Annotated, Any, Protocol, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from serving.item_store import ItemDocument

MAX_VALUE = 3.4e38
"""About the largest float32, which is what a value is kept as."""
MOST_IN_VECTOR = 1e6
YEAR_10000 = 253_402_300_800
"""Unix seconds. No calendar date reaches it, but every time since 1978 does when milliseconds are read as seconds."""


def _in_seconds(instant: int) -> int:
    if instant >= YEAR_10000:
        raise PydanticCustomError(
            "not_seconds", "Past the year 9999 in seconds, so it looks like milliseconds: divide it by 1000"
        )
    return instant


def _whole(number: Any) -> Any:
    """In JSON 3.0 is an integer too; Python's parser alone tells them apart."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


class RequestModel(BaseModel):
    """What comes in: checked strictly, nothing unknown let through."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class AnswerModel(BaseModel):
    """What goes out."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Whole = Annotated[int, BeforeValidator(_whole)]
Instant = Annotated[
    int,
    Field(ge=0, json_schema_extra={"exclusiveMaximum": YEAR_10000}),
    AfterValidator(_in_seconds),
    BeforeValidator(_whole),  # the last one reads first
]
Value = Annotated[float, Field(allow_inf_nan=False, ge=-MAX_VALUE, le=MAX_VALUE)]
Latitude = Annotated[float, Field(allow_inf_nan=False, ge=-90, le=90)]
Longitude = Annotated[float, Field(allow_inf_nan=False, ge=-180, le=180)]
Component = Annotated[float, Field(allow_inf_nan=False, ge=-MOST_IN_VECTOR, le=MOST_IN_VECTOR)]


class Place(RequestModel):
    """Somewhere on earth."""

    lat: Latitude
    """Degrees north."""
    lon: Longitude
    """Degrees east."""


class Placed(Protocol):
    """Something that may have happened somewhere."""

    lat: Latitude | None
    lon: Longitude | None


P = TypeVar("P", bound=Placed)


def whole_place(event: P) -> P:
    """As a model's validator: a place has both degrees or neither."""
    if (event.lat is None) != (event.lon is None):
        raise PydanticCustomError("half_a_place", "A place needs both lat and lon")
    return event


class ItemFields(RequestModel):
    """What is told of an item, as the columns of the items table."""

    title: str = Field("", max_length=10_000)
    """What a person calls it."""
    description: str = Field("", max_length=100_000)
    """Longer text; the sentence encoder reads its beginning."""
    categories: Annotated[list[Name], Field(max_length=1_000)] = []
    """What kinds of thing it is. Those the bundle was not trained on are filtered by, and read as text."""
    numbers: Annotated[dict[Name, Value], Field(max_length=1_000)] = {}
    """The catalogue's numeric columns; one that is left out is unknown."""
    vector: Annotated[list[Component], Field(min_length=1, max_length=100_000)] | None = None
    """Ready-made, where the catalogue's items have one, and of the same width."""

    def document(self) -> ItemDocument:
        """The same as it is kept."""
        return ItemDocument(
            title=self.title,
            description=self.description,
            categories=tuple(dict.fromkeys(self.categories)),
            numbers=dict(self.numbers),
            vector=None if self.vector is None else tuple(self.vector),
        )
