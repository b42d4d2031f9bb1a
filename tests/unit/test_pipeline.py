"""The flows, written out as a dump shows them, and what must hold of every set of them.

The examples read like ``ovs-ofctl dump-flows`` with names for numbers and words for
cookies. The properties below hold for any wiring: they follow a frame from table to
table and look at where it can come out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

import pytest
from fakes import mac_of
from hypothesis import given
from hypothesis import strategies as st

from vnetd.model.network import UNTAGGED, Guard, Vlan, VlanMode
from vnetd.model.state import GuestWire, Meter, NetworkWiring, SegmentWire
from vnetd.pipeline import Cookie, Flow, Table, by_lines, is_ours, network_flows, tunnel_flows
from vnetd.pipeline.catalogue import REASONS

M = mac_of(1)
WEB = GuestWire("vnet1", M, Vlan(VlanMode.ACCESS, 10), Guard.MAC)

_GOTO = re.compile(r"goto_table:(\d+)")
_OUTPUT = re.compile(r"output:<([^>]+)>")
_LEARN = re.compile(r"learn\([^()]*\)")
_IN_PORT = re.compile(r"in_port=<?([^,>]+)")


def dump(flows: Iterable[Flow]) -> str:
    """Flows by table and falling priority, with the cookie's name at the end of the line."""
    ordered = sorted(flows, key=lambda one: (one.table, -one.priority, one.text()))
    return "\n".join(f"{one.text().partition(', ')[2]}  # {one.cookie.name.lower()}" for one in ordered)


def guest_lines(guest: GuestWire) -> str:
    """What one guest adds to a bridge."""
    alone = set(network_flows(NetworkWiring(), ()))
    return dump(set(network_flows(NetworkWiring((guest,)), {guest.port})) - alone)


# One network's bridge.


def test_a_bridge_without_guests_carries_only_its_carriers_and_the_hosts_own_port() -> None:
    flows = network_flows(NetworkWiring(carriers=("eth1", "tun-blue")), {"eth1", "tun-blue"})
    # The table that guests go through is looked at by another test, because it has no line of its own here.
    assert (
        dump(one for one in flows if one.table is not Table.GUARD)
        == """\
priority=100,in_port=LOCAL actions=goto_table:60  # classify
priority=100,in_port=eth1 actions=goto_table:60  # classify
priority=100,in_port=tun-blue actions=goto_table:60  # classify
priority=0 actions=drop  # unwired
table=11, priority=100,dl_type=0x8100 actions=drop  # nested_tag
table=11, priority=100,dl_type=0x88a8 actions=drop  # nested_tag
table=11, priority=100,dl_type=0x9100 actions=drop  # nested_tag
table=11, priority=0 actions=goto_table:60  # guard
table=60, priority=0 actions=NORMAL  # forward"""
    )


def test_an_access_port_sends_untagged_frames_from_its_own_mac() -> None:
    """VLAN ID 0 is a priority tag, which is no VLAN (IEEE 802.1Q, 6.8); the tag that OVS adds comes later."""
    assert (
        guest_lines(WEB)
        == f"""\
priority=100,in_port=vnet1 actions=goto_table:10  # classify
table=10, priority=100,in_port=vnet1,vlan_tci=0x0000/0x0fff,dl_src={M} actions=goto_table:11  # guard
table=10, priority=50,in_port=vnet1,dl_src={M} actions=drop  # foreign_vlan
table=10, priority=10,in_port=vnet1 actions=drop  # foreign_mac"""
    )


def test_an_untagged_port_has_the_flows_of_an_access_port() -> None:
    untagged = GuestWire("vnet1", M, UNTAGGED, Guard.MAC)
    assert guest_lines(untagged) == guest_lines(WEB)


def test_a_trunk_sends_the_vlans_of_its_list_and_nothing_untagged() -> None:
    assert (
        guest_lines(GuestWire("vnet1", M, Vlan(VlanMode.TRUNK, None, (10, 20)), Guard.MAC))
        == f"""\
priority=100,in_port=vnet1 actions=goto_table:10  # classify
table=10, priority=100,in_port=vnet1,dl_vlan=10,dl_src={M} actions=goto_table:60  # guard
table=10, priority=100,in_port=vnet1,dl_vlan=20,dl_src={M} actions=goto_table:60  # guard
table=10, priority=50,in_port=vnet1,dl_src={M} actions=drop  # foreign_vlan
table=10, priority=10,in_port=vnet1 actions=drop  # foreign_mac"""
    )


