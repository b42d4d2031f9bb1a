"""An ovs-vswitchd that restarts: what the kernel has been told goes on until vnetd's flows are back.

Strategy: a new ovs-vswitchd begins without flows and empties the kernel's cache of them,
unless it is told to wait. It is told so only between the end of the old one and the end
of the pass that puts the flows back, so that at any other time, and after a boot, nobody
waits for a vnetd that may not come. What the kernel goes on with are the verdicts of
before, which hold for the ports of before: as soon as one of them goes, or another comes,
the wait ends, and nothing passes that the flows which are back do not let pass. Whatever
happens, it ends after a while.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from vnetd.errors import WorldError

LOG = logging.getLogger("vnetd")
AWAY_SECONDS = 120
"""A package's upgrade takes half a minute."""
BACK_SECONDS = 15
"""How long a new ovs-vswitchd waits for flows that cannot be put back."""


class Wait(Protocol):
    """OVSDB: whether an ovs-vswitchd that starts waits. Both raise WorldError."""

    def hold(self) -> None: ...

    def release(self) -> None: ...


def link_indexes() -> dict[str, int]:
    """The host's links by name."""
    return {name: index for index, name in socket.if_nameindex()}


class Restart:
    """The wait of one restart after another. Called from the threads that see what happens."""

    def __init__(self, wait: Wait, links: Callable[[], Mapping[str, int]] = link_indexes) -> None:
        self._wait, self._links = wait, links
        self._lock = threading.Lock()
        self._held = False
        self._ports: dict[str, int | None] = {}
        self._came = math.inf
        self._timer: threading.Timer | None = None

    @property
    def held(self) -> bool:
        """Whether ovs-vswitchd waits, or would."""
        return self._held

    def begin(self) -> None:
        """This process has started. One before may have left ovs-vswitchd waiting, and nobody knows for which ports."""
        self._held = True
        self._release("")

    def gone(self, ports: frozenset[str]) -> None:
        """ovs-vswitchd has ended; ``ports`` are all of which the kernel has been told by flows of vnetd's, none where it has not."""
        with self._lock:
            if not ports:
                return
            links = self._links()
            self._ports = {name: links.get(name) for name in ports}
            try:
                self._wait.hold()
            except WorldError as error:
                LOG.warning("ovs-vswitchd will not wait for its flows when it starts: %s", error)
                return
            self._held, self._came = True, math.inf
            self._end_after(AWAY_SECONDS)

    def come(self) -> None:
        """ovs-vswitchd is there again."""
        with self._lock:
            if self._held:
                self._came = time.monotonic()
                self._end_after(BACK_SECONDS)

    def restored(self, began: float) -> None:
        """A look that began at this ``time.monotonic`` has found all flows as they should be."""
        if self._held and began >= self._came:
            self._release("its flows are back")

    def check(self) -> None:
        """Links have changed: the kernel's flows are not for another link of the same number."""
        if self._held and self._ports:
            links = self._links()
            changed = [name for name, index in self._ports.items() if links.get(name) != index]
            if changed:
                self._release(f"port {changed[0]} is another than before")

    def port_comes(self, name: str) -> None:
        """OVSDB has a new interface, which the kernel may give the number of one that was there."""
        if self._held and self._ports and name not in self._ports:
            self._release(f"port {name} has come")

    def stop(self) -> None:
        """This process ends, and puts no flows back."""
        self._release("vnetd ends")

    def _end_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._release, (f"{seconds:g} s are over",))
        self._timer.daemon = True
        self._timer.start()

    def _release(self, why: str) -> None:
        with self._lock:
            if not self._held:
                return
            try:
                self._wait.release()
            except WorldError as error:
                LOG.debug("ovs-vswitchd still waits: %s", error)
                self._end_after(1)
                return
            if self._ports:
                LOG.info("ovs-vswitchd waits for its flows no longer: %s", why)
            self._held = False
            self._ports = {}
            if self._timer is not None:
                self._timer.cancel()
