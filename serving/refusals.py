"""Why something that is well formed is not done all the same. The doors turn each into a problem document."""


class RefusedError(ValueError):
    """A part of a request that this bundle cannot take."""

    def __init__(self, place: tuple[str | int, ...], message: str, *, given: object = None) -> None:
        """What is wrong.

        Args:
            place: The steps to it from the body.
            message: What is wrong with it and what would not be.
            given: The offending value.
        """
        super().__init__(f"{'.'.join(map(str, place))}: {message}")
        self.place = place
        self.message = message
        self.given = given

    def under(self, *place: str | int) -> "RefusedError":
        """The same refusal of a request that is itself a part of a larger one."""
        return RefusedError((*place, *self.place), self.message, given=self.given)


class UnavailableError(RuntimeError):
    """Something that is needed does not answer at present. The message names it; asking again may help."""
