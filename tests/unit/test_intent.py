"""From what the sources say to what should be: precedence, ownership, refusals and the words for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeHost, mac_of, uuid_of
from intents import BLUE, HV1, MESH, RED, access, nic, wanted, wire, words

from vnetd.intent import desire
from vnetd.model.names import IfName
from vnetd.model.network import (
    UNTAGGED,
    Bandwidth,
    Guard,
    Inventory,
    Network,
    Nic,
    Policy,
    PortGroup,
    Problem,
    Rate,
    Uplink,
    Vlan,
    VlanMode,
)
from vnetd.model.state import Meter, Role, Shape
from vnetd.reconcile import reconcile

# VLANs and portgroups.


def test_a_port_that_nothing_puts_into_a_vlan_is_untagged_and_no_trunk(host: FakeHost) -> None:
    desired = wanted(host, BLUE, nics=(nic(),))
    assert wire(desired).vlan == UNTAGGED
    assert desired.ports["vnet1"].vlan == Vlan(VlanMode.ACCESS, None, ())


@pytest.mark.parametrize(
    ("on_nic", "on_group", "on_network", "tag"),
    [
        (access(1), access(2), access(3), 1),
        (None, access(2), access(3), 2),
        (None, None, access(3), 3),
        (access(1), None, None, 1),
    ],
)
def test_the_vlan_comes_from_the_interface_then_the_portgroup_then_the_network(
    host: FakeHost, on_nic: Vlan | None, on_group: Vlan | None, on_network: Vlan | None, tag: int
) -> None:
    network = replace(BLUE, vlan=on_network, portgroups=(PortGroup("web", vlan=on_group),))
    assert wire(wanted(host, network, nics=(nic(portgroup="web", vlan=on_nic),))).vlan == access(tag)


def test_a_nic_without_portgroup_is_in_the_default_one(host: FakeHost) -> None:
    network = replace(BLUE, portgroups=(PortGroup("other", vlan=access(7)), PortGroup("web", default=True, vlan=access(10))))
    desired = wanted(host, network, nics=(nic(),))
    assert wire(desired).vlan == access(10)
    assert desired.guests["vnet1"].portgroup == "web"


def test_without_a_default_a_nic_is_in_no_portgroup(host: FakeHost) -> None:
    network = replace(BLUE, portgroups=(PortGroup("other", vlan=access(7)),))
    assert wire(wanted(host, network, nics=(nic(),))).vlan == UNTAGGED


def test_an_unknown_portgroup_leaves_the_port_out_and_says_which_there_are(host: FakeHost) -> None:
    network = replace(BLUE, portgroups=(PortGroup("web"), PortGroup("db")))
    desired = wanted(host, network, nics=(nic(portgroup="wbe"), nic(2)))
    assert desired.problems == (Problem("port", "vnet1", "network blue has no portgroup wbe; it has web, db"),)
    assert set(desired.ports) == {"vnet2"}


def test_a_nic_that_names_the_bridge_itself_is_in_no_portgroup(host: FakeHost) -> None:
    network = replace(BLUE, vlan=access(3), portgroups=(PortGroup("web", default=True, vlan=access(10)),))
    assert wire(wanted(host, network, nics=(nic(network=None, bridge=IfName("br-blue")),))).vlan == access(3)


def test_a_nic_of_somebody_elses_network_is_no_business_of_vnetds(host: FakeHost) -> None:
    desired = wanted(host, BLUE, nics=(nic(network="default"), nic(2, network=None, bridge=IfName("virbr0"))))
    assert desired.ports == {}
    assert desired.problems == ()


# Guards.


@pytest.mark.parametrize(
    ("on_nic", "on_group", "on_network", "guard"),
    [
        (None, None, None, Guard.MAC),
        (None, None, Guard.NONE, Guard.NONE),
        (None, Guard.MAC, Guard.NONE, Guard.MAC),
        (Guard.NONE, Guard.MAC, Guard.MAC, Guard.NONE),
        (Guard.MAC, Guard.NONE, Guard.NONE, Guard.MAC),
    ],
)
def test_the_guard_comes_from_the_narrowest_place_and_is_never_none_by_omission(
    host: FakeHost, on_nic: Guard | None, on_group: Guard | None, on_network: Guard | None, guard: Guard
) -> None:
    network = replace(BLUE, policy=Policy(on_network), portgroups=(PortGroup("web", True, policy=Policy(on_group)),))
    assert wire(wanted(host, network, nics=(nic(policy=Policy(on_nic)),))).guard is guard


def test_a_port_whose_mac_is_unknown_is_there_and_closed_and_says_so(host: FakeHost) -> None:
    desired = wanted(host, BLUE, nics=(nic(mac=None),))
    assert wire(desired).mac is None
    (problem,) = desired.problems
    assert problem.soft
    assert str(problem) == "port vnet1: its MAC is unknown, so it stays closed; write <mac address='…'/> for it"


def test_without_a_guard_an_unknown_mac_is_nothing_to_tell(host: FakeHost) -> None:
    assert wanted(host, BLUE, nics=(nic(mac=None, policy=Policy(Guard.NONE)),)).problems == ()


# Bandwidth, MTU and what is written on the row.


def test_bandwidth_becomes_a_shape_toward_the_guest_and_a_meter_from_it(host: FakeHost) -> None:
    """libvirt counts in kilobytes and KiB, Open vSwitch in bits."""
    desired = wanted(host, BLUE, nics=(nic(bandwidth=Bandwidth(Rate(1000, 2000, 64), Rate(500, burst=32))),))
    assert desired.ports["vnet1"].shape == Shape(8_000_000, 16_000_000, 64 * 1024 * 8)
    assert wire(desired).meter == Meter(4000, 256)


def test_a_rate_without_peak_is_the_limit_and_one_without_burst_gets_one(host: FakeHost) -> None:
    desired = wanted(host, BLUE, nics=(nic(bandwidth=Bandwidth(Rate(10), Rate(10))), nic(2, bandwidth=Bandwidth(None, Rate(10_000)))))
    assert desired.ports["vnet1"].shape == Shape(80_000, 80_000)
    assert wire(desired).meter == Meter(80, 256)
    assert wire(desired, "vnet2").meter == Meter(80_000, 20_000)


def test_in_the_userspace_datapath_a_limit_has_a_burst(host: FakeHost) -> None:
    """A twentieth of a second's worth, where the XML says nothing else."""
    host.datapath = "netdev"
    host.link_comes("vnet1")
    host.link_comes("vnet2")
    desired = wanted(host, BLUE, nics=(nic(bandwidth=Bandwidth(Rate(1000, 2000))), nic(2, bandwidth=Bandwidth(Rate(10, 20, 7)))))
    assert desired.ports["vnet1"].shape == Shape(8_000_000, 16_000_000, 800_000)
    assert desired.ports["vnet2"].shape == Shape(80_000, 160_000, 7 * 1024 * 8)


