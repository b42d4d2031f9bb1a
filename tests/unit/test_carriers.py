"""Bonds of NICs, and what is told about the NICs that carry a network."""

from __future__ import annotations

import copy
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest
from fakes import FakeBridge, FakeHost, mac_of, uuid_of

from vnetd.intent import bond_names, desire, joint_names
from vnetd.model.names import IfName
from vnetd.model.network import Bond, BondMode, Inventory, Lacp, Network, Nic, Overlay, OverlayType, Peer, Uplink, Vlan, VlanMode
from vnetd.model.state import Desired, Quiet, Role
from vnetd.pipeline import bond_flows
from vnetd.reconcile import Outcome, look, reconcile
from vnetd.status import report

BOND = Bond(IfName("bond0"), BondMode.BALANCE_SLB, Lacp.PASSIVE)
NICS = (IfName("eth1"), IfName("eth2"))
BLUE = Network("blue", uuid_of(1), IfName("br-blue"), uplink=Uplink(NICS, bond=BOND))
RED = Network("red", uuid_of(2), IfName("br-red"))
NAMES = bond_names("br-blue")
LOCAL = ip_address("192.0.2.11")


def only(*nics: str, force: bool = False, bond: Bond | None = BOND) -> Network:
    return replace(BLUE, uplink=Uplink(tuple(map(IfName, nics)), force, bond))


def wanted(host: FakeHost, *networks: Network) -> Desired:
    return desire(Inventory(networks, complete=True), host.host(), host.rows())


def make(host: FakeHost, *networks: Network, complete: bool = True) -> Outcome:
    outcome = reconcile(Inventory(networks, complete=complete), host.rim())
    assert not look(Inventory(networks, complete=complete), host.rim())[2], "a second pass has something to do"
    return outcome


def words(desired: Desired) -> str:
    return "; ".join(map(str, desired.problems))


@pytest.fixture
def host() -> FakeHost:
    """A hypervisor with three NICs, the first of which has the default route."""
    return FakeHost(links={"lo": True, "eth0": True, "eth1": False, "eth2": True, "eth3": True}, default_route={"eth0"})


def test_a_bond_has_a_bridge_of_its_own_that_is_the_networks_uplink(host: FakeHost) -> None:
    desired = wanted(host, BLUE)
    assert desired.bridges[NAMES.bridge].owner == BLUE.uuid
    assert desired.bridges[NAMES.bridge].sealed
    assert not desired.bridges["br-blue"].sealed
    bond = desired.ports["bond0"]
    assert (bond.bridge, bond.role, bond.members) == (NAMES.bridge, Role.BOND, NICS)
    assert dict(bond.bond) == {"bond_mode": "balance-slb", "lacp": "passive"}
    assert desired.wirings["br-blue"].uplinks == (NAMES.here,)
    assert desired.bond_bridges == {NAMES.bridge: NAMES.there}
    assert (desired.ports[NAMES.here].bridge, dict(desired.ports[NAMES.here].options)) == ("br-blue", {"peer": NAMES.there})
    assert (desired.ports[NAMES.there].bridge, dict(desired.ports[NAMES.there].options)) == (NAMES.bridge, {"peer": NAMES.here})
    assert desired.links_up == set(NICS)
    assert desired.quiet[NAMES.bridge] is Quiet.BRIDGE
    assert desired.problems == ()


def test_the_names_of_a_bonds_things_fit_a_device(host: FakeHost) -> None:
    assert all(len(name) <= 15 for name in bond_names("br-a-long-name1"))
    assert not set(bond_names("br-blue")) & set(bond_names("br-red"))


def test_a_bonds_bridge_passes_what_its_nics_and_its_patch_bring_and_nothing_else(host: FakeHost) -> None:
    make(host, BLUE)
    assert host.bridges[NAMES.bridge].fail_mode == "secure"
    assert [line.partition("priority=")[2] for line in host.flows(NAMES.bridge)] == [
        "200,dl_vlan=4095 actions=drop",
        f"100,in_port={NAMES.there} actions=NORMAL",
        "100,in_port=eth1 actions=NORMAL",
        "100,in_port=eth2 actions=NORMAL",
        "0 actions=drop",
    ]
    assert [str(flow) for flow in bond_flows("p", ["eth1", "eth2"], {"eth2"}) if "in_port" in flow.match] == [
        "cookie=0x766e657400000036, priority=100,in_port=<eth2> actions=NORMAL"
    ]


