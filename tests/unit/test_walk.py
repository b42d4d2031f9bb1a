"""The promise that vnetd makes, walked at random: wherever a host comes from, one pass leaves it as its sources say.

Strategy: a walk is a list of stretches. In a stretch a few things happen to a host
(guests come and go, somebody deletes a port, the switch restarts); then there is a
pass, and the host is held against one that was never anywhere else. What happens is
drawn as plain words and small numbers, so that a failing walk reads as a story.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

import pytest
from fakes import FakeHost, mac_of, uuid_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lines import is_learned, is_vnetds

from vnetd.errors import WorldError
from vnetd.model.names import IfName
from vnetd.model.network import (
    Bandwidth,
    Binding,
    Guard,
    Inventory,
    Network,
    Nic,
    Overlay,
    OverlayType,
    Peer,
    Policy,
    PortGroup,
    Rate,
    Uplink,
    Vlan,
    VlanMode,
)
from vnetd.model.state import TUNNELS, Role, Shape
from vnetd.reconcile import Outcome, Rim, look, reconcile

HERE = ip_address("192.0.2.11")
PEERS = tuple(Peer(f"hv{number}", ip_address(f"192.0.2.{number}")) for number in (11, 12, 13))


def _access(tag: int) -> Vlan:
    return Vlan(VlanMode.ACCESS, tag)


def _overlay(kind: OverlayType, segment: int, *peers: Peer) -> Overlay:
    return Overlay(kind, segment, peers)


BLUE = Network(
    "blue",
    uuid_of(1),
    IfName("br-blue"),
    portgroups=(
        PortGroup("web", True, _access(10), Bandwidth(Rate(1000), Rate(500))),
        PortGroup("all", vlan=Vlan(VlanMode.TRUNK, None, (10, 20))),
    ),
    overlay=_overlay(OverlayType.GRE, 100, *PEERS),
    bindings=(Binding(mac_of(1), ip_network("10.0.0.1")), Binding(mac_of(1), ip_network("2001:db8::/64"))),
)
ISOLATED_WEB = replace(BLUE.portgroups[0], policy=Policy(guard=Guard.STRICT, isolated=True, flood=10))
RED = Network("red", uuid_of(2), IfName("br-red"), vlan=_access(20), uplink=Uplink((IfName("eth1"),)))
GREEN = Network("green", uuid_of(3), IfName("br-green"), overlay=_overlay(OverlayType.GRE, 200, *PEERS[:2]))

NETWORKS: Mapping[str, tuple[Network, ...]] = {
    "blue": (
        BLUE,
        replace(BLUE, overlay=_overlay(OverlayType.GRE, 100, *PEERS[:2])),
        replace(BLUE, overlay=_overlay(OverlayType.VXLAN, 101, *PEERS), policy=Policy(Guard.NONE)),
        replace(BLUE, portgroups=BLUE.portgroups[:1], overlay=None),
        replace(BLUE, portgroups=(ISOLATED_WEB, BLUE.portgroups[1])),
        replace(BLUE, portgroups=(ISOLATED_WEB, BLUE.portgroups[1]), policy=Policy(guard=Guard.STRICT, host=True), bindings=()),
    ),
    "red": (
        RED,
        replace(RED, uplink=Uplink((IfName("eth2"),)), vlan=None),
        replace(RED, uplink=Uplink((IfName("eth0"),))),
        replace(RED, policy=Policy(guard=Guard.STRICT, isolated=True, neighbour=0, host=True)),
        replace(RED, uplink=None, bridge=IfName("br-rouge")),
    ),
    "green": (GREEN, replace(GREEN, overlay=_overlay(OverlayType.GRE, 200, *PEERS[1:])), replace(GREEN, overlay=None)),
}
"""Each network as it is first, and what may become of it."""


def _nic(number: int, network: str, guest: int, **more: object) -> Nic:
    common = Nic(
        mac_of(number),
        network,
        tap=IfName(f"vnet{number}"),
        iface_id=uuid_of(100 + number),
        portid=uuid_of(200 + number),
        owner=f"guest{guest}",
        owner_uuid=uuid_of(300 + guest),
    )
    return replace(common, **more)  # type: ignore[arg-type]


GUESTS = (
    (_nic(1, "blue", 0),),
    (_nic(2, "blue", 1, portgroup="all"), _nic(3, "red", 1, vlan=_access(30), bandwidth=Bandwidth(Rate(50, 80, 9), Rate(40)), mtu=1400)),
    (_nic(4, "green", 2, policy=Policy(Guard.NONE)), _nic(5, "blue", 2, vlan=Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10, 30)))),
    (_nic(6, "blue", 3, policy=Policy(guard=Guard.STRICT, flood=0), addresses=(ip_network("10.0.0.6"), ip_network("2001:db8:1::6"))),),
)
SCRIPTED = (
    Nic(mac_of(16), "blue", tap=IfName("tap0"), owner="tap0"),
    Nic(None, "red", tap=IfName("tap1"), owner="tap1", bandwidth=Bandwidth(None, Rate(70))),
    Nic(mac_of(18), "green", tap=IfName("tap2"), owner="tap2", policy=Policy(Guard.NONE)),
)
"""Taps that QEMU made itself and gave to ovs-ifup."""


@dataclass
class World:
    """A host and its sources, and all that may happen to either."""

    host: FakeHost
    networks: dict[str, Network] = field(default_factory=dict)
    domains: dict[int, tuple[Nic, ...]] = field(default_factory=dict)
    announced: dict[str, Nic] = field(default_factory=dict)
    scripted: dict[str, Nic] = field(default_factory=dict)
    gone_networks: set[str] = field(default_factory=set)
    gone_taps: set[str] = field(default_factory=set)
    doubt: bool = False
    """Whether something happened since the last pass that only a look at the switch or the kernel shows."""

    @property
    def rim(self) -> Rim:
        """The host as the daemon sees it, which believes what it remembers until it has a reason to doubt it."""
        return Rim(self.host, self.host, self.host)

    def inventory(self) -> Inventory:
        nics = [nic for guest in self.domains.values() for nic in guest]
        return Inventory(
            networks=tuple(self.networks.values()),
            nics=(*nics, *self.announced.values(), *self.scripted.values()),
            gone_networks=frozenset(self.gone_networks),
            gone_taps=frozenset(self.gone_taps),
            complete=True,
        )

    def claimed(self) -> set[str]:
        """The taps that a source names, by their own name or by libvirt's interfaceid, on a network that takes them."""
        wanted = {nic.iface_id for nic in self.announced.values() if self._is_taken(nic)}
        joined = {name for name, row in self.host.ports.items() if row.ids.get("iface-id") in wanted}
        nics = [nic for guest in (*self.domains.values(), self.scripted.values()) for nic in guest]
        return joined | {str(nic.tap) for nic in nics if self._is_taken(nic)}

    def _is_taken(self, nic: Nic) -> bool:
        network = self.networks.get(str(nic.network))
        return network is not None and (nic.portgroup is None or network.portgroup(nic.portgroup) is not None)

    # Networks.

    def network_comes(self, name: str, variant: int) -> None:
        """It is started, or changed while it runs."""
        self.networks[name] = NETWORKS[name][variant % len(NETWORKS[name])]
        self.gone_networks.discard(self.networks[name].uuid)

    def network_goes(self, name: str) -> None:
        if network := self.networks.pop(name, None):
            self.gone_networks.add(network.uuid)

    # Guests of libvirt's.

    def guest_comes(self, number: int) -> None:
        """Taps and rows first, then the guest's XML names them, as at a start or when a migration ends here."""
        for nic in GUESTS[number]:
            self._plug(nic)
        self.domains[number] = GUESTS[number]

    def guest_prepares(self, number: int) -> None:
        """Its XML is here before its taps are, as while it migrates to this host."""
        self.domains[number] = GUESTS[number]

    def guest_goes(self, number: int) -> None:
        for nic in GUESTS[number]:
            self._unplug(nic)
        self.domains.pop(number, None)

    def guest_crashes(self, number: int) -> None:
        """Its taps go with it, and nobody deletes its rows."""
        for nic in GUESTS[number]:
            self.host.link_goes(str(nic.tap))
            self.announced.pop(str(nic.portid), None)
        self.domains.pop(number, None)

    def guest_is_forgotten(self, number: int) -> None:
        """The sources drop it while its taps are still there: libvirt says "stopped" before it takes the taps away."""
        self.domains.pop(number, None)

    def nic_is_announced(self, number: int) -> None:
        """Hotplug: libvirt says that a NIC will come, but not what its tap is called."""
        nic = GUESTS[number][-1]
        self.announced[str(nic.portid)] = replace(nic, tap=None)

    def nic_is_plugged(self, number: int) -> None:
        if str(GUESTS[number][-1].portid) in self.announced:
            self._plug(GUESTS[number][-1])

    def nic_is_unplugged(self, number: int) -> None:
        nic = GUESTS[number][-1]
        self._unplug(nic)
        if number in self.domains:
            self.domains[number] = tuple(one for one in self.domains[number] if one is not nic)

    def _plug(self, nic: Nic) -> None:
        network = self.networks.get(str(nic.network))
        if network is None or network.bridge not in self.host.bridges:
            return  # libvirt finds no bridge, and the tap stays out of Open vSwitch.
        self.host.link_comes(str(nic.tap))
        ids = {"attached-mac": str(nic.mac), "iface-id": str(nic.iface_id), "vm-id": str(nic.owner_uuid)}
        self.host.libvirt_add_port(str(nic.tap), network.bridge, ids, tag=10, shape=Shape(1, 2, 3), policing=400)

    def _unplug(self, nic: Nic) -> None:
        self.host.libvirt_del_port(str(nic.tap))
        self.host.link_goes(str(nic.tap))
        self.announced.pop(str(nic.portid), None)

    # Taps of ovs-ifup's.

    def ifup(self, number: int) -> None:
        nic = SCRIPTED[number]
        self.host.link_comes(str(nic.tap), up=False)
        self.scripted[str(nic.tap)] = nic
        self.gone_taps.discard(str(nic.tap))

    def ifdown(self, number: int) -> None:
        """QEMU runs the script before it closes the tap."""
        tap = str(SCRIPTED[number].tap)
        self.scripted.pop(tap, None)
        self.gone_taps.add(tap)

    def tap_goes(self, number: int) -> None:
        """Whoever held it was killed."""
        self.host.link_goes(str(SCRIPTED[number].tap))

    def tap_is_set_down(self, number: int) -> None:
        if str(SCRIPTED[number].tap) in self.host.links:
            self.host.links[str(SCRIPTED[number].tap)] = False

    def ethernet_guest_comes(self) -> None:
        """libvirt knows the MAC of a tap whose file has none, and nothing of its network."""
        tap = str(SCRIPTED[1].tap)
        self.domains[9] = (Nic(mac_of(17), tap=IfName(tap), owner="guest9", owner_uuid=uuid_of(309)),)

    def ethernet_guest_goes(self) -> None:
        """Its tap goes with it, and the pass of the hook that says so comes before another guest can have the tap."""
        self.domains.pop(9, None)
        self.tap_goes(1)
        _pass(self)

    # The host.

    def address_comes(self) -> None:
        self.doubt = True
        self.host.addresses.add(HERE)

    def address_goes(self) -> None:
        self.doubt = True
        self.host.addresses.discard(HERE)

    def another_address_is_set(self) -> None:
        """The setting says that this host is hv2, or says nothing again."""
        self.doubt = True
        self.host.local_address = None if self.host.local_address else PEERS[1].address

    def tunnel_bridge_is_renamed(self) -> None:
        self.doubt = True
        self.host.tunnel_bridge = "br-mesh" if self.host.tunnel_bridge == "br-tun" else "br-tun"

    def device_breaks(self, number: int) -> None:
        """Open vSwitch cannot open a tap or an uplink; the transaction succeeds all the same."""
        self.host.link_breaks(("vnet1", "vnet5", "tap0", "eth1")[number % 4])

    def daemon_starts_blind(self) -> None:
        """A pass without any source changes nothing that lives.

        It may sweep rows of taps that are gone and of no port's QoS, and let the flows that are there see into fragments again.
        """
        if any(row.owner not in ("", TUNNELS) for row in self.host.bridges.values()):
            self.host.fuse = None
            before = self._living()
            reconcile(Inventory(), self.host.rim())
            assert self._living() == before

    def _living(self) -> list[str]:
        lines = [line for line in self.host.text().splitlines() if not line.startswith("QoS") and not line.endswith(", dead")]
        return [re.sub(r"^(bridge .*, )(normal|drop)(, quiet)", r"\1nx-match\3", line) for line in lines]

    def switch_restarts(self) -> None:
        self.doubt = True
        self.host.vswitchd_restart()

    def switch_renumbers(self) -> None:
        self.doubt = True
        self.host.vswitchd_restart(order=sorted(self.host.ports, reverse=True))

    def ovsdb_is_lost(self) -> None:
        self.host.ovsdb_lost()

    def numbers_are_reused(self) -> None:
        self.host.reuse_numbers = not self.host.reuse_numbers

    def traffic_is_learned(self, number: int) -> None:
        """A frame from behind a tunnel, for each network that has one."""
        self.doubt = True
        bridge = self.host.tunnel_bridge
        for line in self.host.flows(bridge) if bridge in self.host.bridges else ():
            if "actions=learn(" in line and "gone-" not in line:
                tunnel = line.partition(",in_port=")[2].partition(" ")[0]
                self.host.learn(line.rpartition("output:")[2], tunnel, mac_of(200 + number))

    def guests_speak(self, number: int) -> None:
        """A frame from every other port of a network's bridge, and one that drops."""
        self.doubt = True
        for at, (name, row) in enumerate(sorted(self.host.ports.items())):
            speaks = row.mark in (Role.GUEST, Role.UPLINK, Role.PATCH) and self.host.bridges[row.bridge].owner != TUNNELS
            if speaks and row.ofport > 0 and at % 2 == number % 2 and self.host.bridges[row.bridge].fail_mode == "secure":
                self.host.hear(name, mac_of(100 + at))
                self.host.refuse(name, 0x11 + number % 3)

    def something_fails(self, number: int) -> None:
        """The switch or OVSDB refuses a change in the middle of the next pass."""
        self.host.fuse = number

    # People.

    def hand_makes_things(self) -> None:
        """A bridge, a port and a flow of somebody's own. Repairing fail_mode costs a bridge all its flows, so there it is none."""
        if "br-user" not in self.host.bridges:
            self.host.hand_bridge("br-user")
        for bridge, row in self.host.bridges.items():
            if row.owner and row.fail_mode == "secure" and f"my-{bridge}" not in self.host.ports:
                self.host.hand_port(f"my-{bridge}", bridge)
                self.host.hand_flow(bridge, "cookie=0x7, table=5, priority=9,in_port=LOCAL actions=output:1")
                break

    def hand_deletes_a_port(self, number: int) -> None:
        if ours := self._ports():
            self.host.hand_delete_port(ours[number % len(ours)])

    def hand_deletes_a_bridge(self, number: int) -> None:
        if ours := [name for name, row in self.host.bridges.items() if row.owner and f"my-{name}" not in self.host.ports]:
            self.host.hand_delete_bridge(ours[number % len(ours)])

    def hand_changes_ports(self, number: int) -> None:
        for name in self._ports():
            row = self.host.ports[name]
            match number % 4:
                case 0:
                    row.vlan = _access(99)
                case 1:
                    row.mtu = 9000
                case 2:
                    row.qos = None
                case 3:
                    row.options = (("key", "7"),)

    def hand_changes_flows(self, number: int) -> None:
        """One is deleted, one lets everything pass, and one bears vnetd's cookie and is not vnetd's."""
        self.doubt = True
        for row in self.host.bridges.values():
            keys = sorted(key for key, line in row.flows.items() if is_vnetds(line))
            if row.owner and len(keys) > 1:
                one, other = keys[number % len(keys)], keys[(number + 1) % len(keys)]
                row.flows[one] = row.flows[one].partition(" actions=")[0] + " actions=NORMAL"
                del row.flows[other]
        for name, row in self.host.bridges.items():
            if row.owner:
                self.host.hand_flow(name, "cookie=0x766e657400000001, priority=500 actions=NORMAL")

    def hand_changes_fragments(self, number: int) -> None:
        """The flows then see no port of a fragment; those that somebody needs so are on their own bridge."""
        self.doubt = True
        if ours := [row for row in self.host.bridges.values() if row.owner]:
            ours[number % len(ours)].fragments = ("normal", "drop")[number % 2]

    def hand_opens_a_bridge(self, number: int) -> None:
        if ours := [row for row in self.host.bridges.values() if row.owner]:
            row = ours[number % len(ours)]
            row.fail_mode, row.flows, row.meters = "standalone", {}, {}

    def _ports(self) -> list[str]:
        return sorted(name for name, row in self.host.ports.items() if row.mark is not None)


