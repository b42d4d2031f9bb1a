"""VLANs that change while the guest runs: by update-device, net-update and a new definition, under traffic of both VLANs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from attacks.stage import Agent
from early_emulator import packet
from labkit import LabError
from labkit.guest import GuestSpec
from labs import started_lab
from libvirts import LIBVIRT
from world import World

BRIDGE = "br-live"
NETWORK = """<network><name>live</name>{uuid}<metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'/></metadata>
  <forward mode='bridge'/><bridge name='br-live'/><virtualport type='openvswitch'/>
  {groups}
</network>"""
TAP = "<interface><mac address='{mac}'/><source network='live'/><vlan><tag id='{tag}'/></vlan>{more}</interface>"
UNLIMITED = "<v:interface xmlns:v='urn:vnetd:domain:1'><v:policy flood='none'/></v:interface>"
MARKS = {10: b"to the ten", 20: b"to the twenty"}
NEVER = b"never sent".hex()
GUESTS = {"mover": "10.0.89.1", "mate": "10.0.89.2"}
PINGS = 250
"""Pings of the mover's to a group, one each 20 ms: five seconds of them."""


def group(name: str, tag: int) -> str:
    return f"<portgroup name='{name}'><vlan><tag id='{tag}'/></vlan></portgroup>"


@dataclass
class Scene:
    """Two guests in a portgroup of VLAN 10, and beside them an open tap in each of the VLANs 10 and 20."""

    world: World
    taps: dict[int, Agent]

    def tap_of(self, guest: str) -> str:
        found = re.search(r"vnet\d+", self.world.on("hv1", "virsh", "domiflist", guest))
        assert found
        return found[0]

    def vlan_of(self, guest: str) -> str:
        return self.world.on("hv1", f"ovs-vsctl get port {self.tap_of(guest)} tag").strip()

    def within_a_second(self, guest: str, tag: int) -> None:
        """The row follows by then; the flows are older than it."""
        start = time.monotonic()
        self.world.until(lambda: self.vlan_of(guest) == str(tag), 5, f"{guest} is in VLAN {tag}")
        tap = self.tap_of(guest)
        flows = self.world.on("hv1", f"ovs-ofctl -O OpenFlow14 --names dump-flows {BRIDGE} table=12")
        self.world.until(lambda: f"set_field:{4096 + tag}->" in _of(tap, flows), 1, f"{tap} in the flows:\n{flows}")
        print(f"{guest} in VLAN {tag} {time.monotonic() - start:.2f} s after virsh returned")
        assert time.monotonic() - start < 1

    def update(self, guest: str, inside: str, portgroup: str = "web") -> None:
        """``virsh update-device`` with the guest's own NIC, as it is defined, and a word more."""
        text = self.world.on("hv1", "virsh", "dumpxml", guest, "--inactive")
        nic = re.search(r"<interface.*?</interface>", text, re.DOTALL)
        assert nic
        new = nic[0].replace("</interface>", f"{inside}</interface>").replace("portgroup='web'", f"portgroup='{portgroup}'")
        self.world.on("hv1", f"cat > /run/{guest}.xml && virsh -q update-device {guest} /run/{guest}.xml --live", stdin=new)

    def define(self, *groups: str) -> None:
        uuid = self.world.on("hv1", "virsh net-uuid live").strip()
        text = NETWORK.format(uuid=f"<uuid>{uuid}</uuid>", groups="".join(groups))
        self.world.on("hv1", "cat > /run/live.xml && virsh -q net-define /run/live.xml", stdin=text)

    def assert_a_restart_changes_nothing(self) -> None:
        before, ages = (self.world.rows("hv1"), self.world.flows("hv1")), self.world.ages("hv1", BRIDGE)
        self.world.restart_daemon("hv1")
        self.world.assert_settled("hv1")
        assert (self.world.rows("hv1"), self.world.flows("hv1")) == before
        self.world.assert_flows_untouched("hv1", BRIDGE, {flow: age for flow, age in ages.items() if "table=4," not in flow})


