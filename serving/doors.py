"""What the doors of the HTTP service have in common: whom they ask."""

from typing import Annotated

from fastapi import Depends, Request

from serving.owner import ServiceOwner


def owner_of(request: Request) -> ServiceOwner:
    """Who runs the model of the app that a request came to."""
    owner: ServiceOwner = request.app.state.owner
    return owner


Owner = Annotated[ServiceOwner, Depends(owner_of)]
