"""The path MTU to every remote that somebody wants to know of: ``vnetd.pathmtu`` with real packets and a real clock.

Strategy: one thread, which sleeps until the next probe is due or something comes back. A probe that is due
waits for those that are due soon after it, since waking costs more than sending. The measured size is that of the
way there: a remote's kernel fragments its answer where the way back is narrower, and measures that way itself.
"""

from __future__ import annotations

import heapq
import logging
import math
import os
import select
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from vnetd.adapters.ceilings import Ceilings
from vnetd.adapters.echo import Echo, Refused
from vnetd.model.names import IpAddress
from vnetd.model.state import Path
from vnetd.pathmtu import FLOORS, USUAL, Pace, PathSearch

LOG = logging.getLogger("vnetd.paths")
CEILING_SECONDS = 10
"""How often the interface that leads to a remote, and its MTU, are looked at again."""
KEEP_SECONDS = 600
"""How long the last result stands for a remote that is no longer watched."""
TOGETHER_SECONDS = 0.025
"""Probes due within so short a time are sent at once."""
GRID_SECONDS = 0.25
"""Where nothing is searched for, probes are sent at multiples of this: most of what a probe costs is waking for it."""
APART_SECONDS = 0.01
"""The first probes to many remotes are so far apart, and by as much later ones are spread."""
LATE_SECONDS = 5
"""An answer that takes longer is none."""
RETRY_SECONDS = 5
"""How long nothing is tried after the kernel has refused a socket."""