@pytest.mark.parametrize("mode", [VlanMode.NATIVE_TAGGED, VlanMode.NATIVE_UNTAGGED])
def test_a_trunk_with_a_native_vlan_sends_untagged_frames_too(mode: VlanMode) -> None:
    assert (
        guest_lines(GuestWire("vnet1", M, Vlan(mode, 10, (10, 20)), Guard.MAC))
        == f"""\
priority=100,in_port=vnet1 actions=goto_table:10  # classify
table=10, priority=100,in_port=vnet1,dl_vlan=10,dl_src={M} actions=goto_table:60  # guard
table=10, priority=100,in_port=vnet1,dl_vlan=20,dl_src={M} actions=goto_table:60  # guard
table=10, priority=100,in_port=vnet1,vlan_tci=0x0000/0x1fff,dl_src={M} actions=goto_table:60  # guard
table=10, priority=50,in_port=vnet1,dl_src={M} actions=drop  # foreign_vlan
table=10, priority=10,in_port=vnet1 actions=drop  # foreign_mac"""
    )


def test_a_port_without_a_guard_goes_straight_to_switching() -> None:
    assert guest_lines(GuestWire("vnet1", None, UNTAGGED, Guard.NONE)) == "priority=100,in_port=vnet1 actions=goto_table:60  # classify"


def test_a_guarded_port_whose_mac_is_unknown_sends_nothing() -> None:
    assert (
        guest_lines(GuestWire("vnet1", None, UNTAGGED, Guard.MAC))
        == """\
priority=100,in_port=vnet1 actions=goto_table:10  # classify
table=10, priority=10,in_port=vnet1 actions=drop  # foreign_mac"""
    )


def test_the_limit_stands_behind_the_guard_so_that_spoofed_frames_use_none_of_it() -> None:
    assert (
        guest_lines(GuestWire("vnet1", M, Vlan(VlanMode.ACCESS, 10), Guard.MAC, Meter(4000, 400)))
        == f"""\
priority=100,in_port=vnet1 actions=goto_table:10  # classify
table=10, priority=100,in_port=vnet1,vlan_tci=0x0000/0x0fff,dl_src={M} actions=meter:vnet1,goto_table:11  # guard
table=10, priority=50,in_port=vnet1,dl_src={M} actions=drop  # foreign_vlan
table=10, priority=10,in_port=vnet1 actions=drop  # foreign_mac"""
    )


def test_a_limit_holds_without_a_guard_too() -> None:
    guest = GuestWire("vnet1", None, UNTAGGED, Guard.NONE, Meter(4000, 400))
    assert guest_lines(guest) == "priority=100,in_port=vnet1 actions=meter:vnet1,goto_table:60  # classify"


def test_a_port_that_the_switch_has_not_made_has_no_flows() -> None:
    wiring = NetworkWiring((WEB,), ("eth1",))
    assert network_flows(wiring, ()) == network_flows(NetworkWiring(), ())


# The tunnel bridge.


def test_a_segment_floods_to_its_peers_and_learns_from_them() -> None:
    """What comes from a tunnel is handed to the patch and to nothing else."""
    learn = (
        "learn(table=30,hard_timeout=300,priority=5,cookie=0x766e657400000032,limit=65536,in_port=to-blue,"
        "NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:OXM_OF_IN_PORT[])"
    )
    assert (
        dump(tunnel_flows([SegmentWire("to-blue", 100, ("gre-a", "gre-b"))], {"to-blue", "gre-a", "gre-b"}))
        == f"""\
priority=100,in_port=gre-a actions=goto_table:20  # classify
priority=100,in_port=gre-b actions=goto_table:20  # classify
priority=100,in_port=to-blue actions=set_field:0x64->tun_id,goto_table:30  # classify
priority=0 actions=drop  # unwired
table=20, priority=100,tun_id=0x64,in_port=gre-a actions={learn},output:to-blue  # segment
table=20, priority=100,tun_id=0x64,in_port=gre-b actions={learn},output:to-blue  # segment
table=20, priority=0 actions=drop  # unwired
table=30, priority=10,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=goto_table:40  # unicast
table=30, priority=0 actions=goto_table:40  # unicast
table=40, priority=100,in_port=to-blue actions=output:gre-a,output:gre-b  # flood
table=40, priority=0 actions=drop  # flood"""
    )


def test_a_segment_without_tunnels_is_silent() -> None:
    lines = dump(tunnel_flows([SegmentWire("to-blue", 100, ())], {"to-blue"}))
    assert "output" not in lines
    assert "priority=100,in_port=to-blue actions=set_field:0x64->tun_id,goto_table:30  # classify" in lines


def test_a_segment_whose_patch_is_not_there_opens_no_tunnel() -> None:
    assert tunnel_flows([SegmentWire("to-blue", 100, ("gre-a",))], {"gre-a"}) == tunnel_flows([], ())


