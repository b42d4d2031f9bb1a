"""When to look again at what Open vSwitch may have undone after a pass.

Whenever a row or a link of the host changes, Open vSwitch sets its classes of htb again and
so takes from 1:fffe the burst that it was lent (``vnetd.adapters.leaves``). It tells nobody,
and the pass for that change may have been before it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

AGAIN_SECONDS = 1
"""How long after the last change. Open vSwitch is mostly done within some hundredths."""


@dataclass
class SecondLook:
    """The look that follows a change; ``due`` is when, by ``time.monotonic``. A look for another reason that comes before is none."""

    now: Callable[[], float] = time.monotonic
    due: float = math.inf

    def changed(self) -> None:
        """Something has changed that Open vSwitch may have yet to act on."""
        self.due = self.now() + AGAIN_SECONDS

    def take(self) -> bool:
        """Whether it is time, which is said once."""
        if self.now() < self.due:
            return False
        self.due = math.inf
        return True

    def spare(self) -> None:
        """There is nothing that Open vSwitch would undo."""
        self.due = math.inf
