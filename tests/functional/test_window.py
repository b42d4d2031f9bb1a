"""The first moments of a port: a guest that sends before it runs, at a hundred starts, at hotplug and at migration.

Sniffers hear every VLAN on both hosts from before any tap exists: trunk ports without
a guard, and the bridges' own devices. Nothing outside policy may show up at one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from attacks.remote import Agent
from early_emulator import FOREIGN_ADDRESS, FOREIGN_MAC, MARK
from labkit.guest import GuestSpec, domain_xml, interface_xml
from labs import started_lab
from world import World

STARTS, PLUGS, MIGRATIONS = 100, 10, 10
HOSTS = ("hv1", "hv2")
MAC, PLUGGED = "52:54:00:77:00:01", "52:54:00:77:00:02"
NETWORK = """<network><name>window</name><metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>
    <vnet:overlay type='gre' segment='77'>
      <vnet:peer name='hv1' address='192.0.2.11'/><vnet:peer name='hv2' address='192.0.2.12'/>
    </vnet:overlay>
    <vnet:policy guard='strict'/>
    <vnet:binding mac='52:54:00:77:00:01' address='10.0.77.1'/><vnet:binding mac='52:54:00:77:00:02' address='10.0.77.3'/>
  </vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-window'/><virtualport type='openvswitch'/>
  <portgroup name='red'><vlan><tag id='10'/></vlan></portgroup>
  <portgroup name='all'><vlan trunk='yes'><tag id='1'/><tag id='10'/><tag id='20'/><tag id='30'/><tag id='4094'/></vlan></portgroup>
  <portgroup name='bare'/>
</network>"""
SNIFFERS = {"trunk": "all", "bare": "bare"}
TAP = """<interface><mac address='52:54:00:77:01:0{}'/><source network='window' portgroup='{}'/>
  <vnet:interface xmlns:vnet='urn:vnetd:domain:1'><vnet:policy guard='none'/></vnet:interface></interface>"""
STOLEN = ".".join(map(str, FOREIGN_ADDRESS))
HOP = bytes([10, 0, 20, 66])
"""The guest's address in a VLAN that it is not in."""
MISCHIEF = f"""
ip link set ETH down; ip link set ETH address {FOREIGN_MAC.hex(":")}; ip link set ETH up; arping -c 1 -w 1 -I ETH -U 10.0.77.1
ip link set ETH down; ip link set ETH address MAC; ip link set ETH up
ip addr add {STOLEN}/24 dev ETH; arping -c 2 -w 1 -I ETH -U -s {STOLEN} 10.0.77.9
ip link add link ETH name ETH.20 type vlan id 20; ip link set ETH.20 up; ip addr add 10.0.20.66/24 dev ETH.20
ping -c 2 -W 1 -I ETH.20 10.0.20.1; ip link del ETH.20; ip addr flush dev ETH
ip addr add OWN/24 dev ETH; ping -c 1 -W 1 -I ETH 10.0.77.9
"""


def mischief(device: str, mac: str, address: str) -> str:
    """Commands for a guest: a foreign MAC, a stolen address, another VLAN, and then its own name again."""
    return MISCHIEF.replace("ETH", device).replace("MAC", mac).replace("OWN", address)


@dataclass
class Ears:
    """Who hears what, on both hosts."""

    world: World
    agents: dict[str, Agent]
    heard: list[tuple[str, bytes]] = field(default_factory=list)

    def listen(self) -> list[str]:
        """What was heard since the last time that no policy lets pass, as words."""
        wrong = []
        for host, agent in self.agents.items():
            found = agent.call("until", mark="5a" * 32, of="5a" * 32, at=["nobody"], seconds=0.3)["seen"]
            for name, text in found:
                frame = bytes.fromhex(text)
                self.heard.append((f"{host} {name}", frame))
                if any(part in frame for part in (MARK, FOREIGN_MAC, FOREIGN_ADDRESS, HOP)):
                    wrong.append(f"{host} {name}: {frame[:60].hex()}")
        return wrong

    def count(self, part: bytes) -> int:
        """How many frames with this inside were heard at all."""
        return sum(part in frame for _, frame in self.heard)