def test_the_interfaces_bandwidth_stands_as_a_whole_before_the_portgroups(host: FakeHost) -> None:
    network = replace(BLUE, portgroups=(PortGroup("web", True, bandwidth=Bandwidth(Rate(1), Rate(1))),))
    desired = wanted(host, network, nics=(nic(bandwidth=Bandwidth(Rate(5))), nic(2)))
    assert wire(desired).meter is None
    assert wire(desired, "vnet2").meter == Meter(8, 256)


def test_a_row_gets_the_ids_that_libvirt_writes_so_that_a_lost_one_is_put_back_the_same(host: FakeHost) -> None:
    port = wanted(host, BLUE, nics=(nic(mtu=9000),)).ports["vnet1"]
    assert port.mtu == 9000
    assert dict(port.ids) == {"attached-mac": mac_of(1), "iface-id": uuid_of(11), "iface-status": "active", "vm-id": uuid_of(9)}


def test_libvirt_sets_its_own_taps_up_and_vnetd_those_of_ovs_ifup(host: FakeHost) -> None:
    assert wanted(host, BLUE, nics=(nic(), nic(2, owner_uuid=None))).links_up == {"vnet2"}


# Networks that get in each other's way, or in somebody else's.


def test_two_networks_on_one_bridge_are_one_network_and_a_problem(host: FakeHost) -> None:
    desired = wanted(host, BLUE, replace(RED, bridge=BLUE.bridge))
    assert desired.bridges["br-blue"].owner == BLUE.uuid
    assert words(desired) == "network red: its bridge br-blue is network blue's already; give it a bridge of its own"