@dataclass(eq=False)
class _Remote:
    """A remote that is watched; there is no search while there is no route."""

    local: IpAddress
    address: IpAddress
    looked_at: float = -math.inf
    search: PathSearch | None = None
    at: float = math.inf
    text: str = field(init=False)

    def __post_init__(self) -> None:
        self.text = socket.inet_ntop(socket.AF_INET if self.address.version == 4 else socket.AF_INET6, self.address.packed)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A probe on its way, with the time at which it was sent by ``time.monotonic`` and by ``time.time``."""

    remote: _Remote
    size: int
    sent: float
    clock: float


class PathProbe(threading.Thread):
    """Measures the paths to all that is watched; ``changed`` is called, in this thread, when a path MTU is found or has changed.

    ``known``: path MTUs in bytes from before this process, which stand until they are measured. Nothing here raises but
    the constructor; where raw sockets are refused, no path is ever found, and the log says why.
    """

    def __init__(self, changed: Callable[[], None], pace: Pace = USUAL, known: Mapping[IpAddress, int] | None = None) -> None:
        super().__init__(name="path-probe", daemon=True)
        self._changed, self._pace = changed, pace
        self._lock = threading.Lock()
        self._wanted: frozenset[tuple[IpAddress, IpAddress]] = frozenset()
        self._wanted_anew = False
        self._remotes: dict[IpAddress, _Remote] = {}
        self._kept = {remote: (Path(mtu), time.monotonic() + KEEP_SECONDS) for remote, mtu in (known or {}).items()}
        self._told = dict(known or {})
        self._news = False
        self._stopping = threading.Event()
        self._trouble = ""
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._ceilings: Ceilings | None = None
        self._echoes: dict[int, Echo] = {}
        self._flights: OrderedDict[int, _Flight] = OrderedDict()
        self._sequence = 0
        self._heap: list[tuple[float, int, _Remote]] = []
        self._order = count()

    def watch(self, pairs: Collection[tuple[IpAddress, IpAddress]]) -> None:
        """Probe from these local addresses to these remotes, and no others. Of several pairs with one remote, the least counts."""
        wanted = frozenset(pairs)
        with self._lock:
            if wanted == self._wanted:
                return
            self._wanted, self._wanted_anew = wanted, True
        self._ring()

    def paths(self) -> Mapping[IpAddress, Path]:
        """What is known of each path; of a remote that is no longer watched, the last for ``KEEP_SECONDS``."""
        now = time.monotonic()
        with self._lock:
            found = {remote: path for remote, (path, end) in self._kept.items() if end > now or remote in self._remotes}
            for address, one in self._remotes.items():
                if one.search is not None and one.search.mtu is not None:
                    found[address] = Path(one.search.mtu, one.search.rtt_ms)
        return found

    def silent(self) -> frozenset[IpAddress]:
        """The watched remotes that have never answered, not even a small probe, though they were asked several times."""
        with self._lock:
            return frozenset(address for address, one in self._remotes.items() if one.search is not None and one.search.silent)

    def close(self) -> None:
        """Stop probing, from any thread. What was found can still be asked for."""
        self._stopping.set()
        self._ring()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._open()
                while not self._stopping.is_set():
                    self._turn()
            except Exception as error:  # noqa: BLE001 - whatever it is, this thread goes on.
                self._complain(error)
                self._stopping.wait(RETRY_SECONDS)
        self._close()
        self._bell.close()
        self._ear.close()

    def _complain(self, error: Exception) -> None:
        """Say once what keeps paths from being measured; it is tried again all the time."""
        text = f"paths to peers cannot be measured: {error}"
        LOG.log(logging.DEBUG if text == self._trouble else logging.WARNING, "%s", text, exc_info=not isinstance(error, OSError))
        self._trouble = text

    def _ring(self) -> None:
        # A full pipe rings all the same, and a closed one has nobody behind it.
        with suppress(OSError):
            self._bell.send(b"!")

    def _open(self) -> None:
        self._close()
        secret = os.urandom(10)
        self._ceilings = Ceilings()
        for version in (4, 6):
            try:
                self._echoes[version] = Echo(version, int.from_bytes(secret[:2]), secret[2:])
            except OSError as error:
                LOG.debug("no IPv%d probes: %s", version, error)
        if not self._echoes:
            raise OSError("no raw socket can be had, for which CAP_NET_RAW is needed")
        self._poll = select.poll()
        for file in (self._ear.fileno(), *(echo.fileno() for echo in self._echoes.values())):
            self._poll.register(file, select.POLLIN)
        self._heap.clear()
        for one in self._remotes.values():
            one.at = math.inf
        self._plan_all(self._remotes.values(), time.monotonic())

    def _close(self) -> None:
        for echo in self._echoes.values():
            echo.close()
        self._echoes.clear()
        self._flights.clear()
        if self._ceilings is not None:
            self._ceilings.close()
            self._ceilings = None

    def _turn(self) -> None:
        """Sleep until there is something to do, and do it."""
        timeout = self._until_next()
        ready = dict(self._poll.poll(None if math.isinf(timeout) else math.ceil(timeout * 1000)))
        now = time.monotonic()
        if self._ear.fileno() in ready:
            with suppress(BlockingIOError):
                self._ear.recv(4096)
        self._take_wanted(now)
        for echo in self._echoes.values():
            events = ready.get(echo.fileno(), 0)
            if events & select.POLLERR:
                self._take_errors(echo, now)
            if events & select.POLLIN:
                self._take_answers(echo, now)
        self._send_due(now)
        if self._news:
            self._news = False
            self._changed()

    def _until_next(self) -> float:
        """Seconds until a remote is to be looked at."""
        while self._heap and self._heap[0][0] != self._heap[0][2].at:
            heapq.heappop(self._heap)
        if not self._heap:
            return math.inf
        return max(self._heap[0][0] - time.monotonic(), 0) + TOGETHER_SECONDS

    def _plan(self, one: _Remote, at: float) -> None:
        """Look at a remote then; what was planned for it before is void."""
        if at != one.at:
            one.at = at
            heapq.heappush(self._heap, (at, next(self._order), one))

    def _take_wanted(self, now: float) -> None:
        if not self._wanted_anew:
            return
        with self._lock:
            self._wanted_anew = False
            wanted = {remote: local for local, remote in sorted(self._wanted, key=str, reverse=True)}
            for address in [one for one, known in self._remotes.items() if wanted.get(one) != known.local]:
                self._forget(self._remotes.pop(address), now)
            self._kept = {one: kept for one, kept in self._kept.items() if kept[1] > now or one in wanted}
            self._told = {one: mtu for one, mtu in self._told.items() if one in wanted or one in self._kept}
            fresh = [_Remote(local, remote) for remote, local in wanted.items() if remote not in self._remotes]
            self._remotes.update((one.address, one) for one in fresh)
        self._plan_all(fresh, now)

    def _plan_all(self, remotes: Collection[_Remote], now: float) -> None:
        """Look at all of these soon, one after the other."""
        for step, one in enumerate(remotes):
            self._plan(one, now + step * min(APART_SECONDS, self._pace.confirm / len(remotes)))

    def _forget(self, one: _Remote, now: float) -> None:
        """Keep the last result of a remote that is no longer watched."""
        one.at = math.nan
        if one.search is not None and one.search.mtu is not None:
            self._kept[one.address] = Path(one.search.mtu, one.search.rtt_ms), now + KEEP_SECONDS

    def _take_answers(self, echo: Echo, now: float) -> None:
        for sequence, sender, arrived in echo.answers():
            flight = self._landed(sequence, sender)
            if flight is not None and flight.remote.search is not None and now - flight.sent < LATE_SECONDS:
                # The kernel's clock is the better one, unless somebody has set it meanwhile.
                rtt = arrived - flight.clock
                flight.remote.search.answered(flight.size, now, rtt if 0 < rtt <= now - flight.sent else now - flight.sent)
                self._look(flight.remote)

    def _take_errors(self, echo: Echo, now: float) -> None:
        for sequence, remote, mtu in echo.errors():
            # Anybody on the way may say this, so the answer is still waited for.
            flight = self._flights.get(sequence)
            if flight is None or flight.remote.text != remote:
                continue
            if flight.remote.search is not None and mtu < flight.size:
                flight.remote.search.too_big(mtu, now)
                self._look(flight.remote)

    def _landed(self, sequence: int, address: str) -> _Flight | None:
        flight = self._flights.get(sequence)
        if flight is None or flight.remote.text != address:
            return None
        return self._flights.pop(sequence)

    def _look(self, one: _Remote) -> None:
        """Take over what the search says now, and plan when it is asked next."""
        if one.search is None or math.isnan(one.at):
            return
        wake = one.search.wake
        self._plan(one, math.ceil(wake / GRID_SECONDS) * GRID_SECONDS if one.search.resting else wake)
        mtu = one.search.mtu
        if mtu is not None and self._told.get(one.address) != mtu:
            LOG.debug("%s: the path MTU is %d", one.text, mtu)
            self._told[one.address] = mtu
            self._news = True

    def _send_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            at, _, one = heapq.heappop(self._heap)
            if at != one.at:
                continue
            one.at = math.inf
            self._look_at_ceiling(one, now)
            if one.search is None:
                self._plan(one, now + self._pace.confirm)
                continue
            while (size := one.search.due(now)) is not None:
                self._send(one, size)
            self._look(one)
        while self._flights and next(iter(self._flights.values())).sent < now - LATE_SECONDS:
            self._flights.popitem(last=False)

    def _look_at_ceiling(self, one: _Remote, now: float) -> None:
        if now - one.looked_at < CEILING_SECONDS or self._ceilings is None:
            return
        ceiling = self._ceilings.of(one.local, one.address)
        if ceiling is None:
            return
        one.looked_at = now
        if one.search is None:
            with self._lock:
                one.search = PathSearch(ceiling, FLOORS[one.address.version], self._pace, now)
        else:
            one.search.ceiling(ceiling)

    def _send(self, one: _Remote, size: int) -> None:
        """Send a probe. One that cannot be sent is lost like any other."""
        echo = self._echoes.get(one.address.version)
        if echo is None:
            return
        self._sequence = (self._sequence + 1) % 65536
        flight = _Flight(one, size, time.monotonic(), time.time())
        try:
            echo.send(one.local, one.text, size, self._sequence)
        except Refused:
            one.looked_at = -math.inf  # The interface's MTU is another than it was.
        except OSError as error:
            LOG.debug("%s: %s", one.text, error)
        else:
            self._flights[self._sequence] = flight
