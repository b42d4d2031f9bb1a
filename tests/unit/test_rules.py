"""Which rules hold for a guest's port: the XML's places by precedence, addresses, isolation, limits, and claims that collide."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from fakes import FakeHost, mac_of, uuid_of

from vnetd.intent import desire
from vnetd.model.names import IfName
from vnetd.model.network import (
    UNTAGGED,
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
    QinQ,
    Qos,
    Rate,
    Uplink,
    Vlan,
    VlanMode,
)
from vnetd.model.state import Desired, GuestWire, Meter, NetworkWiring, PortFacts

HV1, HV2 = ip_address("192.0.2.11"), ip_address("192.0.2.12")
BLUE = Network("blue", uuid_of(1), IfName("br-blue"))
RED = Network("red", uuid_of(2), IfName("br-red"))
ISOLATED = PortGroup("dmz", True, policy=Policy(isolated=True))


def mesh(segment: int, kind: OverlayType = OverlayType.GRE) -> Overlay:
    return Overlay(kind, segment, (Peer("hv1", HV1), Peer("hv2", HV2)))


def nic(number: int = 1, **more: object) -> Nic:
    common = Nic(mac_of(number), "blue", tap=IfName(f"vnet{number}"), iface_id=uuid_of(10 + number), owner="web", owner_uuid=uuid_of(9))
    return replace(common, **more)  # type: ignore[arg-type]


def wanted(host: FakeHost, *networks: Network, nics: tuple[Nic, ...] = (nic(),)) -> Desired:
    for one in nics:
        host.links.setdefault(str(one.tap), True)
    return desire(Inventory(networks, nics, complete=True), host.host(), host.rows())


def wire(desired: Desired, tap: str = "vnet1") -> GuestWire:
    return next(one for wiring in desired.wirings.values() for one in wiring.guests if one.port == tap)


def words(desired: Desired) -> str:
    return "; ".join(map(str, desired.problems))


# Precedence.


@pytest.mark.parametrize("rule", ["guard", "flood", "neighbour"])
@pytest.mark.parametrize("places", ["nic group network", "group network", "network"])
def test_each_rule_comes_from_the_interface_then_the_portgroup_then_the_network(host: FakeHost, rule: str, places: str) -> None:
    """A place that says nothing of this rule is passed over, whatever it says of another."""
    values = {"guard": (Guard.NONE, Guard.STRICT, Guard.MAC), "flood": (1, 20, 30), "neighbour": (1, 20, 30)}[rule]
    said = dict(zip(("nic", "group", "network"), values, strict=True))
    silent = Policy(flood=7) if rule != "flood" else Policy(neighbour=7)
    policies = {place: replace(silent, **{rule: value}) if place in places else silent for place, value in said.items()}
    network = replace(BLUE, policy=policies["network"], portgroups=(PortGroup("g", True, policy=policies["group"]),))
    found = wire(wanted(host, network, nics=(nic(policy=policies["nic"]),)))
    expected = said[places.split()[0]]
    limit = getattr(found, rule)
    assert (limit.rate if isinstance(limit, Meter) else limit) == expected


def test_a_portgroup_that_the_guest_is_not_in_says_nothing(host: FakeHost) -> None:
    network = replace(BLUE, portgroups=(PortGroup("open", policy=Policy(Guard.NONE)),))
    assert wire(wanted(host, network)).guard is Guard.MAC


def test_without_a_word_a_guarded_port_is_limited_and_an_unguarded_one_is_not(host: FakeHost) -> None:
    guarded, free = wire(wanted(host, BLUE)), wire(wanted(host, replace(BLUE, policy=Policy(Guard.NONE))))
    assert guarded.flood is not None
    assert guarded.neighbour is not None
    assert (guarded.flood.unit, guarded.flood.rate) == ("pktps", 1000)
    assert (guarded.neighbour.unit, guarded.neighbour.rate) == ("pktps", 500)
    assert (free.flood, free.neighbour) == (None, None)


def test_no_limit_may_be_said_and_a_limit_may_be_said_without_a_guard(host: FakeHost) -> None:
    unlimited = wire(wanted(host, replace(BLUE, policy=Policy(flood=0, neighbour=0))))
    assert (unlimited.flood, unlimited.neighbour) == (None, None)
    limited = wire(wanted(host, replace(BLUE, policy=Policy(Guard.NONE, flood=5))))
    assert limited.flood is not None
    assert limited.flood.burst >= 1
    assert limited.neighbour is None


# VLANs.


def access(tag: int) -> Vlan:
    return Vlan(VlanMode.ACCESS, tag)


@pytest.mark.parametrize(
    ("places", "expected"),
    [("nic group network", 10), ("group network", 20), ("network", 30), ("", None)],
)
def test_the_vlan_comes_from_the_interface_then_the_portgroup_then_the_network(host: FakeHost, places: str, expected: int | None) -> None:
    network = replace(
        BLUE,
        vlan=access(30) if "network" in places else None,
        portgroups=(PortGroup("g", True, vlan=access(20) if "group" in places else None),),
    )
    found = wire(wanted(host, network, nics=(nic(vlan=access(10) if "nic" in places else None),))).vlan
    assert found == Vlan(VlanMode.ACCESS, expected)


def test_what_libvirt_has_settled_for_a_nic_is_its_own_even_where_it_is_nothing(host: FakeHost) -> None:
    """As after "virsh domiftune" with 0: the portgroup has no say in it any more."""
    group = PortGroup("g", True, vlan=access(20), bandwidth=Bandwidth(Rate(1), Rate(1)))
    network = replace(BLUE, portgroups=(group,))
    desired = wanted(host, network, nics=(nic(settled=frozenset({"vlan", "bandwidth"})), nic(2, settled=frozenset({"vlan"})), nic(3)))
    assert [wire(desired, tap).vlan for tap in ("vnet1", "vnet2", "vnet3")] == [UNTAGGED, UNTAGGED, access(20)]
    assert [wire(desired, tap).meter is None for tap in ("vnet1", "vnet2", "vnet3")] == [True, False, False]
    assert [desired.ports[tap].shape is None for tap in ("vnet1", "vnet2", "vnet3")] == [True, False, False]


def test_a_dot1q_tunnel_takes_its_service_vlan_from_libvirts_element(host: FakeHost) -> None:
    group = PortGroup("g", True, vlan=access(100), qinq=QinQ((10, 20), 0x88A8))
    network = replace(BLUE, portgroups=(group,))
    desired = wanted(host, network, nics=(nic(), nic(2, vlan=access(200))))
    assert wire(desired).vlan == Vlan(VlanMode.DOT1Q_TUNNEL, 100, customers=(10, 20), tpid=0x88A8)
    assert wire(desired, "vnet2").vlan == Vlan(VlanMode.DOT1Q_TUNNEL, 200, customers=(10, 20), tpid=0x88A8)


@pytest.mark.parametrize("vlan", [Vlan(VlanMode.TRUNK, None, (10, 20)), Vlan(VlanMode.NATIVE_TAGGED, 10, (10,))], ids=str)
def test_a_trunk_in_a_dot1q_tunnel_is_a_problem_of_that_port_alone(host: FakeHost, vlan: Vlan) -> None:
    """It stays closed: neither as a trunk nor as a tunnel would it be what its XML says."""
    group = PortGroup("g", True, vlan=access(100), qinq=QinQ())
    desired = wanted(host, replace(BLUE, portgroups=(group,)), nics=(nic(vlan=vlan), nic(2)))
    assert [one.port for one in desired.wirings["br-blue"].guests] == ["vnet2"]
    assert f"portgroup g is a dot1q-tunnel and the port {vlan}; give it one plain <tag>, its service VLAN" in words(desired)


# Limits and marks for what a guest sends.


@pytest.mark.parametrize(
    ("own", "group", "network", "packets", "dscp"),
    [
        (Qos(), Qos(), Qos(), None, None),
        (Qos(pps=5), Qos(pps=6, dscp=46), Qos(dscp=10), 5, 46),
        (Qos(pps=0), Qos(pps=6), Qos(), None, None),
        (Qos(), Qos(trust=False), Qos(pps=7), 7, 0),
        (Qos(dscp=0), Qos(dscp=46), Qos(), None, 0),
        (Qos(trust=True), Qos(trust=False), Qos(), None, None),
        (Qos(dscp=46), Qos(trust=False), Qos(), None, 46),
    ],
)
def test_packets_and_dscp_come_from_the_narrowest_place_that_says_them(
    host: FakeHost, own: Qos, group: Qos, network: Qos, packets: int | None, dscp: int | None
) -> None:
    blue = replace(BLUE, qos=network, portgroups=(PortGroup("g", True, qos=group),))
    found = wire(wanted(host, blue, nics=(nic(qos=own),)))
    assert (found.packets, found.dscp) == (Meter(packets, packets, "pktps") if packets else None, dscp)


def test_ports_share_the_limits_of_their_portgroup_and_their_network(host: FakeHost) -> None:
    """In kbit/s and kbit; a burst that nobody wrote is a quarter of a second's worth, and 256 kbit at least."""
    web = PortGroup("web", True, aggregate=Bandwidth(Rate(1250), Rate(2500, None, 100)))
    blue = replace(BLUE, portgroups=(web, PortGroup("db")), aggregate=Bandwidth(None, Rate(100)))
    desired = wanted(host, blue, nics=(nic(), nic(2, portgroup="db"), nic(3)))
    ours, whole = desired.wirings["br-blue"].pools
    assert (ours.name, ours.inbound, ours.outbound) == ("blue/web", Meter(10000, 2500), Meter(20000, 800))
    assert (whole.name, whole.inbound, whole.outbound) == ("blue", None, Meter(800, 256))
    assert [wire(desired, tap).pools for tap in ("vnet1", "vnet2", "vnet3")] == [("blue/web", "blue"), ("blue",), ("blue/web", "blue")]
    assert ours.number != whole.number