def _happenings() -> st.SearchStrategy[tuple[object, ...]]:
    """One thing that may happen: a method of World's and its arguments."""
    small = st.integers(0, 7)
    guest = st.integers(0, len(GUESTS) - 1)
    tap = st.integers(0, len(SCRIPTED) - 1)
    network = st.sampled_from(sorted(NETWORKS))
    arguments: dict[Callable[..., None], tuple[st.SearchStrategy[object], ...]] = {
        World.network_comes: (network, small),
        World.network_goes: (network,),
        **dict.fromkeys((World.guest_comes, World.guest_prepares, World.guest_goes), (guest,)),
        **dict.fromkeys((World.guest_crashes, World.guest_is_forgotten), (guest,)),
        **dict.fromkeys((World.nic_is_announced, World.nic_is_plugged, World.nic_is_unplugged), (guest,)),
        **dict.fromkeys((World.ifup, World.ifdown, World.tap_goes, World.tap_is_set_down), (tap,)),
        **dict.fromkeys((World.address_comes, World.address_goes, World.switch_restarts, World.switch_renumbers), ()),
        **dict.fromkeys((World.ethernet_guest_comes, World.ethernet_guest_goes, World.another_address_is_set), ()),
        **dict.fromkeys((World.tunnel_bridge_is_renamed, World.daemon_starts_blind), ()),
        World.device_breaks: (small,),
        **dict.fromkeys((World.ovsdb_is_lost, World.numbers_are_reused, World.hand_makes_things), ()),
        **dict.fromkeys((World.traffic_is_learned, World.guests_speak, World.something_fails, World.hand_deletes_a_port), (small,)),
        **dict.fromkeys((World.hand_deletes_a_bridge, World.hand_changes_ports), (small,)),
        **dict.fromkeys((World.hand_changes_flows, World.hand_opens_a_bridge, World.hand_changes_fragments), (small,)),
    }
    # Networks and guests come more often than the rest, or most walks would lead over empty hosts.
    often = [World.network_comes, World.guest_comes, World.ifup] * 3
    return st.sampled_from([*arguments, *often]).flatmap(lambda verb: st.tuples(st.just(verb.__name__), *arguments[verb]))