def test_a_tunnel_that_is_not_there_is_left_out_of_the_flood() -> None:
    assert "in_port=to-blue actions=output:gre-b " in dump(
        tunnel_flows([SegmentWire("to-blue", 100, ("gre-a", "gre-b"))], {"to-blue", "gre-b"})
    )


# A flow and its line.


def test_a_flow_renders_with_numbers_as_the_switch_prints_it_and_with_names_to_read() -> None:
    flow = Flow(Table.GUARD, 100, f"in_port=<vnet1>,dl_src={M}", "meter:<vnet1>,goto_table:11", Cookie.GUARD)
    head = "cookie=0x766e657400000010, table=10, priority=100"
    assert flow.line({"vnet1": 7}) == f"{head},in_port=7,dl_src={M} actions=meter:7,goto_table:11"
    assert flow.text() == f"{head},in_port=vnet1,dl_src={M} actions=meter:vnet1,goto_table:11"
    assert by_lines([flow], {"vnet1": 7}) == {flow.line({"vnet1": 7}): flow}


def test_a_flow_of_a_port_without_number_renders_to_nothing() -> None:
    with pytest.raises(KeyError):
        Flow(Table.CLASSIFY, 1, "in_port=<vnet1>", "drop", Cookie.UNWIRED).line({})


def test_cookies_tell_vnetds_flows_and_never_change() -> None:
    """Another number for a kind would make every host replace its flows on an update."""
    assert {cookie.name: int(cookie) & 0xFFFFFFFF for cookie in Cookie} == {
        "CLASSIFY": 0x01, "UNWIRED": 0x02, "GUARD": 0x10, "FOREIGN_MAC": 0x11, "FOREIGN_VLAN": 0x12, "NESTED_TAG": 0x13,
        "FORWARD": 0x20, "SEGMENT": 0x30, "UNICAST": 0x31, "LEARNED": 0x32, "FLOOD": 0x33,
    }  # fmt: skip
    assert all(is_ours(f"cookie=0x{cookie:x}, priority=0 actions=drop") for cookie in Cookie)


@pytest.mark.parametrize("line", ["priority=0 actions=drop", "cookie=0x766e6574, actions=drop", "cookie=0x766e6574000000001, actions=drop"])
def test_other_cookies_are_not_vnetds(line: str) -> None:
    assert not is_ours(line)


# What holds of every wiring.


def _vlans() -> st.SearchStrategy[Vlan]:
    tags = st.integers(1, 4094)
    trunks = st.sets(tags, min_size=1, max_size=4).map(lambda found: tuple(sorted(found)))
    return st.one_of(
        st.just(UNTAGGED),
        tags.map(lambda tag: Vlan(VlanMode.ACCESS, tag)),
        trunks.map(lambda found: Vlan(VlanMode.TRUNK, None, found)),
        trunks.map(lambda found: Vlan(VlanMode.NATIVE_TAGGED, found[0], found)),
        trunks.map(lambda found: Vlan(VlanMode.NATIVE_UNTAGGED, found[0], found)),
    )


def _guests() -> st.SearchStrategy[tuple[GuestWire, ...]]:
    one = st.tuples(st.none() | st.integers(1, 99).map(mac_of), _vlans(), st.sampled_from(Guard), st.none() | st.just(Meter(8, 128)))
    return st.lists(one, max_size=4).map(lambda found: tuple(GuestWire(f"vnet{at}", *wire) for at, wire in enumerate(found)))


wirings = st.builds(NetworkWiring, _guests(), st.sampled_from([(), ("eth1",), ("eth1", "tun-a")]))
patches = st.sampled_from(["to-a", "to-b", "to-c"])
tunnels = st.sampled_from([(), ("t1",), ("t1", "t2")])
meshes = st.lists(
    st.builds(SegmentWire, patches, st.integers(0, 2**32 - 1), tunnels),
    max_size=3,
    unique_by=(lambda wire: wire.patch, lambda wire: wire.segment),
)
EVERY_PORT = {"eth1", "tun-a", "to-a", "to-b", "to-c", "t1", "t2", *(f"vnet{number}" for number in range(4))}


def _all_flows(wiring: NetworkWiring, mesh: list[SegmentWire]) -> list[list[Flow]]:
    return [network_flows(wiring, EVERY_PORT), tunnel_flows(mesh, EVERY_PORT)]


