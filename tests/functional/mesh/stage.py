"""The mesh's lab: hosts whose guests talk all the time, and what was sent and heard meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from attacks.remote import Agent
from labs import started_lab
from world import World

from mesh.guests import Guest, Net, guests

WORKERS = 4
"""The machine has few processors, and each host much to do for itself."""
AGENT = Path(__file__).with_name("agent.py")


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame of a guest's; ``whom`` is another's number, or 0 for all."""

    sender: int
    whom: int
    round: int
    time: float

    @property
    def key(self) -> tuple[int, int, int]:
        return self.sender, self.whom, self.round


@dataclass(slots=True)
class Log:
    """All that was sent, and of each frame when it was heard at which guests."""

    sent: list[Sent] = field(default_factory=list)
    heard: dict[tuple[int, int, int], list[tuple[int, float]]] = field(default_factory=dict)


class Stage:
    """A lab, the guests that are there, and an agent on each host that holds their taps."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.guests: list[Guest] = []
        self.log = Log()
        self.agents = {host: Agent(world.lab, host, AGENT) for host in world.lab.names()}

    def everywhere(self, action: Callable[[str], object], hosts: Iterable[str] | None = None) -> None:
        """Do it on each host, on some at a time."""
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(action, self.agents if hosts is None else hosts))

    def start(self, nets: Sequence[Net], hosts: Sequence[int], version: int = 4, peers: Sequence[int] | None = None) -> None:
        """Networks on these hosts, with a guest of each on every one."""
        for net in nets:
            self.everywhere(partial(self.world.start_xml, net.xml(peers or hosts, version)), [f"hv{one}" for one in hosts])
        self.plug(guests(nets, hosts))

    def plug(self, fresh: Sequence[Guest]) -> None:
        """Guests whose taps are made as a user makes them."""
        by_host: dict[str, list[Guest]] = {}
        for guest in fresh:
            self.agents[guest.host].call("open", tap=guest.tap, id=guest.id)
            by_host.setdefault(guest.host, []).append(guest)
        self.guests += fresh
        self.everywhere(lambda host: self._wire(host, by_host[host]), by_host)

    def _wire(self, host: str, mine: Sequence[Guest]) -> None:
        for guest in mine:
            self.world.on(host, f"cat > /etc/vnetd/taps/{guest.tap}.xml && /etc/vnetd/ovs-ifup {guest.tap}", stdin=guest.xml)

    def unplug(self, guest: Guest) -> None:
        """The guest is gone from its host."""
        self.world.on(guest.host, f"/etc/vnetd/ovs-ifdown {guest.tap} && rm /etc/vnetd/taps/{guest.tap}.xml")
        self.agents[guest.host].call("close", tap=guest.tap)
        self.guests.remove(guest)

    def redefine(self, net: Net, host: str, peers: Iterable[int]) -> None:
        """Other peers for a network that runs, in force when this returns."""
        uuid = self.world.on(host, f"virsh net-uuid {net.name}").strip()
        self.world.on(host, "tee", "/run/network.xml", stdin=net.xml(peers, uuid=uuid))
        self.world.on(host, "virsh -q net-define /run/network.xml && vnetctl apply")

    def talk(self, period: float, strangers: bool = False, silent: Sequence[Guest] = ()) -> None:
        """All guests but the silent begin to send: to all, and to each of their network, and with ``strangers`` to the others, too."""
        for host, agent in self.agents.items():
            plan = {}
            for guest in (one for one in self.guests if one.host == host and one not in silent):
                others = [one for one in self.guests if one is not guest and (strangers or one.net == guest.net)]
                plan[guest.tap] = [guest.mac, [[one.id, one.mac] for one in others]]
            agent.call("start", period=period, plan=plan)

    def hush(self) -> None:
        for agent in self.agents.values():
            agent.call("stop")

    def gather(self) -> Log:
        """All that was sent and heard until now."""
        for agent in self.agents.values():
            agent.ask("take")
        for agent in self.agents.values():
            found = agent.answer()
            self.log.sent += [Sent(*one) for one in found["sent"]]
            for at, sender, whom, number, when in found["seen"]:
                self.log.heard.setdefault((sender, whom, number), []).append((at, when))
        return self.log

    def await_all(self, seconds: float, hosts: Iterable[int] | None = None) -> None:
        """Until a broadcast of each guest has been heard by every other one of its network."""
        numbers = set(range(1, 100) if hosts is None else hosts)
        here = [guest for guest in self.guests if guest.number in numbers]
        wanted = {(one.id, other.id) for one in here for other in here if one is not other and one.net == other.net}

        def all_heard() -> bool:
            heard = {(sender, at) for (sender, whom, _), ears in self.gather().heard.items() if not whom for at, _ in ears}
            return wanted <= heard

        self.world.until(all_heard, seconds, "every guest is heard by every other one of its network")

    def assert_settled(self) -> None:
        """What the daemon says of itself; ``vnetctl plan`` would load everything anew on each host."""
        left = {host: self.world.status(host)["to_do"] for host in self.agents}
        assert not any(left.values()), left

    def end(self) -> None:
        for agent in self.agents.values():
            agent.end()


@contextmanager
def staged(hosts: int, letter: str = "m", mtu: int = 1500) -> Iterator[Stage]:
    """A lab of so many hosts without networks, for as long as it is needed; in the end nothing is left to do on any host."""
    with started_lab(letter, hosts, mtu=mtu) as world:
        stage = Stage(world)
        try:
            yield stage
            stage.hush()
            stage.assert_settled()
        finally:
            stage.end()


def faults(
    stage: Stage, since: float, until: float, settled: Callable[[int, int, float], bool] = lambda one, other, when: True
) -> list[str]:
    """What is wrong with the frames sent between two moments: every one must be heard once where it belongs, and nowhere else.

    ``settled``: whether a frame that one host sends another at that time has to arrive.
    """
    by_id = {guest.id: guest for guest in stage.guests}
    found = []
    for sent in (one for one in stage.log.sent if since <= one.time <= until):
        sender, ears = by_id[sent.sender], [at for at, _ in stage.log.heard.get(sent.key, [])]
        for guest in stage.guests:
            meant = guest is not sender and guest.net == sender.net and sent.whom in (0, guest.id)
            count = ears.count(guest.id)
            if count > 1 or (count and not meant) or (meant and not count and settled(sender.number, guest.number, sent.time)):
                kind = "broadcast" if not sent.whom else f"frame to {by_id[sent.whom].tap}"
                found.append(f"{sender.tap}'s {kind} {sent.round} at +{sent.time - since:.2f} s was heard {count} times by {guest.tap}")
    return found


def pause(stage: Stage, seconds: float) -> tuple[float, float]:
    """Let the guests talk for so long, and what is still under way arrive; when that was."""
    since = time.time()
    time.sleep(seconds)
    until = time.time()
    time.sleep(0.5)
    stage.gather()
    return since, until