def _new_host() -> FakeHost:
    links = {"lo": True, "eth0": True, "eth1": False, "eth2": True}
    return FakeHost(links=links, addresses={HERE}, default_route={"eth0"})


def _pass(world: World) -> Outcome:
    """A pass, and where it fails another one, as the daemon makes it."""
    before = world.host.text_by_hand()
    if world.doubt:
        world.rim.forget()
    try:
        outcome = reconcile(world.inventory(), world.rim)
    except WorldError:
        outcome = reconcile(world.inventory(), world.host.rim())
    if outcome.left:
        outcome = reconcile(world.inventory(), world.host.rim())
    world.doubt = False
    world.gone_networks.clear()
    world.gone_taps.clear()
    after = world.host.text_by_hand()
    assert {name: before[name] for name in after if name in before} == {name: after[name] for name in after if name in before}
    assert {name for name in before if name.startswith("br-user")} <= set(after)
    return outcome


def _fresh_twin(world: World) -> FakeHost:
    """A host that was never anywhere else: the same devices, addresses and sources, and what libvirt alone knows of a tap."""
    twin = replace(copy.deepcopy(world), host=_new_host())
    twin.host.links = {name: name not in ("eth1", "tap0", "tap1", "tap2") for name in world.host.links}
    twin.host.addresses, twin.host.broken = set(world.host.addresses), set(world.host.broken)
    twin.host.local_address, twin.host.tunnel_bridge = world.host.local_address, world.host.tunnel_bridge
    reconcile(twin.inventory(), twin.host.rim())
    for nic in twin.announced.values():
        for name, row in world.host.ports.items():
            if row.ids.get("iface-id") == nic.iface_id and name in world.host.links and row.bridge in twin.host.bridges:
                twin.host.libvirt_add_port(name, row.bridge, row.ids)
    reconcile(twin.inventory(), twin.host.rim())
    return twin.host