def test_the_plan_says_what_the_bond_is_made_of(host: FakeHost) -> None:
    plan = look(Inventory((BLUE,), complete=True), host.rim())[2]
    assert f"+ port bond0 on {NAMES.bridge} (bond of eth1, eth2, bond_mode=balance-slb, lacp=passive)" in plan.lines()


def test_a_bond_works_without_a_nic_that_is_missing_and_says_which(host: FakeHost) -> None:
    outcome = make(host, only("eth1", "eth8", "eth9"))
    assert host.ports["bond0"].members == ("eth1",)
    (problem,) = outcome.problems
    assert problem.soft
    assert str(problem) == "network blue: its bond bond0 works without eth8, eth9, which are not on this host"


def test_a_bond_without_any_nic_is_refused(host: FakeHost) -> None:
    desired = wanted(host, only("eth8", "eth9"))
    assert "none of the NICs of its bond bond0 (eth8, eth9) is on this host" in words(desired)
    assert set(desired.bridges) == {"br-blue"}
    assert desired.ports == {}


@pytest.mark.parametrize("reused", [False, True])
def test_a_nic_that_comes_later_joins_and_the_others_keep_their_numbers(host: FakeHost, reused: bool) -> None:
    host.reuse_numbers = reused
    host.link_goes("eth2")
    make(host, BLUE)
    before = host.ports["bond0"].numbers["eth1"]
    host.link_comes("eth2", up=False)
    plan = look(Inventory((BLUE,), complete=True), host.rim())[2]
    assert list(map(str, plan.rows)) == [f"~ port bond0 on {NAMES.bridge}: NICs eth1, eth2"]
    make(host, BLUE)
    assert host.ports["bond0"].numbers["eth1"] == before
    assert host.links["eth2"]
    assert [line.split()[-2].rpartition("=")[2] for line in host.flows(NAMES.bridge) if "in_port=eth" in line] == list(NICS)
    host.link_goes("eth2")
    make(host, BLUE)
    assert host.ports["bond0"].numbers == {"eth1": before}
    assert not [line for line in host.flows(NAMES.bridge) if "gone" in line or "eth2" in line]


def test_a_nic_that_the_switch_cannot_open_is_named_and_the_other_carries_on(host: FakeHost) -> None:
    host.link_breaks("eth2")
    outcome = reconcile(Inventory((BLUE,), complete=True), host.rim())
    (problem,) = outcome.problems
    assert (problem.kind, problem.name, problem.soft) == ("port", "bond0", False)
    assert "eth2: could not open network device eth2 (Device or resource busy)" in problem.text
    assert [line for line in host.flows(NAMES.bridge) if "in_port=eth1 actions=NORMAL" in line]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"bond": (("bond_mode", "balance-tcp"), ("lacp", "passive"))}, "bond_mode=balance-slb, lacp=passive"),
        ({"members": ("eth1", "eth2", "eth3")}, "NICs eth1, eth2"),
    ],
)
def test_what_somebody_changes_on_a_bond_is_put_back(host: FakeHost, columns: dict[str, object], said: str) -> None:
    make(host, BLUE)
    for column, value in columns.items():
        setattr(host.ports["bond0"], column, value)
    plan = look(Inventory((BLUE,), complete=True), host.rim())[2]
    assert f"~ port bond0 on {NAMES.bridge}: {said}" in plan.lines()
    make(host, BLUE)
    assert host.ports["bond0"].members == NICS


@pytest.mark.parametrize(("column", "wrong"), [("sealed", False), ("ageing", ""), ("ageing", "300")])
def test_a_bonds_bridge_that_somebody_unsealed_is_sealed_again(host: FakeHost, column: str, wrong: object) -> None:
    make(host, BLUE)
    right = getattr(host.bridges[NAMES.bridge], column)
    setattr(host.bridges[NAMES.bridge], column, wrong)
    make(host, BLUE)
    assert getattr(host.bridges[NAMES.bridge], column) == right
    assert (host.bridges["br-blue"].sealed, host.bridges["br-blue"].ageing) == (False, "")


