"""Items told to the service while it runs."""

from typing import Literal

from pydantic import ConfigDict

from serving.fields import AnswerModel, ItemFields


class ItemBody(ItemFields):
    """All that is known of an item: it replaces whatever was known before, so what is left out is unknown."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"title": "Heat 2", "categories": ["Crime", "Drama"], "numbers": {"year": 2026}},
                {"title": "红楼梦", "description": "A novel of the 18th century.", "categories": ["小说"]},
            ]
        }
    )


class ItemAnswer(AnswerModel):
    """The item is on the disk, and in the next recommendation."""

    item_id: str
    """Which item."""
    was: Literal["new", "known"]
    """Whether it was added, or took the place of what was known of it."""
    model: str
    """The fingerprint of the bundle that encoded it."""
    warnings: list[str]
    """What of it the towers cannot use, and why."""


class ItemRemoved(AnswerModel):
    """The item is in no answer any more, nor after a restart or under another bundle, until it is put again."""

    item_id: str
    """Which item."""
    model: str
    """The fingerprint of the bundle that answered."""