def _of(tap: str, flows: str) -> str:
    return "\n".join(line for line in flows.splitlines() if re.search(rf'in_port="?{tap}"?[, ]', line))


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    network = NETWORK.format(uuid="", groups=group("web", 10))
    with started_lab("v", 1, network) as world:
        taps = {tag: Agent(world.lab, "hv1") for tag in (10, 20)}
        try:
            for name, address in GUESTS.items():
                world.guest("hv1", GuestSpec(name, "live", "web", addresses=[f"{address}/24"]), wait=False)
            for tag, agent in taps.items():
                agent.call("open", name="tap", tap=f"tap{tag}")
                text = TAP.format(mac=f"52:54:00:89:00:{tag}", tag=tag, more=UNLIMITED)
                world.on("hv1", f"cat > /etc/vnetd/taps/tap{tag}.xml && /etc/vnetd/ovs-ifup tap{tag}", stdin=text)
            world.wait_up(*GUESTS)
            yield Scene(world, taps)
        finally:
            for agent in taps.values():
                agent.end()


@pytest.fixture
def scene(stage: Scene) -> Iterator[Scene]:
    """The stage, with both guests back in VLAN 10 by their portgroup afterwards."""
    yield stage
    stage.define(group("web", 10))
    stage.world.on("hv1", "virsh", "net-update", "live", "modify", "portgroup", group("web", 10), "--live")
    for guest in GUESTS:
        if stage.vlan_of(guest) != "10":
            stage.update(guest, "")
    stage.world.on("hv1", "vnetctl apply")
    for guest in GUESTS:
        stage.within_a_second(guest, 10)
    stage.world.assert_settled("hv1")


def test_update_device_moves_a_guest_that_is_never_in_both(scene: Scene) -> None:
    """What it says reaches one VLAN or the other, each frame one of them; what it hears is the old one's and then the new one's."""
    world, tap = scene.world, scene.tap_of("mover")
    # The tap's own side of the host: what goes out there is what the guest hears.
    sniffer = f"tcpdump -i {tap} -Q out -nn -A -s 200 udp or icmp > /run/heard 2>/dev/null & echo $!"
    pid = world.on("hv1", sniffer).strip()
    time.sleep(0.5)
    for tag, agent in scene.taps.items():
        frame = b"\xff" * 6 + bytes.fromhex(f"5254008900{tag}") + b"\x08\x00" + packet(bytes([10, 0, 89, tag]), MARKS[tag])
        agent.ask("stream", name="tap", frames=[frame.hex()], seconds=7, pause=0.002)
    world.inside("mover", f"route add -net 239.0.0.0 netmask 255.0.0.0 eth0; (ping -i 0.02 -c {PINGS} 239.1.1.1 > /tmp/group 2>&1 &)")
    time.sleep(2)
    scene.update("mover", "<vlan><tag id='20'/></vlan>")
    scene.within_a_second("mover", 20)
    sent = {tag: agent.answer()["rounds"] for tag, agent in scene.taps.items()}
    assert min(sent.values()) > 1000, sent
    heard = {}
    for tag, agent in scene.taps.items():
        seen = agent.call("until", mark=NEVER, of=NEVER, at=["tap"], seconds=0.5)["seen"]
        heard[tag] = _pings([bytes.fromhex(frame) for _, frame in seen], GuestSpec("mover", "live").hardware_address)
    world.on("hv1", f"kill {pid}; sleep 0.2")
    print(f"pings heard: { ({tag: len(one) for tag, one in heard.items()}) }")
    assert not set(heard[10]) & set(heard[20]), "in both VLANs"
    assert sorted([*heard[10], *heard[20]]) == list(range(PINGS)), "one lost, or one twice"
    assert max(heard[10]) < min(heard[20])
    order = re.findall(r"to the (ten|twenty)", world.on("hv1", "cat /run/heard"))
    print(f"the guest heard {order.count('ten')} of VLAN 10 and {order.count('twenty')} of VLAN 20")
    first = order.index("twenty")
    assert first > 200
    assert len(order) - first > 200
    assert set(order[:first]) == {"ten"}
    assert set(order[first:]) == {"twenty"}
    scene.assert_a_restart_changes_nothing()
    assert scene.vlan_of("mover") == "20"