@pytest.mark.parametrize("complete", [True, False])
def test_a_single_uplink_becomes_a_bond_and_one_again(host: FakeHost, complete: bool) -> None:
    """Open vSwitch has one interface of a name, so the NIC must leave the one port in the transaction in which it joins the other."""
    single = only("eth1", bond=None)
    other = Network("other", uuid_of(9), IfName("br-other"))
    make(host, single, other)
    known = (single,) if complete else ()
    for network in (BLUE, single):
        inventory = Inventory((network, other)[: 2 if complete else 1], complete=complete)
        reconcile(inventory, host.rim())
        assert not look(inventory, host.rim())[2].rows
        assert ("bond0" in host.ports, "eth1" in host.ports) == ((True, False) if network is BLUE else (False, True))
    if known:
        assert NAMES.bridge not in host.bridges


def test_a_bond_goes_with_its_network_even_while_sources_are_missing(host: FakeHost) -> None:
    make(host, BLUE, RED)
    reconcile(Inventory(gone_networks=frozenset({BLUE.uuid})), host.rim())
    assert set(host.bridges) == {"br-red"}
    assert not {"bond0", "eth1", *NAMES} & set(host.ports)


def test_a_bond_stays_while_sources_are_missing(host: FakeHost) -> None:
    make(host, BLUE)
    assert not look(Inventory(), host.rim())[2]


def test_the_bonds_bridges_forget_who_was_behind_their_patch_when_a_port_has_gone_and_not_before(host: FakeHost) -> None:
    """Whoever moves to another host is there at once; NORMAL would take its frames for frames of this host that came back."""
    host.link_comes("vnet1")
    host.link_comes("vnet2")
    red = replace(RED, patches=(IfName("br-blue"),))
    said = [f"bridge {NAMES.bridge} forgets"]

    def forgets(*numbers: int, vlan: int = 5, network: str = "blue") -> list[str]:
        host.changes.clear()
        nics = tuple(Nic(mac_of(at), network, tap=IfName(f"vnet{at}"), vlan=Vlan(VlanMode.ACCESS, vlan), owner="web") for at in numbers)
        inventory = Inventory((BLUE, red), nics, complete=True)
        reconcile(inventory, host.rim())
        assert not look(inventory, host.rim())[2]
        return [line for line in host.changes if "forgets" in line]

    assert forgets() == []
    assert forgets(1, 2) == []
    assert forgets(1, 2, vlan=6) == []
    host.link_goes("vnet2")
    assert forgets(1) == said
    assert forgets(1) == []
    host.link_comes("vnet2")
    assert forgets(1, 2, network="red") == said
    host.link_goes("vnet1")
    assert forgets(2, network="red") == said, "from red to the wire, too, the way leads by the bond"


# NICs that cannot be had, one rule for all.


def test_no_nic_of_a_bond_may_carry_the_default_route_unless_forced(host: FakeHost) -> None:
    assert "its uplink eth0 carries this host's default route, which would be cut" in words(wanted(host, only("eth0", "eth1")))
    assert wanted(host, only("eth0", "eth1")).ports == {}
    forced = wanted(host, only("eth0", "eth1", force=True))
    assert forced.ports["bond0"].members == ("eth0", "eth1")
    assert forced.problems == ()


def test_a_default_route_that_came_later_does_not_break_the_bond(host: FakeHost) -> None:
    make(host, BLUE)
    host.default_route = {"eth2"}
    outcome = make(host, BLUE)
    assert host.ports["bond0"].members == NICS
    assert [problem.soft for problem in outcome.problems] == [True]


@pytest.mark.parametrize("how", ["port", "bond"])
def test_a_nic_that_somebody_has_in_a_bridge_is_not_taken(host: FakeHost, how: str) -> None:
    host.hand_bridge("br-user")
    if how == "port":
        host.hand_port("eth2", "br-user", kind="")
    else:
        host.hand_bond("mine", "br-user", "eth2", "eth3")
    for network in (BLUE, only("eth2", bond=None)):
        desired = wanted(host, network)
        assert "its uplink eth2 is in bridge br-user already, by hand; remove it there first" in words(desired)
        assert desired.ports == {}