@given(wirings, meshes)
def test_a_frame_only_ever_goes_forward(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    for flow in itertools.chain(*_all_flows(wiring, mesh)):
        assert all(int(table) > flow.table for table in _GOTO.findall(flow.actions))


@given(wirings, meshes)
def test_every_table_says_what_becomes_of_a_frame_that_nothing_matches(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    for flows in _all_flows(wiring, mesh):
        reached = {0} | {int(table) for flow in flows for table in _GOTO.findall(flow.actions)}
        assert reached <= {int(flow.table) for flow in flows if flow.priority == 0 and not flow.match}


@given(wirings, meshes)
def test_no_two_flows_have_the_same_match(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    for flows in _all_flows(wiring, mesh):
        keys = [(flow.table, flow.priority, flow.match) for flow in flows]
        assert len(set(keys)) == len(keys)


@given(wirings, meshes)
def test_switching_stands_in_one_table_and_nothing_else_does(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    network, tunnel = _all_flows(wiring, mesh)
    assert {flow.table for flow in network if "NORMAL" in flow.actions} == {Table.FORWARD}
    assert not [flow for flow in tunnel if "NORMAL" in flow.actions]


@given(wirings, meshes)
def test_a_drop_is_counted_under_its_reason(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    """The end of the flood is none: it is where a broadcast ends that has no peer to go to."""
    for flow in itertools.chain(*_all_flows(wiring, mesh)):
        assert (flow.actions == "drop") == (flow.cookie in REASONS) or flow.cookie is Cookie.FLOOD


@given(meshes)
def test_what_comes_from_a_tunnel_goes_to_no_tunnel(mesh: list[SegmentWire]) -> None:
    flows = tunnel_flows(mesh, EVERY_PORT)
    for tunnel in ("t1", "t2"):
        reached = _reachable(flows, tunnel)
        outputs = {port for flow in reached for port in _OUTPUT.findall(_LEARN.sub("", flow.actions))}
        assert outputs <= {segment.patch for segment in mesh}
        assert not any("output:OXM" in _LEARN.sub("", flow.actions) or "IN_PORT" in flow.match for flow in reached)
        # A learned flow stands in UNICAST, so that table must be out of reach as well.
        assert not [flow for flow in reached if flow.table is Table.UNICAST]


@given(meshes)
def test_what_comes_from_a_tunnel_reaches_the_network_of_its_segment_only(mesh: list[SegmentWire]) -> None:
    for flow in tunnel_flows(mesh, EVERY_PORT):
        if flow.table is Table.SEGMENT and flow.match:
            (segment,) = [one for one in mesh if f"tun_id=0x{one.segment:x}," in flow.match]
            assert _OUTPUT.findall(_LEARN.sub("", flow.actions)) == [segment.patch]


@given(meshes)
def test_a_network_reaches_its_own_peers_only(mesh: list[SegmentWire]) -> None:
    flows = tunnel_flows(mesh, EVERY_PORT)
    for segment in mesh:
        outputs = {port for flow in _reachable(flows, segment.patch) for port in _OUTPUT.findall(flow.actions)}
        assert outputs == set(segment.tunnels)


@given(wirings)
def test_a_guarded_guest_sends_nothing_but_from_its_own_mac(wiring: NetworkWiring) -> None:
    flows = network_flows(wiring, EVERY_PORT)
    for guest in wiring.guests:
        if guest.guard is Guard.NONE:
            continue
        own = [flow for flow in flows if flow.match.startswith(f"in_port=<{guest.port}>")]
        onward = [flow for flow in own if flow.actions != "drop" and flow.actions != f"goto_table:{Table.GUARD:d}"]
        assert all(guest.mac is not None and flow.match.endswith(f",dl_src={guest.mac}") for flow in onward)
        assert all(flow.table is Table.GUARD for flow in onward)
        assert bool(onward) == (guest.mac is not None)


@given(wirings)
def test_a_port_that_nothing_wires_passes_nothing(wiring: NetworkWiring) -> None:
    reached = _reachable(network_flows(wiring, EVERY_PORT), "a-port-by-hand")
    assert {flow.actions for flow in reached} == {"drop"}


@given(wirings)
def test_every_limited_guest_passes_its_meter(wiring: NetworkWiring) -> None:
    for flow in network_flows(wiring, EVERY_PORT):
        port = _IN_PORT.findall(flow.match)
        guest = next((one for one in wiring.guests if [one.port] == port), None)
        if guest is not None and guest.meter and flow.actions not in ("drop", f"goto_table:{Table.GUARD:d}"):
            assert flow.actions.startswith(f"meter:<{guest.port}>,")


def _reachable(flows: list[Flow], port: str) -> list[Flow]:
    """Every flow that some frame from ``port`` can meet, whatever the frame is."""
    tables, found = {0}, []
    for table in sorted(Table):
        for flow in flows:
            ports = _IN_PORT.findall(flow.match)
            if flow.table == table and table in tables and ports in ([], [port]):
                # In table 0 a flow for the port itself stands before the one for all others.
                if table == 0 and not ports and any(_IN_PORT.findall(one.match) == [port] for one in flows if one.table == 0):
                    continue
                found.append(flow)
                tables |= {int(number) for number in _GOTO.findall(flow.actions)}
    return found
