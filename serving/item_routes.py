"""The doors by which items come, change and go while the service runs."""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path

from serving.doors import Owner
from serving.fields import Name
from serving.item_schemas import ItemAnswer, ItemBody, ItemRemoved
from serving.problems import may_fail
from serving.service import unknown_item

items = APIRouter(prefix="/v1", tags=["items"])

ItemId = Annotated[Name, Path(description="Which item; slashes may stand in it.", examples=["242"])]


@items.put(
    "/items/{item_id:name}",
    responses=may_fail(HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def put_item(item_id: ItemId, body: ItemBody, owner: Owner) -> ItemAnswer:
    """Add an item, or replace all that is known of one.

    It is encoded as an item nobody has chosen yet, by its text, categories, numbers and vector; one that the bundle was
    trained on keeps what was learnt of it besides. When the answer comes it is on the disk, and every later request
    finds it, filters included. The first text after a start takes seconds, in which others are answered.
    """
    service = owner.service()
    document = body.document()
    service.items.cold.check(document)
    was_known = service.items.is_offered(service.items.index_of(item_id))
    text = await asyncio.to_thread(service.items.cold.read_text, document)  # slow: neither loop nor model waits for it
    await service.state.change(partial(service.state.items.put, item_id, document, text))
    await owner.run(lambda service: service.take_in())
    return ItemAnswer(
        item_id=item_id,
        was="known" if was_known else "new",
        model=service.bundle.fingerprint,
        warnings=service.items.cold.warnings(document),
    )


@items.delete(
    "/items/{item_id:name}",
    responses=may_fail(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def remove_item(item_id: ItemId, owner: Owner) -> ItemRemoved:
    """Remove an item, of the bundle or put later: no answer that begins after this one has it.

    Histories that hold an item of the bundle still count it; it is not named.
    """
    service = owner.service()
    if not service.items.is_offered(service.items.index_of(item_id)):
        raise unknown_item(item_id)
    await service.state.change(partial(service.state.items.remove, item_id))
    await owner.run(lambda service: service.take_in())
    return ItemRemoved(item_id=item_id, model=service.bundle.fingerprint)
