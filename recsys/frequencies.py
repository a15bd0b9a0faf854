"""How often each item is met, learnt from the stream of batches as they come instead of counted beforehand.

What ``log_q`` needs where the table is too long to be counted first, or where popularity moves while one trains.

Shapes: N items, P targets of a batch.
"""

import numpy as np
import numpy.typing as npt
from torch import Tensor, from_numpy


class StreamedShares:
    """Each item's share of the targets, as one over the mean number of targets between two meetings.

    Yi et al., RecSys 2019, algorithm 2, with two changes. Time is counted in targets, not in batches, so that an item
    met several times in a batch counts as often; and the mean is a plain one until ``memory`` meetings, exponential
    from then on, so that the first meeting of an item is not held against a starting value that somebody guessed.
    """

    def __init__(self, num_items: int, *, memory: int = 100) -> None:
        """Nothing is met yet.

        Args:
            num_items: N.
            memory: Meetings of an item that its share remembers: fewer follow a moving popularity sooner, more are
                less noisy (a relative error of about ``memory ** -0.5``).
        """
        self.memory = memory
        self.now = 0  # targets that have passed
        self.met_at = np.zeros(num_items + 1, np.int64)
        self.meetings = np.zeros(num_items + 1, np.int64)
        self.gap = np.full(num_items + 1, np.inf)  # never met: a share of 0

    def meet(self, targets: npt.NDArray[np.int64]) -> None:
        """Let one batch of P targets pass."""
        items, times = np.unique(targets, return_counts=True)
        self.now += len(targets)
        mean_gap = (self.now - self.met_at[items]) / times
        before = self.meetings[items]
        # Of the last `memory` meetings at most, these are `times`.
        weight = np.minimum(times / np.minimum(before + times, self.memory), 1.0)
        known = np.where(before > 0, self.gap[items], 0.0)  # ∞ times 0 is not a number
        self.gap[items] = known + weight * (mean_gap - known)
        self.meetings[items] += times
        self.met_at[items] = self.now

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """(N + 1,) of all targets that are this item, 0 for one that was never met. They add up to about 1."""
        found: npt.NDArray[np.float64] = 1 / self.gap
        return found

    def state(self) -> dict[str, Tensor]:
        """What a resumed training goes on from."""
        return {
            "now": from_numpy(np.array(self.now)),
            "met_at": from_numpy(self.met_at),
            "meetings": from_numpy(self.meetings),
            "gap": from_numpy(self.gap),
        }

    def go_on_from(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` left."""
        self.now = int(state["now"])
        self.met_at, self.meetings, self.gap = (state[name].numpy().copy() for name in ("met_at", "meetings", "gap"))