def _pings(frames: list[bytes], mac: str) -> list[int]:
    """The sequence numbers of the echo requests that come from this address."""
    sender = bytes.fromhex(mac.replace(":", ""))
    return [
        int.from_bytes(frame[40:42], "big") for frame in frames if frame[6:12] == sender and frame[12:14] == b"\x08\x00" and frame[23] == 1
    ]


def test_what_is_a_nics_own_stays_when_its_portgroup_moves(scene: Scene) -> None:
    """Both follow the portgroup, and not a ping between them is lost; then one has its own VLAN, and does not."""
    world = scene.world
    assert world.pings("mover", GUESTS["mate"])
    world.inside("mover", f"(ping -i 0.02 -c {PINGS} {GUESTS['mate']} > /tmp/pings 2>&1 &)")
    time.sleep(1)
    for tag in (30, 31):
        world.on("hv1", "virsh", "net-update", "live", "modify", "portgroup", group("web", tag), "--live")
        for guest in GUESTS:
            scene.within_a_second(guest, tag)
    words = world.until(lambda: _summary(world), 20, "ping ends")
    assert words == f"{PINGS} packets transmitted, {PINGS} packets received, 0% packet loss"
    scene.assert_a_restart_changes_nothing()
    scene.update("mate", "<vlan><tag id='20'/></vlan>")
    scene.within_a_second("mate", 20)
    world.on("hv1", "virsh", "net-update", "live", "modify", "portgroup", group("web", 32), "--live")
    scene.within_a_second("mover", 32)
    assert scene.vlan_of("mate") == "20"
    scene.assert_a_restart_changes_nothing()
    # Without a word of its own it is the portgroup's again.
    scene.update("mate", "")
    scene.within_a_second("mate", 32)


TWENTY = group("twenty", 20).replace("</p", "<bandwidth><inbound average='125000'/></bandwidth></p")


@pytest.mark.skipif(not LIBVIRT.moves_nics_between_portgroups, reason="this libvirt does not: see the next test")
def test_a_nic_that_moves_to_another_portgroup_keeps_the_vlan_that_it_names(scene: Scene) -> None:
    """It is the one that it had from its old portgroup, and is its own in the new one.

    The limit is what libvirt changes the NIC for: it takes no notice of another portgroup alone.
    """
    world = scene.world
    world.on("hv1", "virsh", "net-update", "live", "add", "portgroup", TWENTY, "--live")
    try:
        scene.update("mover", "<vlan><tag id='10'/></vlan>", "twenty")
        time.sleep(1)
        assert "portgroup='twenty'" in world.on("hv1", "virsh dumpxml mover")
        scene.within_a_second("mover", 10)
        scene.assert_a_restart_changes_nothing()
        assert scene.vlan_of("mover") == "10"
        scene.update("mover", "", "twenty")
        scene.within_a_second("mover", 20)
    finally:
        scene.update("mover", "")
        world.on("hv1", "virsh", "net-update", "live", "delete", "portgroup", TWENTY, "--live")


@pytest.mark.skipif(LIBVIRT.moves_nics_between_portgroups, reason="this libvirt does: see the test before")
@pytest.mark.parametrize("more", ["", "<vlan><tag id='10'/></vlan>"])
def test_a_nic_that_may_not_move_to_another_portgroup_stays_as_it_is(scene: Scene, more: str) -> None:
    world = scene.world
    world.on("hv1", "virsh", "net-update", "live", "add", "portgroup", TWENTY, "--live")
    try:
        with pytest.raises(LabError, match="cannot modify network device portgroup attribute"):
            scene.update("mover", more, "twenty")
        time.sleep(1)
        assert "portgroup='web'" in world.on("hv1", "virsh dumpxml mover")
        assert scene.vlan_of("mover") == "10"
        world.assert_settled("hv1")
        scene.assert_a_restart_changes_nothing()
    finally:
        world.on("hv1", "virsh", "net-update", "live", "delete", "portgroup", TWENTY, "--live")


