"""Ports that somebody changed are left alone until libvirt has been asked why.

``virsh domiftune`` and ``virsh update-device`` write into Open vSwitch's database, and
libvirt tells nobody. What is found changed may be a guest's new limit, or a slip of a
hand: only a listing of libvirt's says which. Until one comes, bounded in time, the
ports keep what was written there, and everything else goes on. So it is with what
was changed before this process began. A hook by itself never has a listing, and leaves
limits alone that its request does not change.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from vnetd.model.state import Port, Rows, SeenPort
from vnetd.reconcile import Database, Outcome
from vnetd.rowplan import DropPort, PutPort, RowStep

PATIENCE_SECONDS = 2
"""Several times what a listing takes."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A port that libvirt made and that somebody has changed since: as it was wanted, and as it is."""

    was: SeenPort
    now: SeenPort


def touched_since(last: Outcome, rows: Rows) -> dict[str, Touched]:
    """The ports of guests that were in order after a pass and no longer are as they were then."""
    found = {}
    for name, port in last.desired.ports.items():
        was, now = last.observed.rows.ports.get(name), rows.ports.get(name)
        if was is None or now is None or was is now or not now.libvirts or now.port.bridge != was.port.bridge:
            continue
        if _words(was.port) == _words(port) != _words(now.port):
            found[name] = Touched(was, now)
    return found


def untold(wanted: Mapping[str, Port], rows: Rows) -> dict[str, Touched]:
    """The ports of guests that were wired once and are not as they are wanted by what is known without libvirt."""
    found = {}
    for name, port in wanted.items():
        now = rows.ports.get(name)
        if now is None or not (now.marked and now.libvirts) or now.port.bridge != port.bridge or _words(now.port) == _words(port):
            continue
        was = replace(now.port, vlan=port.vlan, shape=port.shape, policing=port.policing)
        found[name] = Touched(replace(now, port=was), now)
    return found


def _words(port: Port) -> tuple[object, ...]:
    """What libvirt changes on the port of a guest that runs."""
    return port.vlan, port.shape, port.policing


@dataclass
class Spared:
    """OVSDB with some ports shown as they were, so that no plan puts them back; what is to be changed there on purpose is."""

    database: Database
    ports: dict[str, Touched]

    def rows(self) -> Rows:
        rows = self.database.rows()
        found = dict(rows.ports)
        for name, touched in self.ports.items():
            now, was = found.get(name), touched.was.port
            if now is not None and now.port.bridge == was.bridge:
                found[name] = replace(now, port=replace(now.port, vlan=was.vlan, shape=was.shape, policing=was.policing))
        return replace(rows, ports=found)

    def apply(self, steps: Sequence[RowStep]) -> None:
        for step in steps:
            match step:
                case PutPort(Port(name=name)) | DropPort(name):
                    self.ports.pop(name, None)
        self.database.apply(steps)


class Patience:
    """Which ports are to be spared now, and until when. ``ask`` has libvirt listed soon."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._waiting: dict[str, tuple[SeenPort, float, float]] = {}
        self._heard = 0.0

    def spare(self, touched: Mapping[str, Touched]) -> dict[str, Touched]:
        """Those of the ports that libvirt has not yet been asked about since they were changed."""
        now = time.monotonic()
        waiting = {}
        for name, port in touched.items():
            seen, since, end = self._waiting.get(name, (None, 0.0, now + PATIENCE_SECONDS))
            if seen is None or _words(seen.port) != _words(port.now.port):
                since = time.time()
                self._ask()
            waiting[name] = port.now, since, end
        self._waiting = waiting
        return {name: touched[name] for name, (_, since, end) in waiting.items() if since > self._heard and now < end}

    def heard(self, began: float) -> bool:
        """A listing that began then has come; whether somebody has waited for one."""
        self._heard = max(self._heard, began)
        return bool(self._waiting)

    def give_up(self) -> bool:
        """Wait no longer for what has been waited for long enough; whether there is such, which is to be put back now."""
        now = time.monotonic()
        over = [name for name, (_, since, end) in self._waiting.items() if since > self._heard and end <= now]
        for name in over:
            self._waiting[name] = (self._waiting[name][0], 0.0, now)
        return bool(over)

    @property
    def end(self) -> float:
        """When patience is over, by ``time.monotonic``."""
        return min((end for _, since, end in self._waiting.values() if since > self._heard), default=math.inf)
