"""Bridges that are joined: by patches, without circles, and as a VLAN of one another."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from fakes import FakeHost, mac_of, uuid_of
from hypothesis import given
from hypothesis import strategies as st

from vnetd.intent import bond_names, desire, joint_names, patch_names
from vnetd.intent.loops import Joint, refused, toward
from vnetd.model.names import IfName
from vnetd.model.network import (
    Bandwidth,
    Bond,
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
from vnetd.model.state import Desired, NetworkWiring, Role
from vnetd.reconcile import Outcome, look, reconcile


def net(number: int, *patches: str, **more: object) -> Network:
    """Network n1 on br-n1, and so on."""
    common = Network(f"n{number}", uuid_of(number), IfName(f"br-n{number}"), patches=tuple(map(IfName, patches)))
    return replace(common, **more)  # type: ignore[arg-type]


def nic(number: int, network: str, **more: object) -> Nic:
    common = Nic(mac_of(number), network, tap=IfName(f"vnet{number}"), iface_id=uuid_of(10 + number), owner="web", owner_uuid=uuid_of(9))
    return replace(common, **more)  # type: ignore[arg-type]


def wanted(host: FakeHost, *networks: Network, nics: tuple[Nic, ...] = ()) -> Desired:
    for one in nics:
        host.links.setdefault(str(one.tap), True)
    return desire(Inventory(networks, nics, complete=True), host.host(), host.rows())


def make(host: FakeHost, *networks: Network, nics: tuple[Nic, ...] = ()) -> Outcome:
    for one in nics:
        host.links.setdefault(str(one.tap), True)
    inventory = Inventory(networks, nics, complete=True)
    outcome = reconcile(inventory, host.rim())
    assert not look(inventory, host.rim())[2], "a second pass has something to do"
    return outcome


def words(desired: Desired) -> str:
    return "; ".join(map(str, desired.problems))


UPLINK = Uplink((IfName("eth1"),))
OVERLAY = Overlay(OverlayType.GRE, 100, (Peer("hv1", ip_address("192.0.2.11")),))


# Which patches may be.


def test_a_circle_is_refused_at_the_patch_that_would_close_it() -> None:
    joints = [Joint("a", "b"), Joint("b", "c"), Joint("c", "a"), Joint("c", "d")]
    found = refused(joints, {})
    assert set(found) == {joints[2]}
    assert found[joints[2]].startswith("its patch to a would close a circle, in which frames go round for ever: c and a are joined already")


def test_a_patch_that_both_ends_ask_for_is_one() -> None:
    assert refused([Joint("a", "b"), Joint("b", "a")], {"a": ["uplink eth1"]}) == {}


def test_what_is_joined_has_one_way_out() -> None:
    joints = [Joint("a", "b"), Joint("b", "c")]
    found = refused(joints, {"a": ["uplink eth1"], "c": ["overlay gre 100"]})
    assert set(found) == {joints[1]}
    assert found[joints[1]] == (
        "its patch to c would give what it joins (a, b, c) more than one way out: uplink eth1 of a, overlay gre 100 of c; "
        "frames could come back by another one, so keep one of them"
    )


def test_somebodys_bridge_is_a_way_out() -> None:
    joints = [Joint("a", "br0", foreign=True), Joint("a", "b"), Joint("b", "br0", foreign=True), Joint("c", "br0", foreign=True)]
    assert set(refused(joints, {})) == {joints[2]}
    assert set(refused(joints[:1], {"a": ["bond bond0"]})) == {joints[0]}


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)).filter(lambda one: one[0] != one[1]), max_size=14), st.sets(st.integers(0, 6))
)
def test_what_is_left_is_a_forest_with_one_way_out_of_each_tree(pairs: list[tuple[int, int]], out: set[int]) -> None:
    """Numbers above 6 are other people's bridges. Each group is found anew here, by walking from bridge to bridge."""
    joints = [Joint(str(one), str(other), foreign=other > 6) for one, other in pairs]
    exits = {str(one): ["uplink"] for one in out}
    objections = refused(joints, exits)
    made = {joint.ends: joint for joint in joints if joint not in objections}.values()
    seen: set[str] = set()
    for start in map(str, range(7)):
        if start in seen:
            continue
        group, edges = {start}, set()
        while True:
            edges = {joint.ends for joint in made if joint.ends & group and not joint.foreign}
            grown = group.union(*edges) if edges else group
            if grown == group:
                break
            group = grown
        seen |= group
        assert len(edges) == len(group) - 1
        ways = sum(1 for one in group if one in exits) + sum(1 for joint in made if joint.foreign and joint.one in group)
        assert ways <= 1 or not (edges or any(joint.foreign and joint.one in group for joint in made))