def test_the_tap_of_a_guest_is_no_nic_of_a_bond(host: FakeHost) -> None:
    """Open vSwitch has one interface of a name, and would refuse the whole transaction."""
    host.hand_bridge("br-user")
    host.hand_bond("mine", "br-user", "eth3")
    nics = tuple(Nic(mac_of(1), "red", tap=IfName(tap), owner="web") for tap in ("eth2", "eth3"))
    desired = desire(Inventory((BLUE, RED), nics, complete=True), host.host(), host.rows())
    assert desired.wirings["br-red"].guests == ()
    assert words(desired) == (
        "port eth2: its tap eth2 is an uplink of bridge br-blue; write another NIC there; "
        "port eth3: a port of that name is in bridge br-user already, by hand; remove it with ovs-vsctl del-port"
    )


@pytest.mark.parametrize("bridge", ["br-user", "br-blue", "br-red", "br-vlan", "br-tun", NAMES.bridge])
@pytest.mark.parametrize("bond", [None, BOND])
def test_a_bridge_is_no_nic(host: FakeHost, bridge: str, bond: Bond | None) -> None:
    """Its own port has its name: taken for a NIC, it would be torn out, and the host's own address with it."""
    host.addresses = {LOCAL}
    tunnelled = replace(RED, overlay=Overlay(OverlayType.GRE, 5, (Peer("hv1", LOCAL),)))
    for name in ("br-user", "br-vlan", "br-blue", "br-red", "br-tun", NAMES.bridge):
        host.link_comes(name)
    host.hand_bridge("br-user")
    host.hand_fake_bridge("br-vlan", "br-user", 7)
    for name in ("br-blue", "br-red", "br-tun", NAMES.bridge):
        host.bridges[name] = FakeBridge({"br-red": RED.uuid, "br-tun": "tunnels"}.get(name, BLUE.uuid), fail_mode="secure")
    desired = wanted(host, only(bridge, *(["eth2"] if bond else []), bond=bond), tunnelled)
    assert words(desired) == (
        f"network blue: its uplink {bridge} is a bridge of Open vSwitch; "
        f"write the name of a NIC, or <vnet:patch bridge='{bridge}'/> to join another bridge"
    )
    assert {port.role for port in desired.ports.values()} == {Role.PATCH}


@pytest.mark.parametrize("bond", [None, BOND])
def test_what_is_in_a_bridge_for_something_else_is_no_nic(host: FakeHost, bond: Bond | None) -> None:
    host.link_comes("vnet1")
    host.link_comes("vnet2")
    red = replace(RED, patches=(IfName("br-user"),))
    host.hand_bridge("br-user")
    nics = (Nic(mac_of(1), "red", tap=IfName("vnet1"), owner="web"),)
    reconcile(Inventory((red,), nics, complete=True), host.rim())
    host.libvirt_add_port("vnet2", "br-red", {"vm-id": uuid_of(7)})
    patch = joint_names("br-red", "br-user")[0]
    for dev, said in (
        ("vnet1", "is a guest's, in bridge br-red; write the name of a NIC of the host"),
        ("vnet2", "is a guest's, in bridge br-red; write the name of a NIC of the host"),
        (patch, "is a patch of vnetd's in bridge br-red; write the name of a NIC of the host"),
    ):
        desired = desire(Inventory((only(dev, bond=bond), red), nics, complete=True), host.host(), host.rows())
        assert words(desired) == f"network blue: its uplink {dev} {said}"
        assert desired.ports["vnet1"].role is Role.GUEST


@pytest.mark.parametrize("kind", ["nic", "bond"])
def test_the_uplink_of_a_network_that_is_served_is_not_taken_from_it(host: FakeHost, kind: str) -> None:
    nics = (IfName("eth2"), IfName("eth3"))
    green = replace(RED, uplink=Uplink(nics, bond=replace(BOND, name=IfName("mine"))) if kind == "bond" else Uplink(nics[:1]))
    make(host, replace(BLUE, uplink=None), green)
    for network in (BLUE, only("eth2", bond=None)):
        desired = wanted(host, network, green)
        assert words(desired) == "network blue: its uplink eth2 is network red's, in bridge " + (
            f"{host.ports['mine'].bridge if kind == 'bond' else 'br-red'}; take it out of that network's <vnet:uplink> first"
        )
        make(host, network, green)
    assert (host.ports["mine"].members if kind == "bond" else host.ports["eth2"].bridge) == (nics if kind == "bond" else "br-red")