# Addresses.


def test_a_ports_addresses_are_its_own_and_those_bound_to_its_mac_in_their_order(host: FakeHost) -> None:
    bindings = (
        Binding(mac_of(1), ip_network("2001:db8::/64")),
        Binding(mac_of(2), ip_network("10.0.0.2")),
        Binding(mac_of(1), ip_network("10.0.0.1")),
    )
    network = replace(BLUE, policy=Policy(Guard.STRICT), bindings=bindings)
    own = (ip_network("10.0.0.9"), ip_network("10.0.0.1"))
    desired = wanted(host, network, nics=(nic(addresses=own),))
    expected = tuple(map(ip_network, ("10.0.0.1", "10.0.0.9", "2001:db8::/64")))
    assert wire(desired).addresses == expected
    assert desired.guests["vnet1"] == PortFacts("web", "blue", None, mac_of(1), Guard.STRICT, expected)


def test_a_strict_port_without_an_address_says_what_to_write(host: FakeHost) -> None:
    desired = wanted(host, replace(BLUE, policy=Policy(Guard.STRICT)))
    (problem,) = desired.problems
    assert problem.soft
    assert "it is guarded strictly and has no address" in problem.text
    assert "<vnet:address>" in problem.text
    assert "<vnet:binding>" in problem.text