def _unlike(here: str, twin: str) -> list[str]:
    """The lines that only one of two hosts has."""
    # A bridge that once was quiet stays so when an uplink makes it the host's: vnetd does not know what the host had before.
    here, twin = (re.sub(r"(?m)^(bridge .*), quiet: \w+$", r"\1", text) for text in (here, twin))
    ours, theirs = here.splitlines(), twin.splitlines()
    return [f"only here: {line}" for line in ours if line not in theirs] + [f"missing here: {line}" for line in theirs if line not in ours]


def _left_out(world: World) -> set[str]:
    """Guest ports that no source names, and bridges that stay for somebody's port: nothing is promised of their rows."""
    claimed = world.claimed()
    needed = {network.bridge for network in world.networks.values()}
    tunnels = any(network.overlay for network in world.networks.values())
    ports = {name for name, row in world.host.ports.items() if row.mark in (Role.GUEST, None) and name not in claimed}
    bridges = {name for name in world.host.bridges if name not in needed and not (name == world.host.tunnel_bridge and tunnels)}
    return ports | {name for name in bridges if f"my-{name}" in world.host.ports}


def _passes_nothing_unclaimed(world: World) -> None:
    """Only a claimed guest's port, a carrier or the host's own port may have a flow that leads further, or be given a frame."""
    carriers = {name for name, row in world.host.ports.items() if row.mark in (Role.UPLINK, Role.PATCH, Role.TUNNEL)}
    allowed = world.claimed() | carriers | {"LOCAL"}
    for bridge, row in world.host.bridges.items():
        for line in world.host.flows(bridge) if row.owner else ():
            first_table = "table=" not in line
            port = line.partition("in_port=")[2].partition(",")[0].partition(" ")[0]
            passes = not line.endswith(("actions=drop", "actions=set_field:0x2->reg2,goto_table:60"))
            if is_vnetds(line) and (first_table or port) and passes:
                assert port in allowed, f"{bridge} has {line}"
            if is_vnetds(line) and not is_learned(line):
                assert set(_OUTPUT.findall(line)) <= allowed, f"{bridge} has {line}"