@pytest.mark.parametrize("kind", ["nic", "bond"])
def test_a_nic_changes_networks_when_the_other_lets_go_of_it(host: FakeHost, kind: str) -> None:
    """Whichever of the two comes first by name, and whether the other runs on or is gone."""
    bond = BOND if kind == "bond" else None
    have, lack = Uplink(NICS if bond else NICS[:1], bond=bond), None
    for before, after in ((BLUE, RED), (RED, BLUE)):
        make(host, replace(before, uplink=have), replace(after, uplink=lack))
        outcome = make(host, replace(before, uplink=lack), replace(after, uplink=have))
        assert outcome.problems == ()
        assert host.ports["eth1" if bond is None else "bond0"].bridge == (bond_names(after.bridge).bridge if bond else after.bridge)
        make(host, replace(before, uplink=have))
        assert make(host, replace(after, uplink=have)).problems == ()


@pytest.mark.parametrize("sources", ["some", "all"])
@pytest.mark.parametrize("kind", ["nic", "bond", "name"])
def test_an_uplink_stays_while_its_network_has_not_been_read(host: FakeHost, kind: str, sources: str) -> None:
    """The other network is read first, and wants the same NIC, or a bond of the same name."""
    bond = None if kind == "nic" else BOND
    make(host, replace(RED, uplink=Uplink(NICS if bond else NICS[:1], bond=bond)))
    before = {name: row.bridge for name, row in host.ports.items()}
    takes = only("eth3") if kind == "name" else only("eth1", bond=None)
    outcome = reconcile(Inventory((takes,), complete=sources == "all"), host.rim())
    if sources == "all":
        assert outcome.problems == ()
        assert not set(host.ports) & {name for name, bridge in before.items() if bridge == "br-red"} - set(takes.uplink.devs)
        return
    said = "its bond's name bond0 is that of a port in bridge" if kind == "name" else "its uplink eth1 is that of a network not read yet"
    assert said in "; ".join(map(str, outcome.problems))
    assert {name: host.ports[name].bridge for name in before} == before


def test_a_tap_is_not_an_uplink_of_a_network_that_has_not_been_read(host: FakeHost) -> None:
    make(host, replace(RED, uplink=Uplink(NICS, bond=BOND)), only("eth3", bond=None))
    nics = tuple(Nic(mac_of(number), "green", tap=IfName(f"eth{number}"), owner="web") for number in (1, 3))
    green = Network("green", uuid_of(5), IfName("br-green"))
    outcome = reconcile(Inventory((green,), nics), host.rim())
    assert "; ".join(map(str, outcome.problems)) == (
        f"port eth1: it is the bond of bridge {bond_names('br-red').bridge}; each tap needs a name of its own; "
        "port eth3: it is the uplink of bridge br-blue; each tap needs a name of its own"
    )
    assert host.ports["bond0"].members == NICS
    assert host.ports["eth3"].mark is Role.UPLINK


def test_a_tap_is_no_bridge(host: FakeHost) -> None:
    make(host, RED)
    desired = desire(Inventory((RED,), (Nic(mac_of(1), "red", tap=IfName("br-red"), owner="web"),)), host.host(), host.rows())
    assert words(desired) == "port br-red: it is a bridge of Open vSwitch; each tap needs a name of its own"


