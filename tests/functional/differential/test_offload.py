"""A guest's checksum offload: 16 bits that the kernel writes where the guest says must not change whose a frame is after it was judged.

Every virtio guest may say so of each frame. The kernel keeps its decision under the bytes as they are, and completes the
checksum later: for ovs-vswitchd's look at the frame, or at the device that it leaves by. So a frame is sent twice here: plainly,
which leaves a decision behind, and once more with a checksum that makes it another's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from attacks.cast import ARENA, Port, network_xml
from attacks.remote import Agent
from labs import started_lab
from world import World

from differential.offload_agent import __file__ as program
from differential.shapes import UDP, End, Pair, body, tagged, udp
from differential.tap import NEEDS_CSUM, Header, aimed

GUARDED = {"strict": Port("G", "hv1", 40), "mac": Port("GM", "hv1", 41, guard="mac")}
OTHER_VLAN = Port("GX", "hv2", 44, group="green", guard="none")
HEARING = {"here": Port("GV", "hv1", 42, guard="none"), "there": Port("GW", "hv2", 43, guard="none")}
ROOM = 40
"""hdr_len: tun refuses less than 14 bytes, and so what would be written into the addresses, and more than the frame has."""
PLAIN = Header()
_numbers = count(1)


class Writing(NamedTuple):
    """Where the sender has its checksum written, and what it would like to see there."""

    place: int
    wanted: int
    make: Callable[[Pair, int], bytes]
    guards: tuple[str, ...] = ("strict", "mac")
    """Under which this must not get through."""


def question(at: Pair, number: int) -> bytes:
    """An ARP request by broadcast."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    frame = at.v4(UDP, b"")
    return b"\xff" * 6 + at.sender.ether + b"\x08\x06" + head + at.sender.ether + frame[26:30] + bytes(6) + frame[30:34] + body(number, 18)


WRITINGS = {
    "the source MAC": Writing(10, 0x0099, lambda at, n: at.v4(UDP, udp(n))),
    "the EtherType, which becomes a tag's": Writing(12, 0x8100, lambda at, n: at.v4(UDP, udp(n))),
    "the IPv4 source": Writing(28, 0x0063, lambda at, n: at.v4(UDP, udp(n)), ("strict",)),
    "the IPv6 source": Writing(36, 0x0063, lambda at, n: at.v6(UDP, udp(n)), ("strict",)),
    "a DHCP server's port": Writing(36, 68, lambda at, n: at.v4(UDP, udp(n)), ("strict",)),
    "a DHCPv6 server's port": Writing(56, 546, lambda at, n: at.v6(UDP, udp(n)), ("strict",)),
    "ARP's sender": Writing(30, 0x0063, question, ("strict",)),
    "an advertisement's target": Writing(76, 0x0063, lambda at, n: at.v6(58, at.advertisement(at.sender.ip6), hops=255), ("strict",)),
    "a later fragment's source": Writing(28, 0x0063, lambda at, n: at.v4(UDP, body(n), part=4), ("strict",)),
    "the source of a protocol that nobody knows": Writing(28, 0x0063, lambda at, n: at.v4(253, body(n)), ("strict",)),
}
"""What would be forbidden if it were sent so."""


def end(port: Port) -> End:
    return End(port.mac, port.ip, port.ip6)