def _settle(world: World) -> None:
    """A pass, and everything that is promised of it."""
    numbers, heard = _numbered(world), _heard_by_bridge(world)
    outcome = _pass(world)
    assert not outcome.left
    _keeps_what_was_heard(world, numbers, heard)
    changes = list(world.host.changes)
    # The second pass remembers nothing, so that what the first one remembered is held against the switch too.
    assert reconcile(world.inventory(), world.host.rim()).done == ()
    assert world.host.changes == changes
    left_out = _left_out(world)
    assert _unlike(world.host.text(left_out), _fresh_twin(world).text(left_out)) == []
    _passes_nothing_unclaimed(world)
    claimed = world.claimed()
    down = [tap for tap in world.scripted if tap in claimed and world.host.links.get(tap) is False]
    assert not set(down) - world.host.broken
    for patch, tunnel in world.host.learned():
        segment = next(one for one in outcome.desired.segments if one.patch == patch)
        assert tunnel in segment.tunnels


def _heard_by_bridge(world: World) -> dict[tuple[str, int], set[str]]:
    """What the switch has made itself on networks' bridges, by bridge and port number."""
    found: dict[tuple[str, int], set[str]] = {}
    for bridge, row in world.host.bridges.items():
        for line in row.flows.values() if row.owner not in ("", TUNNELS) else ():
            if is_learned(line):
                number = int(re.findall(r"(?:load:|reg1=)0x([0-9a-f]+)", line)[0], 16)
                found.setdefault((bridge, number), set()).add(line)
    return found


