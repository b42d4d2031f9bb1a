"""A policy that changes under traffic: what stays allowed loses nothing, what stays forbidden gains nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from attacks.stage import Agent
from early_emulator import packet
from labkit.hypervisor import Lab
from world import World

MAC, HOSTS = "52:54:00:78:00:01", ("hv1", "hv2")
ALLOWED, FORBIDDEN = b"stays allowed", b"stays forbidden"
NETWORK = """<network><name>live</name>{uuid}<metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>
    <vnet:overlay type='gre' segment='78'>
      <vnet:peer name='hv1' address='192.0.2.11'/><vnet:peer name='hv2' address='192.0.2.12'/>{peers}
    </vnet:overlay>
    <vnet:policy {policy}/>{bindings}
  </vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-live'/><virtualport type='openvswitch'/>
  <portgroup name='red'><vlan><tag id='10'/></vlan></portgroup>
</network>"""
TAP = """<interface><mac address='{mac}'/><source network='live' portgroup='red'/>
  <vnet:interface xmlns:vnet='urn:vnetd:domain:1'><vnet:policy {policy}/>{addresses}</vnet:interface></interface>"""
OWN = "<vnet:address address='10.0.77.1'/>"
BINDING = "<vnet:binding mac='52:54:00:78:00:01' address='10.0.77.1'/>"


@dataclass
class Scene:
    """A guarded sender on the first host and a listener on each, with an agent for each tap."""

    world: World
    sender: Agent
    listeners: dict[str, Agent]

    def tap(self, host: str, name: str, mac: str, policy: str, addresses: str = "") -> None:
        """The tap's own file, written or written anew."""
        self.world.on(host, "tee", f"/etc/vnetd/taps/{name}.xml", stdin=TAP.format(mac=mac, policy=policy, addresses=addresses))

    def network(self, policy: str = "guard='strict'", bindings: str = "", peers: str = "") -> None:
        """Its definition, new on both hosts; the daemon hears of it by libvirt's event."""
        for host in HOSTS:
            uuid = self.world.on(host, "virsh net-uuid live 2>/dev/null || true").strip()
            text = NETWORK.format(policy=policy, bindings=bindings, peers=peers, uuid=f"<uuid>{uuid}</uuid>" if uuid else "")
            self.world.on(host, "cat > /run/live.xml && virsh -q net-define /run/live.xml", stdin=text)

    def applied(self, text: str, want: bool = True) -> None:
        """Wait until a flow of the first host's says so; the daemon does it by itself."""
        look = "ovs-ofctl -O OpenFlow14 dump-flows br-live"
        self.world.until(lambda: (text in self.world.on("hv1", look)) is want, 10, f"{text!r} {'is' if want else 'is not'} in the flows")


@pytest.fixture
def scene() -> Iterator[Scene]:
    lab = Lab(f"l{os.getpid() % 100000}")
    with lab.locked():
        lab.down()
        lab.up(2)
    world = World(lab)
    agents = [Agent(lab, "hv1"), Agent(lab, "hv1"), Agent(lab, "hv2")]
    scene = Scene(world, agents[0], {"hv1": agents[1], "hv2": agents[2]})
    try:
        scene.network()
        for host in HOSTS:
            world.on(host, "virsh -q net-start live")
        agents[0].call("open", name="sender", tap="sender")
        scene.tap("hv1", "sender", MAC, "guard='strict' flood='none'", OWN)
        world.on("hv1", "/etc/vnetd/ovs-ifup sender")
        for number, (host, agent) in enumerate(scene.listeners.items()):
            agent.call("open", name="ear", tap="ear")
            scene.tap(host, "ear", f"52:54:00:78:00:1{number}", "guard='none'")
            world.on(host, "/etc/vnetd/ovs-ifup ear")
        yield scene
    finally:
        for agent in agents:
            agent.end()
        with lab.locked():
            lab.down()


def _changes(scene: Scene) -> list[Callable[[], None]]:
    """Twelve ways to change a policy, each of which leaves the sender's own address allowed and a foreign MAC forbidden."""

    def own(policy: str, addresses: str, flow: str, want: bool = True) -> Callable[[], None]:
        def change() -> None:
            scene.tap("hv1", "sender", MAC, policy, addresses)
            scene.world.on("hv1", "vnetctl apply")
            scene.applied(flow, want)

        return change

    def network(flow: str, want: bool = True, **what: str) -> Callable[[], None]:
        def change() -> None:
            scene.network(**what)
            scene.applied(flow, want)

        return change

    more = OWN + "<vnet:address address='10.0.77.200'/><vnet:address address='2001:db8:77::/64'/>"
    return [
        own("guard='strict' flood='none'", more, "nw_src=10.0.77.200"),
        own("guard='strict' flood='none'", OWN, "nw_src=10.0.77.200", False),
        own("guard='mac' flood='none'", OWN, "nw_src=10.0.77.1", False),
        own("guard='strict' flood='none'", OWN, "nw_src=10.0.77.1"),
        network("nw_src=10.0.77.1", bindings=BINDING),
        own("flood='none'", "", "nw_src=10.0.77.1"),
        network("nw_src=10.0.77.1", False, policy="guard='mac'", bindings=BINDING),
        network("nw_src=10.0.77.1", bindings=BINDING),
        network("nw_proto=103", policy="guard='strict' host='yes'", bindings=BINDING),
        network("nw_proto=103", False, bindings=BINDING, peers="<vnet:peer name='hv3' address='192.0.2.13'/>"),
        network("nw_src=10.0.77.9", bindings=BINDING + BINDING.replace("77.1", "77.9")),
        own("guard='strict' flood='none'", OWN, "nw_src=10.0.77.1"),
    ]


def test_a_policy_changes_without_a_blink(scene: Scene) -> None:
    """A thousand frames a second of each kind, in a dozen changes by tap file, apply, and definition."""
    everybody, mac = b"\xff" * 6, bytes.fromhex(MAC.replace(":", ""))
    own, patience = bytes([10, 0, 77, 1]), scene.world.plane.patience
    good = everybody + mac + b"\x08\x00" + packet(own, ALLOWED)
    bad = [
        everybody + bytes.fromhex("525400666666") + b"\x08\x00" + packet(own, FORBIDDEN),
        everybody + mac + b"\x81\x00\x00\x14\x08\x00" + packet(own, FORBIDDEN),
    ]
    # The tunnel's first frame asks for its neighbour, and is lost.
    scene.sender.call("stream", name="sender", frames=[good.hex()], seconds=1.5, pause=0.05)
    for agent in scene.listeners.values():
        agent.call("tally", mark=ALLOWED.hex(), seconds=0.5)
        agent.ask("watch", marks=[ALLOWED.hex(), FORBIDDEN.hex()], seconds=40 * patience, idle=2 * patience)
    scene.sender.ask("stream", name="sender", frames=[good.hex(), *(frame.hex() for frame in bad)], seconds=20 * patience, pause=0.001)
    changes = _changes(scene)
    for change in changes:
        change()
    sent = scene.sender.answer()["rounds"]
    found = {host: agent.answer()["counts"] for host, agent in scene.listeners.items()}
    print(f"{sent} frames of each kind in {len(changes)} changes: {found}")
    for host, counts in found.items():
        assert counts == [sent, 0], f"on {host}: allowed, forbidden of {sent}"
    for host in HOSTS:
        scene.world.assert_settled(host)
