"""What has to be found out about peers: the addresses of their names, and the paths to them; in the background, and remembered.

Strategy: a pass only reads what is known at that moment and says what it would like to
know. Whatever comes in later makes the daemon look again. Without the daemon nobody asks,
and what it has written down last is what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Protocol

from vnetd.adapters.learned import Memory
from vnetd.adapters.paths import PathProbe
from vnetd.adapters.resolver import Resolver
from vnetd.model.names import IpAddress
from vnetd.model.state import Desired, Learned, Path


class Names(Protocol):
    """Who asks for names; ``Resolver``."""

    def start(self) -> None: ...

    def watch(self, wanted: Collection[str]) -> None: ...

    def known(self) -> Mapping[str, tuple[IpAddress, ...]]: ...

    def failing(self) -> Mapping[str, str]: ...

    def again(self) -> None: ...


class Paths(Protocol):
    """Who measures paths; ``PathProbe``."""

    def start(self) -> None: ...

    def watch(self, pairs: Collection[tuple[IpAddress, IpAddress]]) -> None: ...

    def paths(self) -> Mapping[IpAddress, Path]: ...

    def silent(self) -> frozenset[IpAddress]: ...


class Scout:
    """The daemon's: it asks, and keeps the file. ``changed`` is called, from another thread, when something new is known."""

    def __init__(
        self, changed: Callable[[], None], memory: Memory | None = None, resolver: Names | None = None, probe: Paths | None = None
    ) -> None:
        self._memory = memory or Memory()
        self._learned = self._memory.read()
        self._resolver = resolver or Resolver(changed)
        self._probe = probe or PathProbe(changed, known=self._learned.paths)

    def start(self) -> None:
        """Begin to ask."""
        self._resolver.start()
        self._probe.start()

    def look_again(self) -> None:
        """Look up all names now."""
        self._resolver.again()

    def learned(self) -> Learned:
        """What is known now; what was known once stands until something newer is."""
        paths = {remote: path.mtu for remote, path in self._probe.paths().items()}
        names = {**self._learned.names, **self._resolver.known()}
        self._learned = Learned({**self._learned.paths, **paths}, names, self._probe.silent(), self._resolver.failing())
        return self._learned

    def rtts(self) -> dict[IpAddress, float]:
        """The round trips to remotes in ms."""
        return {remote: path.rtt_ms for remote, path in self._probe.paths().items() if path.rtt_ms is not None}

    def want(self, desired: Desired) -> None:
        """Ask what matters for what should be, and remember no more than that. Only living peers are probed."""
        peers = [peer.address for network in desired.networks.values() if network.overlay for peer in network.overlay.peers]
        names = {address for address in peers if isinstance(address, str)}
        self._resolver.watch(names)
        self._probe.watch({(facts.local, facts.remote) for facts in desired.tunnels.values() if facts.wire.alive})
        known = self.learned()
        if desired.complete:
            found = {name: addresses for name, addresses in known.names.items() if name in names}
            # Of all peers, and not of tunnels alone: a host that has lost its address for a while has none.
            remotes = {address for address in peers if not isinstance(address, str)}.union(*found.values())
            known = replace(known, paths={remote: mtu for remote, mtu in known.paths.items() if remote in remotes}, names=found)
        self._learned = known
        self._memory.write(replace(known, silent=frozenset(), failing={}))