def _numbered(world: World) -> dict[tuple[str, int], str]:
    """The ports that the switch has made, by bridge and number."""
    return {(row.bridge, row.ofport): name for name, row in world.host.ports.items() if row.ofport > 0}


def _keeps_what_was_heard(world: World, numbered: dict[tuple[str, int], str], before: dict[tuple[str, int], set[str]]) -> None:
    """Nothing that was learned of a port that lives is lost to a pass, and nothing is left of one that has gone."""
    after, numbers = _heard_by_bridge(world), _numbered(world)
    assert all(place in numbers for place in after), (after, numbers)
    for (bridge, number), lines in before.items():
        row = world.host.bridges.get(bridge)
        lives = (bridge, number) in numbers and numbers[bridge, number] == numbered.get((bridge, number))
        if row is not None and row.owner and lives and bridge in _needed(world):
            assert lines <= after.get((bridge, number), set()), f"{numbers[bridge, number]} on {bridge}"


def _needed(world: World) -> set[str]:
    return {str(network.bridge) for network in world.networks.values()}


_OUTPUT = re.compile(r"output:(?![NO]XM_)([^,)]+)")


def _everything_comes(world: World) -> None:
    for name in NETWORKS:
        world.network_comes(name, 0)
    _settle(world)
    for number in range(len(GUESTS)):
        world.guest_comes(number)
    for number in range(len(SCRIPTED)):
        world.ifup(number)
    _settle(world)