def test_a_newcomer_does_not_take_the_bridge_of_a_network_that_runs(host: FakeHost) -> None:
    """The names' order decides between newcomers only, or a typo in a new network would cut the guests of an old one."""
    reconcile(Inventory((RED,), complete=True), host.rim())
    desired = wanted(host, RED, replace(BLUE, bridge=RED.bridge))
    assert desired.bridges["br-red"].owner == RED.uuid
    assert [problem.name for problem in desired.problems] == ["blue"]


def test_a_newcomer_does_not_take_the_uplink_of_a_network_that_runs(host: FakeHost) -> None:
    uplink = Uplink((IfName("eth1"),))
    reconcile(Inventory((replace(RED, uplink=uplink),), complete=True), host.rim())
    assert wanted(host, replace(RED, uplink=uplink), replace(BLUE, uplink=uplink)).ports["eth1"].bridge == "br-red"


def test_a_bridge_that_somebody_made_is_left_alone(host: FakeHost) -> None:
    host.hand_bridge("br-blue")
    desired = wanted(host, BLUE, RED, nics=(nic(),))
    assert set(desired.bridges) == {"br-red"}
    assert desired.ports == {}
    assert words(desired).startswith("network blue: bridge br-blue is there already and vnetd did not make it")


def test_a_device_that_is_called_like_the_bridge_is_left_alone(host: FakeHost) -> None:
    host.links["br-blue"] = True
    assert "a device called br-blue is there already" in words(wanted(host, BLUE))


def test_no_network_may_have_the_tunnel_bridge(host: FakeHost) -> None:
    assert "br-tun is the bridge of the tunnels" in words(wanted(host, replace(BLUE, bridge=IfName("br-tun"))))


def test_a_network_without_a_uuid_owns_its_bridge_by_its_name(host: FakeHost) -> None:
    assert wanted(host, replace(BLUE, uuid="")).bridges["br-blue"].owner == "blue"


# Uplinks.


def uplinked(dev: str = "eth1", force: bool = False) -> Network:
    return replace(BLUE, uplink=Uplink((IfName(dev),), force))


def test_an_uplink_joins_the_bridge_and_is_set_up(host: FakeHost) -> None:
    desired = wanted(host, uplinked())
    assert desired.ports["eth1"].role is Role.UPLINK
    assert desired.wirings["br-blue"].uplinks == ("eth1",)
    assert desired.wirings["br-blue"].patches == ()
    assert desired.links_up == {"eth1"}


def test_the_nic_of_the_default_route_is_refused_and_the_network_stays(host: FakeHost) -> None:
    desired = wanted(host, uplinked("eth0"), nics=(nic(),))
    assert "its uplink eth0 carries this host's default route, which would be cut" in words(desired)
    assert set(desired.ports) == {"vnet1"}


def test_the_nic_of_the_default_route_is_taken_by_force(host: FakeHost) -> None:
    desired = wanted(host, uplinked("eth0", force=True))
    assert set(desired.ports) == {"eth0"}
    assert desired.problems == ()


def test_a_nic_that_is_not_there_is_refused(host: FakeHost) -> None:
    assert "its uplink eth7 is not on this host" in words(wanted(host, uplinked("eth7")))


def test_a_nic_in_somebodys_bridge_is_refused(host: FakeHost) -> None:
    host.hand_bridge("br-user")
    host.hand_port("eth1", "br-user", kind="")
    desired = wanted(host, uplinked())
    assert desired.ports == {}
    assert "its uplink eth1 is in bridge br-user already, by hand" in words(desired)


