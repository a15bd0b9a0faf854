"""How far long work has come, on standard error: standard output is for answers."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_of(what: str, *, disable: bool = False) -> Progress:
    """A bar that counts to a known number, and says how long is left.

    Args:
        what: Is being done, in a word or two.
        disable: Draws nothing, as for work of a moment.
    """
    columns = (TextColumn(what), BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=disable)