def test_a_port_without_a_mac_has_no_bound_addresses_and_stays_closed(host: FakeHost) -> None:
    network = replace(BLUE, policy=Policy(Guard.STRICT), bindings=(Binding(mac_of(1), ip_network("10.0.0.1")),))
    desired = wanted(host, network, nics=(nic(mac=None),))
    assert wire(desired).addresses == ()
    assert "its MAC is unknown, so it stays closed" in words(desired)


# Isolation, and who else the bridge carries.


def test_a_portgroup_or_a_network_isolates_its_ports(host: FakeHost) -> None:
    group = wanted(host, replace(BLUE, portgroups=(ISOLATED, PortGroup("other"))), nics=(nic(), nic(2, portgroup="other")))
    assert (wire(group).isolated, wire(group, "vnet2").isolated) == (True, False)
    assert group.wirings["br-blue"].isolating
    assert wire(wanted(host, replace(BLUE, policy=Policy(isolated=True)))).isolated
    apart = replace(BLUE, policy=Policy(isolated=True), portgroups=(PortGroup("open", True, policy=Policy(isolated=False)),))
    assert not wire(wanted(host, apart)).isolated


def test_a_network_whose_isolated_ports_are_on_other_hosts_is_isolating_here_too(host: FakeHost) -> None:
    assert wanted(host, replace(BLUE, portgroups=(replace(ISOLATED, default=False),)), nics=()).wirings["br-blue"].isolating
    assert not wanted(host, BLUE, nics=()).wirings["br-blue"].isolating