def _summary(world: World) -> str:
    return world.inside("mover", "grep 'packets transmitted' /tmp/pings")[1].strip()


def test_a_new_definition_is_planned_then_applied_and_a_restart_keeps_it(scene: Scene) -> None:
    world = scene.world
    scene.define(group("web", 40))
    before = world.rows("hv1"), world.flows("hv1")
    plan = world.attempt("hv1", "vnetctl", "plan")
    assert (plan.returncode, plan.stderr) == (3, "")
    for guest in GUESTS:
        assert f"~ port {scene.tap_of(guest)} on br-live: VLAN 40\n" in plan.stdout
    assert (world.rows("hv1"), world.flows("hv1")) == before
    world.inside("mover", f"(ping -i 0.02 -c {PINGS} {GUESTS['mate']} > /tmp/pings 2>&1 &)")
    time.sleep(1)
    world.on("hv1", "vnetctl apply")
    assert [scene.vlan_of(guest) for guest in GUESTS] == ["40", "40"]
    world.assert_settled("hv1")
    words = world.until(lambda: _summary(world), 20, "ping ends")
    assert words.endswith(" 0% packet loss")
    scene.assert_a_restart_changes_nothing()
    world.guest("hv1", GuestSpec("late", "live", "web", addresses=["10.0.89.3/24"]))
    try:
        assert scene.vlan_of("late") == "40"
        assert world.pings("late", GUESTS["mate"])
        scene.assert_a_restart_changes_nothing()
        before = world.rows("hv1"), world.flows("hv1")
        # libvirt then tells every hook what the running definition says, and what it has resolved from it.
        world.on("hv1", "pkill -x libvirtd; while pgrep -x libvirtd > /dev/null; do sleep 0.05; done; sleep 0.5; /run/start-libvirtd")
        world.until(lambda: "late" in world.attempt("hv1", "virsh -q list --name").stdout, 15, "libvirtd is back")
        time.sleep(1)
        assert (world.rows("hv1"), world.flows("hv1")) == before
    finally:
        world.on("hv1", "virsh -q destroy late; virsh -q undefine late")


def test_a_portgroup_that_is_defined_no_longer_cuts_nobody_off(scene: Scene) -> None:
    world = scene.world
    before = world.flows("hv1")
    scene.define(group("wbe", 10))
    plan = world.attempt("hv1", "vnetctl", "plan")
    told = "network live: its definition no longer has portgroup 'web', in which mate, mover run"
    assert told in plan.stderr
    apply = world.attempt("hv1", "vnetctl", "apply")
    assert apply.returncode == 1
    assert told in apply.stderr
    assert world.flows("hv1") == before
    assert world.pings("mover", GUESTS["mate"])
    newcomer = GuestSpec("late", "live", "web")
    with pytest.raises(Exception, match="network live has no such portgroup; it has wbe"):
        world.guest("hv1", newcomer)
    world.on("hv1", "virsh -q undefine late")
    scene.define(group("web", 10))
    world.on("hv1", "vnetctl apply")
    world.assert_settled("hv1")
    world.on("hv1", "virsh", "net-update", "live", "delete", "portgroup", "<portgroup name='web'/>", "--live")
    world.until(lambda: any(told in str(one["text"]) or "web" in str(one) for one in world.status("hv1")["problems"]), 5, "it is said")
    assert world.flows("hv1") == before
    scene.assert_a_restart_changes_nothing()
    world.on("hv1", "virsh", "net-update", "live", "add", "portgroup", group("web", 10), "--live")
    world.until(lambda: not world.status("hv1")["problems"], 5, "all is well")