def test_each_bridge_knows_its_neighbour_on_the_way_to_an_end() -> None:
    joints = [Joint("a", "b"), Joint("c", "b"), Joint("c", "d"), Joint("e", "f"), Joint("d", "br0", foreign=True), Joint("x", "y")]
    assert toward(joints, {"a", "f", "z"}) == {"b": "a", "c": "b", "d": "c", "e": "f"}
    assert toward(joints, ()) == {}


# Patches between networks, and to somebody's bridge.


@pytest.mark.parametrize("far", range(3, 9))
def test_the_joint_that_leads_to_the_overlay_is_the_last(host: FakeHost, far: int) -> None:
    """Copies for what is behind the others come before what the tunnel bridge asks. The names are hashes, so their order is chance."""
    desired = wanted(host, net(1, overlay=OVERLAY), net(2, "br-n1", f"br-n{far}"), net(far), net(9, f"br-n{far}"), net(10, f"br-n{far}"))
    joints = {bridge: wiring.joints for bridge, wiring in desired.wirings.items()}
    assert joints["br-n2"] == (joint_names("br-n2", f"br-n{far}")[0], joint_names("br-n2", "br-n1")[0])
    assert joints[f"br-n{far}"][-1] == joint_names(f"br-n{far}", "br-n2")[0]
    assert len(joints[f"br-n{far}"]) == 3


def test_a_patch_between_networks_is_in_both_wirings_whoever_asks(host: FakeHost) -> None:
    here, there = joint_names("br-n1", "br-n2")
    for one, other in ((net(1, "br-n2"), net(2)), (net(1), net(2, "br-n1")), (net(1, "br-n2"), net(2, "br-n1"))):
        desired = wanted(host, one, other)
        assert desired.problems == ()
        assert desired.wirings["br-n1"].joints == (here,)
        assert desired.wirings["br-n2"].joints == (there,)
        assert (desired.ports[here].bridge, dict(desired.ports[here].options)) == ("br-n1", {"peer": there})
        assert (desired.ports[there].bridge, desired.ports[there].role) == ("br-n2", Role.PATCH)


def test_the_end_on_somebodys_bridge_is_marked_and_goes_with_the_network(host: FakeHost) -> None:
    host.hand_bridge("br-user")
    host.hand_port("mine", "br-user")
    before = host.text_by_hand()
    make(host, net(1, "br-user"), net(2))
    there = joint_names("br-n1", "br-user")[1]
    assert (host.ports[there].bridge, host.ports[there].mark) == ("br-user", Role.PATCH)
    assert host.text_by_hand()["br-user"] == before["br-user"]
    reconcile(Inventory(gone_networks=frozenset({uuid_of(1)})), host.rim())
    assert {name for name, row in host.ports.items() if row.bridge == "br-user"} == {"mine"}
    assert host.text_by_hand()["br-user"] == before["br-user"]
    assert "br-n2" in host.bridges


def test_a_patch_that_is_no_longer_asked_for_goes_and_one_of_somebodys_stays(host: FakeHost) -> None:
    host.hand_bridge("br-user")
    host.hand_port("my-patch", "br-user", kind="patch")
    make(host, net(1, "br-user"))
    assert not look(Inventory(), host.rim())[2], "while sources are missing, all stays"
    make(host, net(1))
    assert {name for name, row in host.ports.items() if row.bridge == "br-user"} == {"my-patch"}
    assert not [row for row in host.ports.values() if row.bridge == "br-n1"]


def test_a_patch_waits_for_a_bridge_that_is_not_there_and_is_made_when_it_comes(host: FakeHost) -> None:
    (problem,) = make(host, net(1, "br-user")).problems
    assert problem.soft
    assert str(problem) == "network n1: its patch waits for bridge br-user, which is not there; make it with ovs-vsctl add-br"
    host.hand_bridge("br-user")
    assert make(host, net(1, "br-user")).problems == ()
    assert joint_names("br-n1", "br-user")[1] in host.ports
    host.hand_delete_bridge("br-user")
    make(host, net(1, "br-user"))
    assert not host.ports


