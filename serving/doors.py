"""What the doors of the HTTP service have in common: whom they ask."""

from typing import Annotated

from fastapi import Depends, Request

from serving.owner import ServiceOwner


def _owner(request: Request) -> ServiceOwner:
    owner: ServiceOwner = request.app.state.owner
    return owner


Owner = Annotated[ServiceOwner, Depends(_owner)]