def test_an_uplink_has_one_bridge(host: FakeHost) -> None:
    desired = wanted(host, uplinked(), replace(RED, uplink=Uplink((IfName("eth1"),))))
    assert words(desired) == "network red: its uplink eth1 is an uplink of bridge br-blue already; write another NIC"


# Which tap is whose.


def test_a_tap_that_two_nics_claim_is_the_first_ones_and_a_problem(host: FakeHost) -> None:
    desired = wanted(host, BLUE, nics=(nic(owner="a"), nic(2, tap=IfName("vnet1"), owner="b")))
    assert wire(desired).mac == mac_of(1)
    assert words(desired) == "port vnet1: b and another both claim the tap vnet1; each NIC needs its own"


def test_a_claim_that_libvirt_has_overwritten_does_not_win(host: FakeHost) -> None:
    """Names of taps are used again; the row says which guest libvirt gave this one to."""
    reconcile(Inventory((BLUE, RED), complete=True), host.rim())
    host.link_comes("vnet1")
    host.libvirt_add_port("vnet1", "br-red", {"vm-id": uuid_of(8), "iface-id": uuid_of(12), "attached-mac": mac_of(2)})
    stale = nic(owner="a")
    real = nic(2, "red", tap=IfName("vnet1"), owner="b", owner_uuid=uuid_of(8), iface_id=uuid_of(12))
    assert wire(wanted(host, BLUE, RED, nics=(stale, real))).mac == mac_of(2)


def test_a_stale_claim_alone_does_not_move_another_guests_port(host: FakeHost) -> None:
    reconcile(Inventory((BLUE, RED), complete=True), host.rim())
    host.link_comes("vnet1")
    host.libvirt_add_port("vnet1", "br-red", {"vm-id": uuid_of(8)})
    assert "vnet1" not in wanted(host, BLUE, RED, nics=(nic(),)).ports


def test_an_announced_nic_is_nothing_until_libvirt_has_plugged_it(host: FakeHost) -> None:
    desired = wanted(host, BLUE, nics=(nic(tap=None),))
    assert desired.ports == {}
    assert desired.problems == ()


def test_an_announced_nic_is_joined_to_its_tap_by_libvirts_interfaceid(host: FakeHost) -> None:
    reconcile(Inventory((BLUE,), complete=True), host.rim())
    host.link_comes("vnet7")
    host.libvirt_add_port("vnet7", "br-blue", {"vm-id": uuid_of(9), "iface-id": uuid_of(11)})
    assert wire(wanted(host, BLUE, nics=(nic(tap=None),)), "vnet7").mac == mac_of(1)


def test_a_nic_that_was_announced_and_then_stands_in_its_guests_xml_is_one_nic(host: FakeHost) -> None:
    reconcile(Inventory((BLUE,), complete=True), host.rim())
    host.link_comes("vnet1")
    host.libvirt_add_port("vnet1", "br-blue", {"vm-id": uuid_of(9), "iface-id": uuid_of(11)})
    desired = wanted(host, BLUE, nics=(nic(tap=None, portid=uuid_of(5)), nic(portid=uuid_of(5), mtu=1400)))
    assert desired.ports["vnet1"].mtu == 1400
    assert desired.problems == ()


def test_an_ethernet_nic_gives_its_mac_to_the_tap_that_ovs_ifup_took(host: FakeHost) -> None:
    """``<interface type='ethernet'>`` names no network: that stands in the tap's own file, which has no MAC."""
    file = Nic(None, "blue", tap=IfName("tap0"), owner="tap0")
    ethernet = Nic(mac_of(1), tap=IfName("tap0"), owner="web", owner_uuid=uuid_of(9))
    desired = wanted(host, BLUE, nics=(file, ethernet))
    assert wire(desired, "tap0").mac == mac_of(1)
    assert desired.problems == ()


def test_the_taps_own_file_is_believed_before_the_ethernet_nic(host: FakeHost) -> None:
    file = Nic(mac_of(2), "blue", tap=IfName("tap0"), owner="tap0")
    ethernet = Nic(mac_of(1), tap=IfName("tap0"), owner="web", owner_uuid=uuid_of(9))
    assert wire(wanted(host, BLUE, nics=(file, ethernet)), "tap0").mac == mac_of(2)


