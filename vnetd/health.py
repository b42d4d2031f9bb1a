"""How tunnels have been: since when each is as it is, and which must prove itself before it is trusted again.

Strategy: Open vSwitch's own BFD says which peer is alive; here stands only its past. A
peer that comes and goes would have its floods and all that was learned of it come and
go with it, on every host. So a peer that was up only for moments, several times in a
row, is held to be dead until it has stayed up for a while, each time for longer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vnetd.model.state import Role, Rows, SeenPort
from vnetd.reconcile import Database
from vnetd.rowplan import RowStep

HELD = "held"
"""The state of a tunnel whose BFD session is up and that is not trusted yet; the others are those of Interface.bfd_status."""

STABLE_SECONDS = 5
"""A session that lasted so long was no flap."""

FLAPS = 3
"""So many in a row are borne without a word."""

HOLD_SECONDS = (10, 20, 40, 60)
"""How long a peer must stay up after one flap more, and after each further one."""


@dataclass
class Past:
    """What is remembered of one tunnel. Times are those of ``time.monotonic``, but ``since``, which is for people: ``time.time``."""

    state: str
    changed: float
    since: float
    flaps: int = 0

    @property
    def hold(self) -> float:
        """Seconds that the session must last before it counts."""
        over = self.flaps - FLAPS
        return HOLD_SECONDS[min(over, len(HOLD_SECONDS) - 1)] if over >= 0 else 0


@dataclass
class Health:
    """The past of all tunnels. It begins when this process does."""

    now: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    past: dict[str, Past] = field(default_factory=dict)

    def judged(self, rows: Rows) -> Rows:
        """The rows as they are to be taken: a peer that must prove itself is shown as held."""
        tunnels = {name: seen for name, seen in rows.ports.items() if seen.marked and seen.port.role is Role.TUNNEL and seen.port.bfd}
        for name in self.past.keys() - tunnels.keys():
            del self.past[name]
        for name, seen in tunnels.items():
            self._note(name, seen.bfd_state)
        held = {name: tunnels[name] for name in tunnels if self._left(name) > 0}
        return replace(rows, ports={**rows.ports, **_shown(held)}) if held else rows

    def since(self, name: str) -> float | None:
        """When a tunnel has come into its state, in seconds since the epoch; None where nobody has seen it."""
        past = self.past.get(name)
        return past.since if past else None

    @property
    def end(self) -> float:
        """When the next tunnel has proved itself, by ``time.monotonic``."""
        left = [left for name in self.past if (left := self._left(name)) > 0]
        return self.now() + min(left) if left else math.inf

    def _left(self, name: str) -> float:
        past = self.past[name]
        return past.changed + past.hold - self.now() if past.state == "up" else 0

    def _note(self, name: str, state: str) -> None:
        past = self.past.get(name)
        now = self.now()
        if past is None:
            self.past[name] = Past(state, now, self.clock())
            return
        lasted = now - past.changed
        if past.state == "up" and lasted >= max(STABLE_SECONDS, past.hold + STABLE_SECONDS if past.hold else 0):
            past.flaps = 0
        if past.state == state:
            return
        if past.state == "up" and lasted < max(STABLE_SECONDS, past.hold):
            past.flaps += 1
        past.state, past.changed, past.since = state, now, self.clock()


def _shown(held: Mapping[str, SeenPort]) -> dict[str, SeenPort]:
    return {name: replace(seen, bfd_state=HELD) for name, seen in held.items()}


@dataclass
class Watched:
    """OVSDB with tunnels as their past lets them be taken."""

    database: Database
    health: Health

    def rows(self) -> Rows:
        return self.health.judged(self.database.rows())

    def apply(self, steps: Sequence[RowStep]) -> None:
        self.database.apply(steps)
