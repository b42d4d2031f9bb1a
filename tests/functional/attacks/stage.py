"""The lab that the attacks are played in: its ports, open at the guests' end, and what each frame came to.

After every frame its sender sends two sentinels, the second when the first has
arrived on both hosts, and each when no switch has anything left to decide. The userspace
data plane handles what waits at a port in batches, inside which a later frame can overtake
an earlier one; the second sentinel is always of a later batch. On the kernel's, a frame that
its cache has no answer for goes up to ovs-vswitchd, and what comes behind it must wait for
that. So what has not arrived before the second does not arrive, and nobody sleeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from dataplane import chosen
from labkit.guest import GuestSpec
from labkit.hypervisor import Lab
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import UDP
from scapy.packet import Raw
from world import World

from attacks import cast
from attacks.frames import BROADCAST, IPV4, ether, group4, ip4, mac, tagged
from attacks.remote import Agent
from attacks.rows import Row

SENTINEL_SECONDS = 2.0 * chosen().patience
_numbers = count(1)


class Away(Exception):
    """A sentinel did not arrive: nothing can be said of the frame before it."""


@dataclass(slots=True)
class Outcome:
    """Where which frames showed up while a row was played."""

    seen: list[tuple[str, bytes]] = field(default_factory=list)
    trouble: str = ""


class Stage:
    """Two hosts with all ports of the cast."""

    def __init__(self, lab: Lab) -> None:
        self.world = World(lab)
        self.agents = {host: Agent(lab, host) for host in cast.HOSTS}
        self.real: dict[bytes, bytes] = {}
        """The bridges' addresses, by their stand-ins."""
        self.taps: dict[str, str] = {}
        """The addresses of the taps' own ends on the host."""

    def build(self) -> None:
        """Networks and ports as a user makes them, then the bridges' own ports, then everybody known to the switches."""
        for host in cast.HOSTS:
            # Counters of flows reach OpenFlow with the switch's next look at them; by default that takes up to a second.
            self.world.on(host, "ovs-vsctl set open . other_config:max-revalidator=100")
            for name in (cast.ARENA, cast.HOSTED):
                self.world.start_xml(cast.network_xml(name), host)
        for port in cast.PORTS.values():
            self.taps[port.nick] = self.agents[port.host].call("open", name=port.nick, tap=port.tap)["mac"]
            self.world.on(port.host, "tee", f"/etc/vnetd/taps/{port.tap}.xml", stdin=port.xml())
        for host in cast.HOSTS:
            taps = " ".join(port.tap for port in cast.PORTS.values() if port.host == host)
            self.world.patiently(host, f"for tap in {taps}; do /etc/vnetd/ovs-ifup $tap || exit 1; done")
        for name, (host, bridge) in cast.BRIDGES.items():
            self.world.on(host, f"ip link set {bridge} up")
            real = self.agents[host].call("listen", name=name, device=bridge)["mac"]
            self.real[mac(cast.BRIDGE_MACS[name])] = mac(real)
        self.world.wait_for_tunnels(*cast.HOSTS)
        self.introduce()

    def start_guests(self) -> None:
        """The whole guests, up and able to talk."""
        for one in cast.GUESTS:
            addresses = [f"{one.ip}/24", f"{one.ip6}/64"]
            self.world.guest(one.host, GuestSpec(one.name, cast.ARENA, "red", one.mac, addresses, words=["ipv6=on"]), wait=False)
        self.world.wait_up(*(one.name for one in cast.GUESTS))

    def introduce(self) -> None:
        """Every port speaks, so that no switch has to ask where anybody is. Tunnels lose the first frame to a new neighbour."""
        for name, (host, _) in cast.BRIDGES.items():
            said = b"bridge %d" % next(_numbers) + bytes(40)
            plain = ether(BROADCAST, said, src=cast.BRIDGE_MACS[name], kind=0x88B5)
            frames = [self._real(frame).hex() for frame in (plain, tagged(plain, (0x8100, 10)))]
            self.agents[host].call("send", name=name, frames=frames)
        for nick in cast.PORTS:
            for attempt in range(5):
                if not self.sentinel(nick, SENTINEL_SECONDS if attempt == 4 else 0.2)[1]:
                    break
            else:
                raise Away(f"{nick} is not heard by {cast.witnesses(nick)}")

    def sentinel(self, nick: str, seconds: float = SENTINEL_SECONDS) -> tuple[list[tuple[str, bytes]], list[str]]:
        """(what has arrived anywhere up to a new sentinel of this port's, at whom the sentinel did not arrive)."""
        port = cast.PORTS[nick]
        self.settle(port.host)
        mark = b"sentinel%07d" % next(_numbers)
        self.agents[port.host].call("send", name=nick, frames=[_sentinel(port, mark).hex()])
        wanted: dict[str, list[str]] = {host: [] for host in cast.HOSTS}
        for witness in cast.witnesses(nick):
            wanted[cast.PORTS[witness].host].append(witness)
        for host, agent in self.agents.items():
            agent.ask("until", mark=mark.hex(), of=b"sentinel".hex(), at=wanted[host], seconds=seconds)
        seen, missing = [], []
        for agent in self.agents.values():
            found = agent.answer()
            seen += [(name, bytes.fromhex(frame)) for name, frame in found["seen"]]
            missing += found["missing"]
        return seen, missing

    def settle(self, host: str) -> None:
        """Until every switch has decided about all that was sent on a host: what that one passes on, the others decide about after it."""
        for agent in (self.agents[host], *(agent for name, agent in self.agents.items() if name != host)):
            if not agent.call("rest", seconds=SENTINEL_SECONDS)["rests"]:
                raise Away(f"the switches do not come to rest after what {host} was sent")

    def forget(self) -> None:
        """No switch remembers what it has decided."""
        for agent in self.agents.values():
            agent.call("forget")

    def play(self, row: Row) -> Outcome:
        """Send the row's frame, and see what comes of it."""
        outcome = Outcome()
        agent = self.agents[cast.PORTS[row.sender].host]
        errors = agent.call("send", name=row.sender, frames=[self._real(row.frame).hex()])["errors"]
        if errors:
            outcome.trouble = f"the tap does not take it: {errors[0]}"
        for _ in range(2):
            seen, missing = self.sentinel(row.sender)
            outcome.seen += [(name, self._unreal(frame)) for name, frame in seen]
            if missing:
                outcome.trouble = f"the sentinel after it did not arrive at {', '.join(missing)}"
        return outcome

    def play_many(self, frames: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Send frames, each (sender, frame), in this order as far as they are of one sender; what showed up where."""
        seen: list[tuple[str, bytes]] = []
        for nick in dict.fromkeys(nick for nick, _ in frames):
            mine = [self._real(frame).hex() for sender, frame in frames if sender == nick]
            self.agents[cast.PORTS[nick].host].call("send", name=nick, frames=mine)
            for _ in range(2):
                found, missing = self.sentinel(nick)
                seen += [(name, self._unreal(frame)) for name, frame in found]
                if missing:
                    raise Away(f"the sentinel of {nick} did not arrive at {', '.join(missing)}")
        return seen

    def drops(self, nicks: set[str]) -> Counter[tuple[str, str]]:
        """Packets dropped so far, by (port's name here, reason in words)."""
        found: Counter[tuple[str, str]] = Counter()
        for nick in sorted(nicks):
            port = cast.PORTS[nick]
            for line in self.world.drops(port.host, port.tap):
                found[nick, line["reason"]] += line["packets"]
        return found

    def drops_of_guest(self, host: str, guest: str) -> Counter[str]:
        """Packets dropped so far of a whole guest, by reason in words."""
        port = self.world.port_of(host, guest)["tap"]
        return Counter({line["reason"]: line["packets"] for line in self.world.drops(host, port)})

    def burst(self, nick: str, frame: bytes, mark: bytes, number: int) -> tuple[dict[str, int], float]:
        """(how many of ``number`` copies of a frame with this mark arrived at each port, the seconds that sending took)."""
        for agent in self.agents.values():
            agent.call("tally", mark=mark.hex(), seconds=0)
        near = self.agents[cast.PORTS[nick].host]
        far = [agent for agent in self.agents.values() if agent is not near]
        for agent in far:
            agent.ask("tally", mark=mark.hex(), seconds=1.0)
        took = near.call("burst", name=nick, frame=frame.hex(), count=number)["seconds"]
        near.ask("tally", mark=mark.hex(), seconds=0.2)
        return {name: many for agent in (near, *far) for name, many in agent.answer()["counts"].items()}, took

    def end(self) -> None:
        for agent in self.agents.values():
            agent.end()

    def _real(self, frame: bytes) -> bytes:
        for stand_in, real in self.real.items():
            frame = frame.replace(stand_in, real)
        return frame

    def _unreal(self, frame: bytes) -> bytes:
        for stand_in, real in self.real.items():
            frame = frame.replace(real, stand_in)
        return frame


def _sentinel(port: cast.Port, mark: bytes) -> bytes:
    """A frame that the port may send under any guard and that its whole VLAN hears."""
    if port.owns:
        group = "239.9.9.9"
        packet = ip4(group, UDP(sport=9, dport=9) / Raw(mark), src=port.ip, ttl=1)
        tags = [(0x8100, 10)] if port.group == "both" else []
        return ether(group4(group), packet, src=port.mac, kind=IPV4, tags=tags)
    packet = ip4("255.255.255.255", UDP(sport=68, dport=67) / BOOTP(op=1, chaddr=mac(port.mac)) / Raw(mark), src="0.0.0.0")
    return ether(BROADCAST, packet, src=port.mac)
