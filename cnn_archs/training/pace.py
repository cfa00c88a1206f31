"""Leaves out events of a training that would come too soon after those before them."""

import time
from collections.abc import Callable, Mapping

from cnn_archs.distributed import multihost


class Pace:
    """Decides whether enough seconds have passed since the last event of a kind.

    least: for each kind of event, the least seconds between two of them; 0 for those that are never
    left out. now: the clock, in seconds. The first wait begins with this object.
    """

    def __init__(self, least: Mapping[str, float], now: Callable[[], float] = time.monotonic):
        self.least, self.now = least, now
        self.last = dict.fromkeys(least, now())

    def allows(self, event: str) -> bool:
        """Return whether `event` may happen now; if so, its next wait begins.

        The first process decides, and all processes of a run must ask.
        """
        if not self.least[event]:
            return True
        allowed = multihost.on_primary(lambda: self.now() - self.last[event] >= self.least[event])
        if allowed:
            self.last[event] = self.now()
        return allowed