class Bench:
    """Ports whose taps are held with virtio's header."""

    def __init__(self, world: World) -> None:
        self.agents = {host: Agent(world.lab, host, Path(program)) for host in world.lab.names()}
        for port in (*GUARDED.values(), *HEARING.values(), OTHER_VLAN):
            self.agents[port.host].call("open", name=port.nick, tap=port.tap)
            world.on(port.host, "tee", f"/etc/vnetd/taps/{port.tap}.xml", stdin=port.xml())
            world.on(port.host, "/etc/vnetd/ovs-ifup", port.tap)
        world.wait_for_tunnels(*world.lab.names())
        for port in (*GUARDED.values(), *HEARING.values(), OTHER_VLAN):
            self.send(port, question(Pair(end(port), end(HEARING["here"])), next(_numbers)))

    def send(self, port: Port, frame: bytes, header: Header = PLAIN) -> None:
        words = [header.flags, header.gso_type, header.hdr_len, header.gso_size, header.csum_start, header.csum_offset]
        error = self.agents[port.host].call("send", name=port.nick, frame=frame.hex(), header=words)["error"]
        if error and header != PLAIN:
            # Newer kernels' taps refuse some places themselves, so that there is nothing to be shown.
            pytest.skip(f"this kernel's taps take no checksum there: {error}")
        assert not error, f"the tap does not take it: {error}"

    def until(self, sender: Port, hearer: Port) -> list[bytes]:
        """All that has arrived up to a plain frame that is sent now."""
        number = next(_numbers)
        for _ in range(5):
            self.send(sender, Pair(end(sender), end(hearer)).v4(UDP, udp(number)))
            found = self.agents[hearer.host].call("wait", name=hearer.nick, mark=body(number, 12)[:12].hex(), seconds=2.0)
            if not found["missing"]:
                return [bytes.fromhex(frame) for _, frame in found["seen"]]
        raise AssertionError(f"{hearer.nick} hears nothing of {sender.nick}")

    def heard(self, hearer: Port) -> list[bytes]:
        """All that has arrived, and arrives in a moment."""
        found = self.agents[hearer.host].call("wait", name=hearer.nick, mark=b"nobody says this".hex(), seconds=0.5)
        return [bytes.fromhex(frame) for _, frame in found["seen"]]

    def end(self) -> None:
        for agent in self.agents.values():
            agent.end()


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """Two hosts with one network over GRE."""
    with started_lab("o", 2) as world:
        world.start_xml(network_xml(ARENA), *world.lab.names())
        made = Bench(world)
        yield made
        made.end()
        for host in world.lab.names():
            world.assert_settled(host)


@pytest.mark.parametrize(("name", "guard"), [(name, guard) for name, writing in WRITINGS.items() for guard in writing.guards])
def test_a_checksum_does_not_make_a_frame_anothers(bench: Bench, name: str, guard: str) -> None:
    writing, sender = WRITINGS[name], GUARDED[guard]
    wrong = []
    for where, hearer in HEARING.items():
        at = Pair(end(sender), end(hearer))
        plain = writing.make(at, next(_numbers))
        evil = aimed(writing.make(at, next(_numbers)), writing.place, writing.wanted)
        bench.send(sender, plain)
        bench.until(sender, hearer)
        bench.send(sender, evil, Header(NEEDS_CSUM, hdr_len=ROOM, csum_start=writing.place))
        bits = slice(writing.place, writing.place + 2)
        written = struct.pack("!H", writing.wanted)
        forged = evil[: writing.place] + written + evil[writing.place + 2 :]
        seen = bench.until(sender, hearer)
        if any(frame[: len(forged) - 2] == forged[:-2] for frame in seen):
            wrong.append(f"{where}: {hearer.nick} got {forged[bits].hex()} where {evil[bits].hex()} was judged")
    assert not wrong, f"{name}: " + "; ".join(wrong)


@pytest.mark.parametrize("guard", GUARDED)
def test_a_checksum_does_not_choose_the_vlan_in_a_tunnel(bench: Bench, guard: str) -> None:
    """A tunnel has the VLAN's tag written into the frame before the checksum is: the source address's last bytes become the tag's."""
    sender, near = GUARDED[guard], HEARING["there"]
    at = Pair(end(sender), End("ff:ff:ff:ff:ff:ff", "255.255.255.255"))
    before, own, other = 12, (0x8100, 10), 20
    number = next(_numbers)
    bench.send(sender, at.v4(UDP, udp(next(_numbers))))
    bench.until(sender, near)
    evil = at.v4(UDP, udp(number))
    in_tunnel = aimed(tagged(evil, own), before + 2, other)
    bench.send(sender, in_tunnel[:before] + in_tunnel[before + 4 :], Header(NEEDS_CSUM, hdr_len=ROOM, csum_start=before - 2))
    bench.until(sender, near)
    seen = bench.heard(OTHER_VLAN)
    assert not [frame for frame in seen if body(number)[:12] in frame]
