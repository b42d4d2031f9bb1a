"""How tunnels have been: since when each is as it is, and which must prove itself before it is trusted again.

Strategy: Open vSwitch's own BFD says which peer is alive; here stands only its past. A
peer that comes and goes would have its floods and all that was learned of it come and
go with it, on every host. So a tunnel that was up only for moments, several times in a
row, is held to be dead until it has stayed up for a while, each time for longer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from vnetd.model.state import Role, Rows, SeenPort
from vnetd.reconcile import Database
from vnetd.rowplan import RowStep

HELD = "held"
"""The state of a tunnel whose BFD session is up and that is not trusted yet; the others are those of Interface.bfd_status."""

STABLE_SECONDS = 5
"""A session that lasted so long was no flap."""

FLAPS = 5
"""So many in a row are borne without a word."""

OVER_SECONDS = 60
"""A tunnel that was down for so long begins anew."""

RESTART_SECONDS = 5
"""A session that one end has begun anew may take so long to be up again: at first BFD sends a packet a second (RFC 5880, 6.8.3)."""

NOTHING, SIGNALLED = "No Diagnostic", "Neighbor Signaled Session Down"
"""Diagnostics of RFC 5880, section 4.1."""

HOLD_SECONDS = (10, 20, 40, 60)
"""How long a tunnel must stay up after one flap more, and after each further one."""


@dataclass
class Past:
    """What is remembered of one tunnel: whether its session is up, since when by ``time.monotonic``, and how many were short in a row.

    ``shown`` is what it is taken for, and ``since`` from when on, for people: ``time.time``, None where nobody has seen it.
    """

    up: bool
    changed: float
    shown: str
    since: float | None
    flaps: int = 0
    anew: float = -math.inf
    """When one end began the session anew."""

    @property
    def hold(self) -> float:
        """Seconds that the session must last before it counts."""
        over = self.flaps - FLAPS
        return HOLD_SECONDS[min(over, len(HOLD_SECONDS) - 1)] if over >= 0 else 0

    @property
    def proved(self) -> float:
        """When the session counts, if it lasts."""
        return self.changed + self.hold if self.up else -math.inf

    def turn(self, up: bool, now: float) -> None:
        """The session begins or ends. One that ends before it was stable is a flap, however long it had to prove itself."""
        if self.up:
            self.flaps = self.flaps + 1 if now < self.proved + STABLE_SECONDS else 0
        elif now >= self.changed + OVER_SECONDS:
            self.flaps = 0
        self.up, self.changed = up, now


@dataclass
class Health:
    """The past of all tunnels. It begins when this process does, and of what the first look finds nobody knows how long it has been so."""

    now: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    past: dict[str, Past] = field(default_factory=dict)
    looked: bool = False
    end: float = math.inf
    """When the next tunnel has proved itself, by ``time.monotonic``, as of the last look."""
    released: bool = False
    """Whether one has since this was last set back. Whoever looks first finds that out, and may be somebody who changes nothing."""

    def judged(self, rows: Rows) -> Rows:
        """The rows as they are to be taken: a tunnel that must prove itself is shown as held.

        After a restart of ovsdb-server no session has a state, until ovs-vswitchd has written it again: the last one counts meanwhile.
        """
        tunnels = {name: seen for name, seen in rows.ports.items() if seen.marked and seen.port.role is Role.TUNNEL and seen.port.bfd}
        for name in self.past.keys() - tunnels.keys():
            del self.past[name]
        for name, seen in tunnels.items():
            if seen.bfd_state or name not in self.past:
                self._note(name, seen.bfd_state == "up" or self._restarts(name, seen))
        self.looked = True
        self._show()
        taken = {name: self.past[name].shown for name in tunnels}
        other = [name for name, state in taken.items() if state == HELD or (state == "up" != tunnels[name].bfd_state)]
        changed = {name: replace(tunnels[name], bfd_state=taken[name]) for name in other}
        return replace(rows, ports={**rows.ports, **changed}) if changed else rows

    def since(self, name: str) -> float | None:
        """When a tunnel has come into its state, in seconds since the epoch; None where nobody has seen it."""
        past = self.past.get(name)
        return past.since if past else None

    def _show(self) -> None:
        now = self.now()
        ends = (end for past in self.past.values() for end in (past.proved, past.anew + RESTART_SECONDS))
        self.end = min((end for end in ends if end > now), default=math.inf)
        for past in self.past.values():
            shown = "down" if not past.up else HELD if past.proved > now else "up"
            if shown != past.shown:
                self.released |= past.shown == HELD and past.up
                past.shown, past.since = shown, self.clock()

    def _restarts(self, name: str, seen: SeenPort) -> bool:
        """Whether an ovs-vswitchd has restarted, here or there, so that the session begins anew though nobody was silent.

        The kernel goes on with what it has been told meanwhile. A peer that does not hear this host says another reason.
        """
        past, now = self.past.get(name), self.now()
        if past is None or not past.up or (seen.bfd_why, seen.bfd_heard) not in ((NOTHING, NOTHING), (SIGNALLED, NOTHING)):
            return False
        if now >= past.anew + RESTART_SECONDS + STABLE_SECONDS:
            past.anew = now
        return now < past.anew + RESTART_SECONDS

    def _note(self, name: str, up: bool) -> None:
        now = self.now()
        past = self.past.get(name)
        if past is None:
            began, since = (now, self.clock()) if self.looked else (-math.inf, None)
            past = self.past[name] = Past(up, began, "up" if up else "down", since)
        elif past.up != up:
            past.turn(up, now)


@dataclass
class Watched:
    """OVSDB with tunnels as their past lets them be taken."""

    database: Database
    health: Health

    def rows(self) -> Rows:
        return self.health.judged(self.database.rows())

    def apply(self, steps: Sequence[RowStep]) -> None:
        self.database.apply(steps)