def test_a_bridge_knows_its_uplink_its_patch_and_whether_the_host_is_reached(host: FakeHost) -> None:
    host.addresses = {HV1}
    uplinked = wanted(host, replace(BLUE, uplink=Uplink((IfName("eth1"),)), policy=Policy(host=True)), nics=())
    assert uplinked.wirings["br-blue"] == NetworkWiring(uplinks=("eth1",), host=True)
    wiring = wanted(host, replace(BLUE, overlay=mesh(100)), nics=()).wirings["br-blue"]
    assert [name.startswith("tun-") for name in wiring.patches] == [True]
    assert (wiring.uplinks, wiring.host) == ((), False)


@pytest.mark.parametrize(("kind", "bit"), [(OverlayType.GRE, 31), (OverlayType.VXLAN, 23), (OverlayType.GENEVE, 23)])
def test_isolated_ports_have_a_segment_of_their_own_beside_the_networks(host: FakeHost, kind: OverlayType, bit: int) -> None:
    """Whichever half of the segments the network's own is in, the other one stays within what the tunnel can carry."""
    host.addresses = {HV1}
    for segment in (5, kind.segment_limit):
        (found,) = wanted(host, replace(BLUE, overlay=mesh(segment, kind), portgroups=(ISOLATED,))).segments
        assert found.segment == segment
        assert found.isolated == segment ^ 1 << bit
        assert 0 <= found.isolated <= kind.segment_limit
        assert mesh(found.isolated, kind).isolated_segment == segment
        (plain,) = wanted(host, replace(BLUE, overlay=mesh(segment, kind))).segments
        assert plain.isolated is None


@pytest.mark.parametrize("newcomer", [5, 5 ^ 1 << 31])
def test_the_segment_of_isolated_ports_is_one_networks_too(host: FakeHost, newcomer: int) -> None:
    host.addresses = {HV1}
    blue = replace(BLUE, overlay=mesh(5), portgroups=(ISOLATED,))
    desired = wanted(host, blue, replace(RED, overlay=mesh(newcomer)))
    assert "network red: its gre segment" in words(desired)
    assert "is network blue's already; write another segment" in words(desired)
    assert [(segment.segment, segment.isolated) for segment in desired.segments] == [(5, 5 ^ 1 << 31)]


def test_a_segment_that_only_isolated_ports_would_collide_with_is_named(host: FakeHost) -> None:
    host.addresses = {HV1}
    desired = wanted(host, replace(BLUE, overlay=mesh(5 ^ 1 << 31)), replace(RED, overlay=mesh(5), portgroups=(ISOLATED,)), nics=())
    assert f"its gre segment {5 ^ 1 << 31} (that of its isolated ports) is network blue's already" in words(desired)


# Claims that collide.


def test_two_ports_with_one_mac_in_one_vlan_are_told(host: FakeHost) -> None:
    desired = wanted(host, BLUE, nics=(nic(), nic(2, mac=mac_of(1))))
    (problem,) = desired.problems
    assert problem.soft
    assert str(problem) == f"port vnet2: its MAC {mac_of(1)} is vnet1's too; give each NIC its own"
    assert {one.port for one in desired.wirings["br-blue"].guests} == {"vnet1", "vnet2"}


def test_one_mac_in_two_vlans_or_two_networks_is_no_twin(host: FakeHost) -> None:
    """A guest with a bonded NIC, or a router, has that."""
    vlans = tuple(nic(number, mac=mac_of(1), vlan=Vlan(VlanMode.ACCESS, number)) for number in (1, 2))
    assert wanted(host, BLUE, nics=vlans).problems == ()
    assert wanted(host, BLUE, RED, nics=(nic(), nic(2, mac=mac_of(1), network="red"))).problems == ()


def test_ports_without_a_mac_are_no_twins(host: FakeHost) -> None:
    desired = wanted(host, replace(BLUE, policy=Policy(Guard.NONE)), nics=(nic(mac=None), nic(2, mac=None)))
    assert desired.problems == ()


def test_two_ports_with_one_address_in_one_vlan_are_told(host: FakeHost) -> None:
    shared, own = ip_network("10.0.0.1"), ip_network("10.0.0.2")
    network = replace(BLUE, policy=Policy(Guard.STRICT))
    desired = wanted(host, network, nics=(nic(addresses=(shared, own)), nic(2, addresses=(shared,))))
    assert words(desired).startswith("port vnet2: its address 10.0.0.1 is vnet1's too; give each")
    assert len(desired.problems) == 1
    assert desired.problems[0].soft