# A change that cannot be had leaves what was in force.


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    "mistake",
    [
        only("eth1", "eth2", "eth0"),
        only("eth1", "eth2", "br-red"),
        only("eth0", bond=None),
        only("eth9", bond=None),
        only("eth9", "eth8", bond=replace(BOND, name=IfName("other"))),
        only("eth1", "eth3", bond=replace(BOND, name=IfName("br-red"))),
    ],
    ids=["route", "bridge", "single", "missing", "other", "name"],
)
@pytest.mark.parametrize("before", [BLUE, only("eth1", bond=None)], ids=["bond", "nic"])
def test_a_refused_change_of_an_uplink_leaves_the_one_that_works(host: FakeHost, before: Network, mistake: Network, complete: bool) -> None:
    make(host, before, RED)
    ports, bridges = copy.deepcopy(host.ports), copy.deepcopy(host.bridges)
    outcome = make(host, mistake, RED, complete=complete)
    assert [(one.name, one.soft) for one in outcome.problems] == [("blue", False)]
    assert (host.ports, host.bridges) == (ports, bridges)
    (found,) = [one for one in report(outcome.desired, outcome.observed, outcome.left)["networks"] if one["name"] == "blue"]
    assert found["state"] == "error"
    assert found["uplink"] == ",".join(before.uplink.devs)
    if before is BLUE:
        assert (found["bond"]["name"], found["bond"]["mode"], found["bond"]["lacp"]) == ("bond0", "balance-slb", "passive")
        assert [(nic["name"], nic["link"]) for nic in found["bond"]["members"]] == [("eth1", "up"), ("eth2", "up")]
    else:
        assert found["bond"] is None
    assert make(host, replace(before, uplink=None), RED).problems == ()
    assert not {"eth1", "bond0", *NAMES} & {*host.ports, *host.bridges}


def test_what_is_left_of_a_refused_change_is_what_the_host_still_has(host: FakeHost) -> None:
    make(host, BLUE)
    host.link_goes("eth2")
    make(host, only("eth1", "eth2", "eth0"))
    assert host.ports["bond0"].members == ("eth1",)
    host.link_goes("eth1")
    make(host, only("eth1", "eth2", "eth0"))
    assert not {"bond0", *NAMES} & {*host.ports, *host.bridges}


def test_nobody_takes_what_a_refused_change_leaves_in_force(host: FakeHost) -> None:
    make(host, BLUE, RED)
    outcome = make(host, only("eth1", "eth0"), replace(RED, uplink=Uplink(NICS[1:])))
    assert "network red: its uplink eth2 is an uplink of bridge br-blue already; write another NIC" in map(str, outcome.problems)
    assert host.ports["bond0"].members == NICS


def test_a_bond_of_the_kernels_may_not_be_called_as_one_of_open_vswitchs(host: FakeHost) -> None:
    host.link_comes("bond0")
    desired = wanted(host, BLUE, replace(RED, uplink=Uplink((IfName("bond0"),))))
    assert words(desired) == (
        f"network red: its uplink bond0 is the name of a port of bridge {NAMES.bridge}; write another name for one of them"
    )


def test_a_nic_is_one_networks(host: FakeHost) -> None:
    desired = wanted(host, BLUE, replace(RED, uplink=Uplink((IfName("eth2"),))))
    assert words(desired) == "network red: its uplink eth2 is an uplink of bridge br-blue already; write another NIC"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("eth1", "its bond is called eth1 as one of its NICs is"),
        ("br-red", "its bond's name br-red is that of a bridge"),
        ("mine", "its bond's name mine is that of a port in bridge br-user"),
    ],
)
def test_a_bonds_name_is_its_own(host: FakeHost, name: str, said: str) -> None:
    host.hand_bridge("br-user")
    host.hand_port("mine", "br-user")
    host.hand_bridge("br-red")
    desired = wanted(host, only("eth1", "eth2", bond=replace(BOND, name=IfName(name))))
    assert said in words(desired)
    assert desired.ports == {}


def test_two_bonds_of_one_name_are_one_and_a_problem(host: FakeHost) -> None:
    desired = wanted(host, only("eth1"), replace(RED, uplink=Uplink((IfName("eth2"),), bond=BOND)))
    assert words(desired) == f"network red: its bond's name bond0 is that of a port of bridge {NAMES.bridge}; write another name"


def test_an_uplinks_address_is_told_with_what_to_do_and_a_link_local_one_is_not(host: FakeHost) -> None:
    host.carried = {"eth1": (ip_interface("192.0.2.5/24"), ip_interface("fe80::1/64"))}
    for network in (BLUE, only("eth1", bond=None)):
        (problem,) = wanted(host, network).problems
        assert problem.soft
        assert problem.text == (
            "its uplink eth1 has the address 192.0.2.5, which nobody reaches there; move it to the bridge: "
            "ip address del 192.0.2.5/24 dev eth1; ip address add 192.0.2.5/24 dev br-blue"
        )