def test_a_patch_waits_for_a_network_that_does_not_run(host: FakeHost) -> None:
    make(host, net(1), net(2))
    host.hand_port("keeps-it", "br-n2")
    (problem, kept) = sorted(make(host, net(1, "br-n2")).problems, key=lambda one: one.kind != "network")
    assert (problem.soft, problem.text) == (True, "its patch waits for the network of bridge br-n2, which does not run")
    assert kept.kind == "bridge"
    assert {name for name, row in host.ports.items() if row.bridge == "br-n2"} == {"keeps-it"}


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"patches": ("br-user",)}, joint_names("br-n1", "br-user")),
        ({"overlay": OVERLAY}, patch_names("br-n1")),
        ({"uplink": Uplink((IfName("eth1"),), bond=Bond(IfName("bond0")))}, bond_names("br-n1")[1:]),
    ],
    ids=["joint", "overlay", "bond"],
)
def test_a_patch_one_end_of_which_somebody_has_is_not_made_by_halves(
    host: FakeHost, more: dict[str, object], names: tuple[str, str], end: int
) -> None:
    host.hand_bridge("br-user")
    host.hand_port(names[end], "br-user", kind="patch")
    desired = wanted(host, net(1, **more))
    assert words(desired) == f"network n1: a port called {names[end]} is in bridge br-user already, by hand; remove it there first"
    assert desired.ports == {}
    assert (desired.segments, desired.tunnels, desired.bond_bridges) == ((), {}, {})
    assert set(desired.bridges) == {"br-n1"}
    assert desired.wirings["br-n1"] == NetworkWiring()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("br-n1", "leads to its own bridge br-n1"),
        ("br-tun", "leads to br-tun, which vnetd keeps for itself"),
        (bond_names("br-n2").bridge, "which vnetd keeps for itself"),
        ("br-vlan", "leads to br-vlan, which is VLAN 7 of bridge br-n2; write bridge='br-n2'"),
        ("br-kernel", "whose datapath type is netdev, and no patch joins that to system"),
    ],
)
def test_a_patch_to_what_cannot_be_joined_is_refused_in_words(host: FakeHost, target: str, said: str) -> None:
    other = net(2, uplink=Uplink((IfName("eth1"),), bond=Bond(IfName("bond0"))))
    make(host, other)
    host.hand_fake_bridge("br-vlan", "br-n2", 7)
    host.hand_bridge("br-kernel")
    host.bridges["br-kernel"].datapath = "netdev"
    desired = wanted(host, net(1, target), other)
    assert said in words(desired)
    assert desired.wirings["br-n1"].joints == ()


def test_the_patch_that_is_there_stays_and_the_newcomer_is_refused(host: FakeHost) -> None:
    old = (net(3, "br-n2"), net(2, uplink=UPLINK))
    make(host, *old)
    desired = wanted(host, *old, net(1, "br-n3", overlay=OVERLAY))
    (problem,) = (one for one in desired.problems if not one.soft)
    assert problem.name == "n1"
    assert "uplink eth1 of br-n2" in problem.text
    assert "overlay gre 100 of br-n1" in problem.text
    assert desired.wirings["br-n3"].joints == (joint_names("br-n3", "br-n2")[0],)
    assert desired.wirings["br-n1"].joints == ()


# A bridge that is a VLAN of another.


@pytest.fixture
def parent(host: FakeHost) -> FakeHost:
    """Network n1, of whose bridge br-n2 is VLAN 7."""
    make(host, net(1))
    host.hand_fake_bridge("br-n2", "br-n1", 7)
    return host


def test_guests_of_a_vlan_are_wired_on_its_parent(parent: FakeHost) -> None:
    strict = net(2, policy=Policy(guard=Guard.STRICT, isolated=True), aggregate=Bandwidth(Rate(100)))
    nics = (nic(1, "n1"), nic(2, "n2"))
    desired = wanted(parent, net(1, aggregate=Bandwidth(None, Rate(5))), strict, nics=nics)
    assert set(desired.bridges) == {"br-n1"}
    assert set(desired.wirings) == {"br-n1"}
    assert desired.homes == {"n1": "br-n1", "n2": "br-n1"}
    wiring = desired.wirings["br-n1"]
    assert [(wire.port, wire.vlan, wire.guard) for wire in wiring.guests] == [
        ("vnet1", Vlan(VlanMode.ACCESS), Guard.MAC),
        ("vnet2", Vlan(VlanMode.ACCESS, 7), Guard.STRICT),
    ]
    assert wiring.isolating
    assert {pool.name for pool in wiring.pools} == {"n1", "n2"}
    assert [wire.pools for wire in wiring.guests] == [("n1",), ("n2",)]
    assert (desired.ports["vnet2"].bridge, desired.ports["vnet2"].vlan) == ("br-n1", Vlan(VlanMode.ACCESS, 7))
    make(parent, net(1), strict, nics=nics)
    assert parent.ports["br-n2"].by_hand


def test_a_tap_that_libvirt_put_on_the_fake_bridge_is_taken_over_where_it_is(parent: FakeHost) -> None:
    parent.link_comes("vnet2")
    parent.libvirt_add_port("vnet2", "br-n2", {"vm-id": uuid_of(9), "iface-id": uuid_of(12)})
    make(parent, net(1), net(2), nics=(nic(2, "n2"),))
    assert (parent.ports["vnet2"].bridge, parent.ports["vnet2"].vlan) == ("br-n1", Vlan(VlanMode.ACCESS, 7))