def test_a_tap_that_is_not_there_is_said_and_not_wanted(host: FakeHost) -> None:
    desired = desire(Inventory((BLUE,), (nic(),)), host.host(), host.rows())
    assert desired.ports == {}
    assert words(desired) == "port vnet1: its tap device is not there"


def test_a_tap_that_has_gone_leaves_no_port_that_waits_for_the_next_of_its_name(host: FakeHost) -> None:
    """Whoever makes a tap of that name next would find itself in this network's VLAN."""
    inventory = Inventory((BLUE,), (nic(owner_uuid=None),), complete=True)
    host.link_comes("vnet1")
    reconcile(inventory, host.rim())
    host.link_goes("vnet1")
    reconcile(inventory, host.rim())
    assert "vnet1" not in host.ports


def test_a_port_that_somebody_put_in_a_bridge_is_not_taken(host: FakeHost) -> None:
    host.hand_bridge("br-user")
    host.links["vnet1"] = True
    host.hand_port("vnet1", "br-user", kind="")
    desired = wanted(host, BLUE, nics=(nic(),))
    assert desired.ports == {}
    assert "a port of that name is in bridge br-user already, by hand" in words(desired)


def test_problems_of_the_sources_are_told_along(host: FakeHost) -> None:
    problem = Problem("guest", "web", "it cannot be read")
    desired = desire(Inventory((BLUE,), problems=(problem,)), host.host(), host.rows())
    assert desired.problems == (problem,)
    assert set(desired.bridges) == {"br-blue"}


# What may be pruned.


@pytest.mark.parametrize("limit", [0, 2, 3, -1])
def test_a_vlan_limit_of_open_vswitchs_other_than_one_is_noticed_with_the_way_back(host: FakeHost, limit: int) -> None:
    host.vlan_limit = limit
    assert wanted(host).problems == (), "where vnetd has no bridge, it is nothing to it"
    desired = wanted(host, BLUE)
    (problem,) = desired.problems
    assert (problem.kind, problem.name, problem.soft) == ("switch", "Open vSwitch", True)
    assert f"its other_config:vlan-limit is {limit} and not 1" in problem.text
    assert desired.wirings["br-blue"].hidden_tags
    assert problem.text.endswith("ovs-vsctl remove Open_vSwitch . other_config vlan-limit")
    reconcile(Inventory((BLUE,), complete=True), host.rim())
    assert wanted(host).problems == (problem,), "a bridge that is there already counts"
    assert host.vlan_limit == limit, "it is told and not changed: others may have set it"


@pytest.mark.parametrize("limit", [None, 1])
def test_a_vlan_limit_of_one_is_nothing_to_tell(host: FakeHost, limit: int | None) -> None:
    host.vlan_limit = limit
    desired = wanted(host, BLUE)
    assert (desired.problems, desired.wirings["br-blue"].hidden_tags) == ((), False)


def test_sources_are_complete_when_libvirt_was_read_or_every_bridge_is_accounted_for(host: FakeHost) -> None:
    reconcile(Inventory((BLUE, RED), complete=True), host.rim())

    def complete(**said: object) -> bool:
        return desire(Inventory(**said), host.host(), host.rows()).complete  # type: ignore[arg-type]

    assert complete(networks=(BLUE, RED))
    assert complete(networks=(BLUE,), complete=True)
    assert complete(networks=(BLUE,), gone_networks=frozenset({RED.uuid}))
    assert not complete(networks=(BLUE,))
    assert not complete()


def test_the_order_of_the_sources_changes_nothing(host: FakeHost) -> None:
    host.addresses = {HV1}
    networks = (replace(BLUE, overlay=MESH), RED)
    nics = (nic(), nic(2, "red"), nic(3))
    assert wanted(host, *networks, nics=nics) == wanted(host, *reversed(networks), nics=tuple(reversed(nics)))
