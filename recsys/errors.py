"""The one error a user's input can raise: it names the value, the place and the remedy."""


class InputError(ValueError):
    """Input that the user can mend. The message says what was found, where, and what to do."""