@pytest.mark.parametrize(
    ("vlan", "fine"),
    [
        (None, True),
        (Vlan(VlanMode.ACCESS, 7), True),
        (Vlan(VlanMode.ACCESS, 8), False),
        (Vlan(VlanMode.TRUNK, None, (7, 8)), False),
        (Vlan(VlanMode.NATIVE_UNTAGGED, 7, (7, 8)), False),
    ],
)
def test_a_port_there_is_in_that_vlan_or_nowhere(parent: FakeHost, vlan: Vlan | None, fine: bool) -> None:
    desired = wanted(parent, net(1), net(2), nics=(nic(2, "n2", vlan=vlan),))
    assert ("vnet2" in desired.ports) is fine
    assert [wire.port for wire in desired.wirings["br-n1"].guests] == (["vnet2"] if fine else [])
    if not fine:
        assert (
            words(desired)
            == f"port vnet2: it should be {vlan}, and bridge br-n2 is VLAN 7 alone; write no <vlan> for it, or another network"
        )


def test_a_vlan_of_a_bridge_that_is_no_networks_is_refused(host: FakeHost) -> None:
    host.hand_bridge("br-user")
    host.hand_fake_bridge("br-n2", "br-user", 7)
    desired = wanted(host, net(2), nics=(nic(2, "n2"),))
    assert "its bridge br-n2 is VLAN 7 of bridge br-user, which is no network's that vnetd serves" in words(desired)
    assert (desired.bridges, desired.ports, desired.homes) == ({}, {}, {})


@pytest.mark.parametrize(
    ("more", "element"),
    [({"uplink": UPLINK}, "<vnet:uplink>"), ({"overlay": OVERLAY}, "<vnet:overlay>"), ({"patches": ("br-n3",)}, "<vnet:patch>")],
)
def test_a_vlan_of_a_bridge_has_no_way_out_of_its_own(parent: FakeHost, more: dict[str, object], element: str) -> None:
    desired = wanted(parent, net(1), net(2, **more), net(3), nics=(nic(2, "n2"),))
    assert words(desired) == f"network n2: its bridge br-n2 is a VLAN of br-n1 and goes where that goes; write {element} there"
    assert set(desired.ports) == {"vnet2"}


def test_isolation_on_a_vlan_of_a_bridge_with_an_overlay_needs_the_overlay_to_carry_it(parent: FakeHost) -> None:
    """The segment for frames of isolated ports comes from the parent's XML alone, so that all hosts agree on it."""
    parent.addresses = {ip_address("192.0.2.11")}
    parent.forget()
    groups = (PortGroup("dmz", True, policy=Policy(isolated=True)), PortGroup("open"))
    child = net(2, portgroups=groups)
    nics = (nic(2, "n2"), nic(3, "n2", portgroup="open"), nic(4, "n1"))
    said = (
        "isolated='yes' needs the overlay of network n1, of whose bridge its own is a VLAN, to carry it; "
        "write isolated='yes' there too, in a <vnet:portgroup> or for all"
    )
    desired = wanted(parent, net(1, overlay=OVERLAY), child, nics=nics)
    assert words(desired) == f"network n2: {said}; port vnet2: {said}"
    assert not any(problem.soft for problem in desired.problems)
    wiring = desired.wirings["br-n1"]
    assert [(wire.port, wire.isolated) for wire in wiring.guests] == [("vnet3", False), ("vnet4", False)]
    assert desired.segments[0].isolated is None
    for more in ({"overlay": OVERLAY, "portgroups": (groups[0],)}, {}):
        desired = wanted(parent, net(1, **more), child, nics=nics[:2])
        assert words(desired) == ""
        assert [(wire.port, wire.isolated) for wire in desired.wirings["br-n1"].guests] == [("vnet2", True), ("vnet3", False)]
        assert [segment.isolated for segment in desired.segments] == ([OVERLAY.isolated_segment] if more else [])


def test_two_networks_on_one_vlan_of_a_bridge_are_one_and_a_problem(parent: FakeHost) -> None:
    desired = wanted(parent, net(1), net(2), net(3, bridge=IfName("br-n2")))
    assert words(desired) == "network n3: its bridge br-n2 is network n2's already; give it a bridge of its own"


def test_the_parent_stays_for_the_fake_bridge_and_its_guests_are_silent(parent: FakeHost) -> None:
    make(parent, net(1), net(2), nics=(nic(2, "n2"),))
    outcome = make(parent, net(2), nics=(nic(2, "n2"),))
    assert parent.bridges["br-n1"].flows == {}
    assert "kept for br-n2, which vnetd did not add" in "; ".join(map(str, outcome.problems))
    assert "start the network of br-n1" in "; ".join(map(str, outcome.problems))