def _everything_goes(world: World) -> None:
    for name in NETWORKS:
        world.network_goes(name)
    for number in range(len(GUESTS)):
        world.guest_goes(number)
    for number in range(len(SCRIPTED)):
        world.ifdown(number)
        world.tap_goes(number)


@settings(max_examples=600, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.lists(st.lists(_happenings(), min_size=1, max_size=6), min_size=2, max_size=8))
def test_every_way_leads_to_the_same_host_and_back_to_an_empty_one(starts_busy: bool, walk: list[list[tuple[str, object]]]) -> None:
    world = World(_new_host())
    if starts_busy:
        _everything_comes(world)
    for stretch in walk:
        for verb, *arguments in stretch:
            getattr(world, verb)(*arguments)
        _settle(world)
    _everything_goes(world)
    _settle(world)
    for name in [name for name, row in world.host.ports.items() if row.by_hand and name.startswith("my-")]:
        world.host.hand_delete_port(name)
    _settle(world)
    assert world.host.text() == ""
    assert not [name for name, row in world.host.ports.items() if row.mark is not None]


@pytest.fixture
def busy() -> World:
    """A host on which all networks and guests run."""
    world = World(_new_host())
    _everything_comes(world)
    return world


def test_a_pass_that_knows_no_source_yet_changes_nothing(busy: World) -> None:
    """A daemon that starts with an empty spool, before libvirt has answered, leaves everything as it is."""
    before, changes = busy.host.text(), list(busy.host.changes)
    reconcile(Inventory(), busy.host.rim())
    assert busy.host.text() == before
    assert busy.host.changes == changes


def test_looking_changes_nothing(busy: World) -> None:
    busy.host.vswitchd_restart()
    changes = list(busy.host.changes)
    _, _, plan = look(busy.inventory(), busy.host.rim())
    assert plan
    assert busy.host.changes == changes


@pytest.mark.parametrize("fuse", range(10))
def test_a_change_that_is_refused_half_way_is_finished_by_the_next_pass(busy: World, fuse: int) -> None:
    wanted = busy.host.text()
    busy.host.ovsdb_lost()
    busy.host.fuse = fuse
    with contextlib.suppress(WorldError):
        reconcile(busy.inventory(), busy.host.rim())
    reconcile(busy.inventory(), busy.host.rim())
    assert busy.host.text() == wanted


def test_plugging_and_unplugging_a_hundred_times_leaves_nothing_behind(busy: World) -> None:
    before, shapes = busy.host.text(), len(busy.host.qos)
    for _ in range(100):
        busy.guest_goes(1)
        _pass(busy)
        busy.guest_comes(1)
        _pass(busy)
    assert busy.host.text() == before
    assert len(busy.host.qos) == shapes
