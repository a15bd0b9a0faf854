"""What the doors of the HTTP service have in common: whom they ask, and what is done before asking."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request
from starlette.convertors import PathConvertor, register_url_convertor

from serving.owner import ServiceOwner
from serving.schemas import RecommendRequest


class NameConvertor(PathConvertor):
    """The name of a user or an item in an address, ``{item_id:name}``: slashes and line ends may stand in it."""

    regex = "(?s:.*)"


register_url_convertor("name", NameConvertor())


def owner_of(request: Request) -> ServiceOwner:
    """Who runs the model of the app that a request came to."""
    owner: ServiceOwner = request.app.state.owner
    return owner


Owner = Annotated[ServiceOwner, Depends(owner_of)]


async def read_ahead(owner: ServiceOwner, requests: Sequence[RecommendRequest]) -> None:
    """Read the texts of items that requests bring along, where neither the loop nor the model waits for it.

    Raises:
        NotReadyError: Nothing is loaded yet.
        UnavailableError: There is no encoder to read them.
    """
    told = [event.item.document() for request in requests for event in request.history if event.item is not None]
    if told:
        await asyncio.to_thread(owner.service().items.cold.remember, told)
