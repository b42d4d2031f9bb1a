"""The matrix's lab: networks that get from host to host by different ways, and every port's guest end in the test's hands."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from attacks.remote import Agent
from dataplane import chosen
from labs import started_lab
from world import World

from vlans.frames import BROADCAST, Shot, ether, shots
from vlans.ports import HOSTS, Arena, Port
from vlans.wire import Capture, in_gre

SENTINEL_SECONDS = 3.0 * chosen().patience
CHUNK = 100
"""Frames between two sentinels: fewer than the packet sockets that Open vSwitch reads taps by have room for."""

_numbers = count(1)


@dataclass(slots=True)
class Outcome:
    """What was sent, at whom what arrived, and what was on the wire."""

    shots: list[Shot] = field(default_factory=list)
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    wire: list[bytes] = field(default_factory=list)


class Stage:
    """Two hosts with all ports of some networks."""

    def __init__(self, world: World, arenas: Sequence[Arena]) -> None:
        self.world = world
        self.arenas = arenas
        self.agents = {host: Agent(world.lab, host) for host in HOSTS}

    def build(self) -> None:
        """Taps as a user makes them; those that send have spoken, the others have not."""
        for arena in self.arenas:
            for port in arena.ports:
                self.agents[port.host].call("open", name=port.tap, tap=port.tap)
                self.world.on(port.host, "tee", f"/etc/vnetd/taps/{port.tap}.xml", stdin=port.xml(arena.name))
        for host in HOSTS:
            taps = " ".join(port.tap for arena in self.arenas for port in arena.ports if port.host == host)
            self.world.patiently(host, f"for tap in {taps}; do /etc/vnetd/ovs-ifup $tap || exit 1; done")
        if any(arena.way == "gre" for arena in self.arenas):
            self.world.wait_for_tunnels(*HOSTS)
        for arena in self.arenas:
            for port in arena.ports:
                if port.sends:
                    self._introduce(arena, port)

    def play(self, arena: Arena) -> Outcome:
        """Every frame of every sender, first while nobody else has spoken, then to those who have."""
        outcome = Outcome()
        device = "eth1" if arena.way == "uplink" else "eth0"
        watch = ["ip", "netns", "exec", self.world.lab.underlay, "tcpdump", "-i", f"hv1-{device}", "-Q", "in"]
        with tempfile.TemporaryDirectory() as folder, Capture(watch, Path(folder) / "wire.pcap") as wire:
            for cast in ("unheard", "broadcast", "stranger"):
                self._fire(arena, cast, outcome)
            for port in arena.ports:
                if not port.sends:
                    self._introduce(arena, port)
            for host in HOSTS:
                # What the switch has cached follows what it has learned with its next look at the cache.
                self.world.on(host, "ovs-appctl revalidator/wait")
            self._fire(arena, "known", outcome)
            wire.until(self._sentinel(arena, next(port for port in arena.ports if port.sends), outcome))
            frames = [frame for _, frame in wire.frames()]
        found = frames if arena.way == "uplink" else map(in_gre, frames)
        outcome.wire = [frame for frame in found if frame is not None]
        return outcome

    def send(self, arena: Arena, sender: Port, frames: Sequence[bytes], outcome: Outcome) -> None:
        """Send no more than a chunk of frames, and take what arrives of them at the ports of all networks."""
        assert not self.agents[sender.host].call("send", name=sender.tap, frames=[frame.hex() for frame in frames])["errors"]
        # What the switch handles in one batch can overtake; the second sentinel is always of a later one.
        for _ in range(2):
            self._sentinel(arena, sender, outcome)

    def end(self) -> None:
        for agent in self.agents.values():
            agent.end()

    def _fire(self, arena: Arena, cast: str, outcome: Outcome) -> None:
        for sender in arena.ports:
            if not sender.sends:
                continue
            for chunk in _chunks(shots(sender, arena, cast), CHUNK):
                outcome.shots += chunk
                self.send(arena, sender, [shot.frame for shot in chunk], outcome)

    def _introduce(self, arena: Arena, port: Port) -> None:
        """The port speaks in all of its VLANs. A tunnel loses the first frame to a new neighbour."""
        outcome = Outcome()
        for number in range(len(port.mode.usual)):
            for attempt in range(5):
                try:
                    self._sentinel(arena, port, outcome, number, 0.2 if attempt < 4 else SENTINEL_SECONDS)
                    break
                except Unheard:
                    if attempt == 4:
                        raise

    def _sentinel(self, arena: Arena, port: Port, outcome: Outcome, number: int = 0, seconds: float = SENTINEL_SECONDS) -> bytes:
        """Wait until a frame to all is at a port of the same mode on each host, and take what has arrived up to then; its mark."""
        # Sent only when no switch has anything left to decide, or it could overtake what goes up to ovs-vswitchd.
        for agent in (self.agents[port.host], *self.agents.values()):
            assert agent.call("rest", seconds=SENTINEL_SECONDS)["rests"], "the switches do not come to rest"
        mark = b"sentinel%07d" % next(_numbers)
        frame = ether(BROADCAST, port.mac, port.mode.usual[number], mark)
        self.agents[port.host].call("send", name=port.tap, frames=[frame.hex()])
        peers = [one for one in arena.ports if one.mode == port.mode and one is not port]
        for host, agent in self.agents.items():
            agent.ask("until", mark=mark.hex(), of=b"sentinel".hex(), at=[one.tap for one in peers if one.host == host], seconds=seconds)
        missing: list[str] = []
        for agent in self.agents.values():
            found = agent.answer()
            outcome.seen += [(name, bytes.fromhex(one)) for name, one in found["seen"]]
            missing += found["missing"]
        if missing:
            raise Unheard(f"{port.name} is not heard at {', '.join(one.name for one in peers if one.tap in missing)}")
        return mark


@contextmanager
def staged(arenas: Sequence[Arena]) -> Iterator[Stage]:
    """A lab with these networks, for as long as it is needed."""
    with started_lab("x", len(HOSTS), *(arena.xml() for arena in arenas)) as world:
        stage = Stage(world, arenas)
        stage.build()
        yield stage
        stage.end()
        for host in HOSTS:
            world.assert_settled(host)


class Unheard(Exception):
    """A sentinel did not arrive: nothing can be said of the frames before it."""


def _chunks(found: Iterable[Shot], size: int) -> Iterator[list[Shot]]:
    chunk: list[Shot] = []
    for shot in found:
        chunk.append(shot)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