@pytest.fixture(scope="module")
def ears() -> Iterator[Ears]:
    with started_lab("w", len(HOSTS), NETWORK) as world:
        agents = {host: _sniffers(world, host) for host in HOSTS}
        yield Ears(world, agents)
        for agent in agents.values():
            agent.end()


def _sniffers(world: World, host: str) -> Agent:
    agent = Agent(world.lab, host)
    for number, (tap, group) in enumerate(SNIFFERS.items()):
        agent.call("open", name=tap, tap=tap)
        world.on(host, "tee", f"/etc/vnetd/taps/{tap}.xml", stdin=TAP.format(number, group))
        world.on(host, f"/etc/vnetd/ovs-ifup {tap}")
    world.on(host, "ip link set br-window up")
    agent.call("listen", name="bridge", device="br-window")
    world.on(host, "install", "-m", "755", str(Path(__file__).with_name("early_emulator.py")), "/run/early_emulator")
    return agent


def test_a_hundred_starts(ears: Ears) -> None:
    """libvirt has the tap in Open vSwitch before the emulator runs, and the emulator sends at once."""
    world = ears.world
    text = domain_xml(GuestSpec("early", "window", "red", mac=MAC)).replace("/usr/bin/qemu-system-x86_64", "/run/early_emulator")
    world.on("hv1", "cat > /run/early.xml && virsh -q define /run/early.xml", stdin=text)
    for number in range(STARTS):
        world.on("hv1", "virsh -q start early && sleep 0.05 && virsh -q destroy early")
        if number % 10 == 9:
            assert ears.listen() == []
    assert ears.count(b"as it may") >= 2 * STARTS, "what the guest may send is heard on both hosts, so the sniffers do hear it"


def test_hotplug(ears: Ears) -> None:
    """The guest waits for the new NIC and sends as soon as it is there."""
    world = ears.world
    world.guest("hv1", GuestSpec("plug", "window", "red", mac=MAC, addresses=["10.0.77.1/24"]))
    world.on("hv1", "cat > /run/nic.xml", stdin=interface_xml(GuestSpec("x", "window", "red", mac=PLUGGED)))
    wait = f"while [ ! -e /sys/class/net/eth1 ]; do :; done; {mischief('eth1', PLUGGED, '10.0.77.3')}"
    for _ in range(PLUGS):
        world.inside("plug", f"rm -f /tmp/done; ({wait} touch /tmp/done) > /tmp/mischief 2>&1 &")
        world.on("hv1", "virsh -q attach-device plug /run/nic.xml --live")
        world.until(lambda: world.inside("plug", "[ -e /tmp/done ]")[0] == 0, 30, "the guest has done its mischief")
        world.on("hv1", "virsh -q detach-device plug /run/nic.xml --live")
        world.until(lambda: world.inside("plug", "[ ! -e /sys/class/net/eth1 ]")[0] == 0, 10, "the NIC is gone")
        assert ears.listen() == []
    assert ears.count(bytes([10, 0, 77, 3])) > 0, "it was heard where it may be"
    world.on("hv1", "virsh -q destroy plug; virsh -q undefine plug")


def test_migration(ears: Ears) -> None:
    """A guest that never stops its mischief moves back and forth."""
    world = ears.world
    world.guest("hv1", GuestSpec("nomad", "window", "red", mac=MAC, addresses=["10.0.77.1/24"]))
    world.inside("nomad", f"(while :; do {mischief('eth0', MAC, '10.0.77.1')} done) > /dev/null 2>&1 &")
    dropped: set[str] = set()

    def note_drops(host: str) -> set[str]:
        dropped.update(row["reason"] for row in world.drops(host, "nomad"))
        return dropped

    for number in range(MIGRATIONS):
        here, there = HOSTS[number % 2], HOSTS[1 - number % 2]
        note_drops(here)
        world.on(here, f"virsh -q migrate --live --p2p nomad qemu+tcp://{there}/system")
        assert ears.listen() == []
    assert ears.count(bytes([10, 0, 77, 9])) > 0, "it was heard where it may be"
    # A port's counters go with it, and what the guest was at between two moves is chance; where it stays, it comes round to all.
    world.until(lambda: note_drops(HOSTS[MIGRATIONS % 2]) >= {"ARP for another's address", "VLAN not allowed"}, 30, "both are dropped")
    assert ears.listen() == []
