"""The flows, written out as a dump shows them, and what must hold of every set of them.

The examples read like ``ovs-ofctl dump-flows`` with names for numbers and words for
cookies. The properties below hold for any wiring: they follow a frame from table to
table and look at where it can come out. What the tables do to frames is test_policy.py's.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from ipaddress import ip_network

import pytest
from dumps import changed, dump
from fakes import mac_of
from hypothesis import given
from hypothesis import strategies as st
from samples import wirings

from vnetd.model.network import UNTAGGED, Guard, Vlan, VlanMode
from vnetd.model.state import GuestWire, Meter, NetworkWiring, Pool, SegmentWire
from vnetd.pipeline import (
    Cookie,
    Flow,
    MeterKind,
    Reason,
    Table,
    by_lines,
    groups_of,
    is_learned,
    is_ours,
    meters_of,
    network_flows,
    referenced_ports,
    tunnel_flows,
)
from vnetd.pipeline.catalogue import REASONS, TunnelTable, reason_of
from vnetd.pipeline.flow import number

M = mac_of(1)
WEB = GuestWire("vnet1", M, Vlan(VlanMode.ACCESS, 10), Guard.MAC)
UNICAST = "dl_dst=00:00:00:00:00:00/01:00:00:00:00:00"
LEARN = (
    "learn(table=41,hard_timeout=300,priority=10,cookie=0x766e657400000032,limit=8192,"
    "NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15])"
)

_GOTO = re.compile(r"goto_table:(\d+)")
_NEXT = re.compile(r"(?:goto_table:|resubmit\(,)(\d+)")
_OUTPUT = re.compile(r"output:<([^>]+)>")
_LEARN = re.compile(r"learn\([^()]*\)")
_IN_PORT = re.compile(r"in_port=<?([^,>]+)")


def guest_lines(guest: GuestWire) -> str:
    """What one guest adds to a bridge."""
    return added(NetworkWiring((guest,)), guest.port)


def added(wiring: NetworkWiring, *live: str) -> str:
    """What a bridge has beyond one without ports."""
    alone = set(network_flows(NetworkWiring(), ()))
    return dump(set(network_flows(wiring, live)) - alone)


# One network's bridge.


def test_an_access_port_sends_untagged_frames_from_its_own_mac() -> None:
    """A forged address ends at its last byte or at the rest of it; the port's VLAN is on the frame from the second table on."""
    assert (
        guest_lines(WEB)
        == f"""\
priority=110,in_port=vnet1,dl_src=00:00:00:00:00:01/00:00:00:00:00:ff actions=goto_table:5  # classify
priority=100,in_port=vnet1 actions=drop  # foreign_mac
table=10, priority=100,in_port=vnet1,dl_src={M} actions=goto_table:12  # guard
table=12, priority=100,in_port=vnet1,vlan_tci=0x0000/0x1fff actions=push_vlan:0x8100,set_field:4106->vlan_vid,goto_table:14  # vlan
table=42, priority=100,reg1=vnet1,dl_vlan=10,dl_dst={M} actions=pop_vlan,goto_table:43  # deliver
table=52, priority=120,dl_vlan=10,{UNICAST} actions=drop  # flood
table=52, priority=100,dl_vlan=10 actions=resubmit(,55)  # flood
table=53, priority=100,dl_vlan=10,dl_dst={M} actions=set_field:vnet1->reg1,resubmit(,42)  # deliver
table=55, priority=100,dl_vlan=10 actions=pop_vlan,output:vnet1  # flood"""
    )


def test_an_untagged_port_has_the_same_flows_without_the_tag() -> None:
    untagged = guest_lines(GuestWire("vnet1", M, UNTAGGED, Guard.MAC))
    tagged = guest_lines(WEB).replace("push_vlan:0x8100,set_field:4106->vlan_vid,", "").replace("pop_vlan,", "")
    assert untagged == tagged.replace("dl_vlan=10", "vlan_tci=0x0000/0x1fff")


def test_a_trunk_sends_the_vlans_of_its_list_and_nothing_untagged() -> None:
    assert (
        guest_lines(GuestWire("vnet1", M, Vlan(VlanMode.TRUNK, None, (10, 20)), Guard.MAC))
        == f"""\
priority=110,in_port=vnet1,dl_src=00:00:00:00:00:01/00:00:00:00:00:ff actions=goto_table:5  # classify
priority=100,in_port=vnet1 actions=drop  # foreign_mac
table=10, priority=100,in_port=vnet1,dl_src={M} actions=goto_table:12  # guard
table=12, priority=100,in_port=vnet1,dl_vlan=10 actions=goto_table:25  # vlan
table=12, priority=100,in_port=vnet1,dl_vlan=20 actions=goto_table:25  # vlan
table=42, priority=100,reg1=vnet1,dl_vlan=10,dl_dst={M} actions=goto_table:46  # deliver
table=42, priority=100,reg1=vnet1,dl_vlan=20,dl_dst={M} actions=goto_table:46  # deliver
table=52, priority=120,dl_vlan=10,{UNICAST} actions=drop  # flood
table=52, priority=120,dl_vlan=20,{UNICAST} actions=drop  # flood
table=52, priority=100,dl_vlan=10 actions=output:vnet1  # flood
table=52, priority=100,dl_vlan=20 actions=output:vnet1  # flood
table=53, priority=100,dl_vlan=10,dl_dst={M} actions=set_field:vnet1->reg1,resubmit(,42)  # deliver
table=53, priority=100,dl_vlan=20,dl_dst={M} actions=set_field:vnet1->reg1,resubmit(,42)  # deliver"""
    )


def test_a_native_vlan_takes_untagged_frames_in_and_is_tagged_toward_the_guest_or_not() -> None:
    trunk, tagged, untagged = (
        guest_lines(GuestWire("vnet1", M, Vlan(mode, tag, (10, 20)), Guard.MAC))
        for mode, tag in ((VlanMode.TRUNK, None), (VlanMode.NATIVE_TAGGED, 10), (VlanMode.NATIVE_UNTAGGED, 10))
    )
    native = "in_port=vnet1,vlan_tci=0x0000/0x1fff actions=push_vlan:0x8100,set_field:4106->vlan_vid,goto_table:14"
    assert changed(trunk, tagged) == f"+table=12, priority=100,{native}  # vlan"
    assert (
        changed(tagged, untagged)
        == f"""\
-table=42, priority=100,reg1=vnet1,dl_vlan=10,dl_dst={M} actions=goto_table:46  # deliver
-table=52, priority=100,dl_vlan=10 actions=output:vnet1  # flood
+table=42, priority=100,reg1=vnet1,dl_vlan=10,dl_dst={M} actions=pop_vlan,goto_table:43  # deliver
+table=52, priority=100,dl_vlan=10 actions=resubmit(,55)  # flood
+table=55, priority=100,dl_vlan=10 actions=pop_vlan,output:vnet1  # flood"""
    )


def test_a_port_without_a_guard_is_held_to_its_vlan_and_hears_what_is_for_strangers() -> None:
    """It has no place in STATION, whatever its MAC is said to be, and may fill a smaller part of what is learned."""
    for mac in (None, M):
        learn = LEARN.replace("00000032,", "00000035,")
        assert (
            guest_lines(GuestWire("vnet1", mac, UNTAGGED, Guard.NONE))
            == f"""\
priority=100,in_port=vnet1 actions=goto_table:5  # classify
table=10, priority=100,in_port=vnet1 actions=goto_table:12  # guard
table=12, priority=100,in_port=vnet1,vlan_tci=0x0000/0x1fff actions=goto_table:14  # vlan
table=14, priority=50,in_port=vnet1 actions=goto_table:30  # vlan
table=40, priority=100,in_port=vnet1 actions={learn},resubmit(,41),goto_table:42  # learn
table=42, priority=100,reg1=vnet1,vlan_tci=0x0000/0x1fff actions=goto_table:43  # deliver
table=52, priority=120,vlan_tci=0x0000/0x1fff,{UNICAST} actions=resubmit(,55)  # flood
table=52, priority=100,vlan_tci=0x0000/0x1fff actions=resubmit(,55)  # flood
table=55, priority=120,vlan_tci=0x0000/0x1fff,{UNICAST} actions=output:vnet1  # flood
table=55, priority=100,vlan_tci=0x0000/0x1fff actions=output:vnet1  # flood"""
        )


@pytest.mark.parametrize("guard", [Guard.MAC, Guard.STRICT])
def test_a_guarded_port_whose_mac_is_unknown_sends_and_hears_nothing(guard: Guard) -> None:
    assert guest_lines(GuestWire("vnet1", None, UNTAGGED, guard)) == "priority=100,in_port=vnet1 actions=drop  # foreign_mac"


def test_limits_stand_behind_the_guard_so_that_spoofed_frames_use_none_of_them() -> None:
    packets = Meter(100, 200, "pktps")
    limited = GuestWire("vnet1", M, UNTAGGED, Guard.MAC, Meter(4000, 400), flood=packets, neighbour=packets)
    assert (
        changed(guest_lines(GuestWire("vnet1", M, UNTAGGED, Guard.MAC)), guest_lines(limited))
        == """\
-table=12, priority=100,in_port=vnet1,vlan_tci=0x0000/0x1fff actions=goto_table:14  # vlan
+table=12, priority=100,in_port=vnet1,vlan_tci=0x0000/0x1fff actions=meter:vnet1-bandwidth,goto_table:14  # vlan
+table=31, priority=100,in_port=vnet1 actions=meter:vnet1-neighbour,goto_table:40  # limit
+table=50, priority=100,in_port=vnet1 actions=meter:vnet1-flood,goto_table:51  # limit"""
    )


def test_a_strict_port_has_its_addresses_and_the_link_local_one_in_both_directions() -> None:
    strict = GuestWire("vnet1", M, UNTAGGED, Guard.STRICT, addresses=(ip_network("10.0.0.1"), ip_network("2001:db8::/64")))
    assert (
        changed(guest_lines(GuestWire("vnet1", M, UNTAGGED, Guard.MAC)), guest_lines(strict))
        == f"""\
-table=12, priority=100,in_port=vnet1,vlan_tci=0x0000/0x1fff actions=goto_table:14  # vlan
-table=42, priority=100,reg1=vnet1,vlan_tci=0x0000/0x1fff,dl_dst={M} actions=goto_table:43  # deliver
-table=52, priority=100,vlan_tci=0x0000/0x1fff actions=resubmit(,55)  # flood
-table=55, priority=100,vlan_tci=0x0000/0x1fff actions=output:vnet1  # flood
+table=12, priority=100,in_port=vnet1,vlan_tci=0x0000/0x1fff actions=set_field:0x20->reg3,goto_table:20  # vlan
+table=21, priority=100,arp,in_port=vnet1,arp_spa=10.0.0.1,arp_sha={M} actions=load:0x1->NXM_NX_REG3[0]  # source
+table=21, priority=100,ip,in_port=vnet1,nw_src=10.0.0.1 actions=load:0x1->NXM_NX_REG3[0]  # source
+table=21, priority=100,ipv6,in_port=vnet1,ipv6_src=2001:db8::/64 actions=load:0x1->NXM_NX_REG3[0]  # source
+table=21, priority=100,ipv6,in_port=vnet1,ipv6_src=fe80::5054:ff:fe00:1 actions=load:0x1->NXM_NX_REG3[0]  # source
+table=21, priority=100,rarp,in_port=vnet1,arp_sha={M},arp_tha={M} actions=load:0x1->NXM_NX_REG3[0]  # source
+table=42, priority=100,reg1=vnet1,vlan_tci=0x0000/0x1fff,dl_dst={M} actions=load:0x1->NXM_NX_REG3[6],goto_table:43  # deliver
+table=45, priority=100,ip,reg1=vnet1,nw_dst=10.0.0.1 actions=goto_table:46  # toward
+table=45, priority=100,ipv6,reg1=vnet1,ipv6_dst=2001:db8::/64 actions=goto_table:46  # toward
+table=45, priority=100,ipv6,reg1=vnet1,ipv6_dst=fe80::5054:ff:fe00:1 actions=goto_table:46  # toward
+table=52, priority=110,reg3=0x10/0x10,vlan_tci=0x0000/0x1fff actions=resubmit(,55)  # flood
+table=52, priority=100,vlan_tci=0x0000/0x1fff actions=drop  # flood
+table=55, priority=110,reg3=0x10/0x10,vlan_tci=0x0000/0x1fff actions=output:vnet1  # flood"""
    )


def test_a_strict_port_without_addresses_says_so_in_the_facts() -> None:
    assert "actions=set_field:0x22->reg3,goto_table:20  # vlan" in guest_lines(GuestWire("vnet1", M, UNTAGGED, Guard.STRICT))


@pytest.mark.parametrize("written", ["fe80::5054:ff:fe00:1", "fe80::/64"])
def test_a_link_local_address_that_is_written_too_is_there_once(written: str) -> None:
    lines = guest_lines(GuestWire("vnet1", M, UNTAGGED, Guard.STRICT, addresses=(ip_network(written),)))
    assert lines.count("ipv6_src=") == lines.count("ipv6_dst=") == 1


def test_an_isolated_port_marks_what_it_sends_and_hears_nothing_that_is_marked() -> None:
    isolated = GuestWire("vnet1", M, UNTAGGED, Guard.MAC, isolated=True)
    assert (
        changed(guest_lines(GuestWire("vnet1", M, UNTAGGED, Guard.MAC)), guest_lines(isolated))
        == f"""\
-table=12, priority=100,in_port=vnet1,vlan_tci=0x0000/0x1fff actions=goto_table:14  # vlan
+table=12, priority=100,in_port=vnet1,vlan_tci=0x0000/0x1fff actions=set_field:0x1->pkt_mark,goto_table:14  # vlan
+table=42, priority=200,pkt_mark=0x1,reg1=vnet1 actions=set_field:0x51->reg2,goto_table:60  # refuse
+table=52, priority=170,pkt_mark=0x1,vlan_tci=0x0000/0x1fff,{UNICAST} actions=drop  # flood
+table=52, priority=150,pkt_mark=0x1,vlan_tci=0x0000/0x1fff actions=drop  # flood"""
    )


def test_a_dot1q_tunnel_port_puts_its_customers_vlans_into_its_service_vlan() -> None:
    """A frame that has two tags already is not let in, and what comes out has one of the customers' or is not given out."""
    vlan = Vlan(VlanMode.DOT1Q_TUNNEL, 100, customers=(10, 20), tpid=0x88A8)
    service = "load:0x1->NXM_NX_REG3[7],push_vlan:0x88a8,set_field:4196->vlan_vid,goto_table:14"
    assert (
        guest_lines(GuestWire("vnet1", M, vlan, Guard.MAC)).partition(f"{M} actions=goto_table:12  # guard\n")[2]
        == f"""\
table=12, priority=100,in_port=vnet1,dl_vlan=10 actions={service}  # vlan
table=12, priority=100,in_port=vnet1,dl_vlan=20 actions={service}  # vlan
table=42, priority=100,reg1=vnet1,dl_vlan=100,dl_dst={M} actions=goto_table:56  # deliver
table=44, priority=110,reg1=vnet1,dl_vlan=10 actions=goto_table:46  # deliver
table=44, priority=110,reg1=vnet1,dl_vlan=20 actions=goto_table:46  # deliver
table=52, priority=120,dl_vlan=100,{UNICAST} actions=drop  # flood
table=52, priority=100,dl_vlan=100 actions=clone(set_field:vnet1->reg1,resubmit(,56))  # flood
table=53, priority=100,dl_vlan=100,dl_dst={M} actions=set_field:vnet1->reg1,resubmit(,42)  # deliver
table=56, priority=0 actions=group:1986946421  # deliver
table=57, priority=100,vlan_tci=0x1000/0x1000 actions=pop_vlan,group:1986946420  # deliver
table=57, priority=0 actions=set_field:0x12->reg2,goto_table:61  # refuse"""
    )


def test_only_a_bridge_with_dot1q_tunnel_ports_needs_frames_to_be_parsed_again() -> None:
    """Its flows name each group once, however many such ports there are."""
    vlan = Vlan(VlanMode.DOT1Q_TUNNEL, 100, tpid=0x8100)
    tunnels = tuple(GuestWire(f"vnet{number}", mac_of(number), vlan, Guard.MAC) for number in range(1, 4))
    for guests, wanted in ((tunnels, {0x766E6574: "select, to table 44", 0x766E6575: "indirect, to table 57"}), ((WEB,), {})):
        flows = network_flows(NetworkWiring(guests), [guest.port for guest in guests])
        named = [int(flow.actions.partition("group:")[2]) for flow in flows if "group:" in flow.actions]
        assert sorted(named) == sorted(wanted)
        assert {number: str(group) for number, group in groups_of(NetworkWiring(guests)).items()} == wanted


def test_where_tags_hide_every_first_tag_is_looked_behind() -> None:
    """Nobody's frame gets past PRIORITY with a tag, uplinks' and the host's neither, and who asks for a second tag asks the register."""
    wiring = NetworkWiring((WEB,), ("eth1",), ("tun-a",), host=True, joints=("join-a",))
    live = ("vnet1", "eth1", "tun-a", "join-a")
    hiding = replace(wiring, hidden_tags=True)
    found = changed(dump(network_flows(wiring, live)), dump(network_flows(hiding, live)))
    look = "move:NXM_OF_VLAN_TCI[]->NXM_NX_REG4[0..15],pop_vlan,group:1986946423"
    assert f"+table=5, priority=100,vlan_tci=0x1000/0x1000 actions={look}  # guard" in found
    for port in ("eth1", "tun-a", "join-a", "LOCAL"):
        (entrance,) = re.findall(rf"\+priority=110,in_port={port},(.*)", found)
        assert entrance.startswith("vlan_tci=0x1000/0x1000 actions=")
        assert entrance.endswith("goto_table:5  # classify")
        assert f"+table=10, priority=100,in_port={port} actions=goto_table:40  # guard" in found
    asking = {int(table) for table in re.findall(r"\+table=(\d+), priority=\d+,reg4=0x10000/0x10000 ", found)}
    assert asking == {Table.NESTED, Table.TYPE, Table.KIND, Table.BARE, Table.CAST, Table.HOST, Table.COPY}
    assert {number: str(group) for number, group in groups_of(hiding).items()} == {0x766E6577: "select, to table 6"}


def test_where_tags_hide_no_flow_names_a_group_twice() -> None:
    """Open vSwitch 3.1 dies when a group is deleted that one flow names twice."""
    tunnel = GuestWire("vnet1", M, Vlan(VlanMode.DOT1Q_TUNNEL, 100, customers=(10,), tpid=0x8100), Guard.MAC)
    flows = network_flows(NetworkWiring((tunnel,), hidden_tags=True), ["vnet1"])
    assert sum("group:" in flow.actions for flow in flows) == 3
    assert all(flow.actions.count("group:") <= 1 for flow in flows)
    assert Flow(Table.VLAN, 120, "reg4=0x10000/0x10000,in_port=<vnet1>", "set_field:0x13->reg2,goto_table:60", Cookie.REFUSE) in flows


def test_a_strict_trunk_is_asked_what_stands_behind_its_tags_in_both_directions() -> None:
    plain, strict = (guest_lines(GuestWire("vnet1", M, Vlan(VlanMode.TRUNK, None, (10,)), guard)) for guard in (Guard.MAC, Guard.STRICT))
    found = changed(plain, strict)
    assert "+table=12, priority=100,in_port=vnet1,dl_vlan=10 actions=set_field:0x22->reg3,goto_table:20  # vlan" in found
    to_guest = f"reg1=vnet1,dl_vlan=10,dl_dst={M} actions=load:0x1->NXM_NX_REG3[6],goto_table:43"
    assert f"+table=42, priority=100,{to_guest}  # deliver" in found
    assert "+table=52, priority=110,reg3=0x10/0x10,dl_vlan=10 actions=resubmit(,55)  # flood" in found
    assert "+table=55, priority=110,reg3=0x10/0x10,dl_vlan=10 actions=output:vnet1  # flood" in found


def test_limits_and_marks_are_met_one_after_the_other() -> None:
    """A flow can name one meter only. A copy of a frame for many asks shared limits by itself, and its sender gets none."""
    pools = (Pool("lan/web", 7, Meter(1000, 256), Meter(2000, 256)), Pool("lan", 9, Meter(3000, 256), Meter(4000, 256)))
    plain = GuestWire("vnet1", M, UNTAGGED, Guard.MAC)
    marked = replace(plain, packets=Meter(100, 100, "pktps"), dscp=46, pools=("lan/web", "lan"))
    shared = [1 << 20 | 2 * number + way for number in (7, 9) for way in (0, 1)]
    copy = "clone(set_field:vnet1->reg1,check_pkt_larger(65535)->NXM_NX_REG0[0],resubmit(,46))"
    assert (
        changed(guest_lines(plain), added(NetworkWiring((marked,), pools=pools), "vnet1"))
        == f"""\
-table=55, priority=100,vlan_tci=0x0000/0x1fff actions=output:vnet1  # flood
+table=14, priority=50,in_port=vnet1 actions=goto_table:15  # vlan
+table=15, priority=100,in_port=vnet1 actions=meter:vnet1-packets,goto_table:16  # limit
+table=16, priority=100,in_port=vnet1 actions=meter:{shared[1]},goto_table:17  # limit
+table=17, priority=100,in_port=vnet1 actions=meter:{shared[3]},goto_table:18  # limit
+table=18, priority=100,ip,in_port=vnet1 actions=set_field:46->ip_dscp,goto_table:25  # limit
+table=18, priority=100,ipv6,in_port=vnet1 actions=set_field:46->ip_dscp,goto_table:25  # limit
+table=18, priority=90,in_port=vnet1 actions=goto_table:25  # limit
+table=46, priority=110,reg1=vnet1,in_port=vnet1 actions=drop  # flood
+table=46, priority=100,reg1=vnet1 actions=meter:{shared[0]},goto_table:47  # limit
+table=47, priority=100,reg1=vnet1 actions=meter:{shared[2]},goto_table:48  # limit
+table=55, priority=100,vlan_tci=0x0000/0x1fff actions={copy}  # flood"""
    )


def test_the_meters_of_a_bridge_are_its_ports_and_those_that_they_share() -> None:
    pools = (Pool("lan/web", 7, None, Meter(2000, 256)), Pool("lan", 9, Meter(3000, 256)))
    guest = GuestWire("vnet1", M, UNTAGGED, Guard.MAC, Meter(8, 256), packets=Meter(5, 5, "pktps"))
    wiring = NetworkWiring((guest, replace(guest, port="vnet2")), pools=pools)
    assert meters_of(wiring, {"vnet1": 3}) == {
        12: Meter(8, 256), 15: Meter(5, 5, "pktps"), (1 << 20) + 15: Meter(2000, 256), (1 << 20) + 18: Meter(3000, 256),
    }  # fmt: skip
    assert meters_of(None, {"vnet1": 3}) == {}


def test_marks_mean_nothing_behind_a_joint_and_the_host_is_not_for_those_who_are_there() -> None:
    for isolating in (False, True):
        lines = added(NetworkWiring(joints=("pat-a",), isolating=isolating), "pat-a").splitlines()
        classify = [line for line in lines if line.startswith("priority=") and "in_port=pat-a" in line]
        assert len(classify) == 2
        assert all("set_field:0->pkt_mark" in line for line in classify)
        assert not [line for line in lines if line.startswith("table=54") or "LOCAL" in line.partition("actions=")[2]]
        handed_on = [line for line in lines if line.startswith(("table=42", "table=52")) and "pat-a" in line]
        assert len(handed_on) == 2
        assert all(("set_field:0->pkt_mark" in line) is isolating for line in handed_on)


def test_uplinks_and_patches_are_learned_from_and_flooded_to_and_the_host_talks_with_uplinks() -> None:
    assert (
        added(NetworkWiring(uplinks=("eth1",), patches=("tun-blue",)), "eth1", "tun-blue")
        == f"""\
priority=110,in_port=LOCAL,dl_vlan=0 actions=pop_vlan,goto_table:40  # classify
priority=110,in_port=eth1,dl_vlan=0 actions=pop_vlan,goto_table:40  # classify
priority=110,in_port=tun-blue,dl_vlan=0 actions=pop_vlan,goto_table:40  # classify
priority=100,in_port=LOCAL actions=goto_table:40  # classify
priority=100,in_port=eth1 actions=goto_table:40  # classify
priority=100,in_port=tun-blue actions=goto_table:40  # classify
table=40, priority=100,in_port=LOCAL actions={LEARN},output:eth1  # learn
table=40, priority=100,in_port=eth1 actions={LEARN},resubmit(,41),goto_table:42  # learn
table=40, priority=100,in_port=tun-blue actions={LEARN},resubmit(,41),goto_table:42  # learn
table=42, priority=110,reg1=0xfffe,in_port=eth1 actions=goto_table:54  # deliver
table=42, priority=100,reg1=eth1 actions=goto_table:48  # deliver
table=42, priority=100,reg1=tun-blue actions=move:NXM_OF_IN_PORT[]->NXM_NX_PKT_MARK[16..31],goto_table:48  # deliver
table=42, priority=100,reg1=0xfffe actions=set_field:0x53->reg2,goto_table:60  # refuse
table=52, priority=0 actions=resubmit(,54),output:eth1,clone(move:NXM_OF_IN_PORT[]->NXM_NX_PKT_MARK[16..31],output:tun-blue)  # flood
table=54, priority=100,in_port=eth1 actions=LOCAL  # host"""
    )


def test_a_host_that_nobody_may_reach_and_that_has_no_uplink_is_silent() -> None:
    assert "priority=100,in_port=LOCAL actions=drop  # host" in dump(
        flow for flow in network_flows(NetworkWiring(), ()) if flow.cookie is Cookie.HOST
    )


def test_a_host_that_may_be_reached_takes_nothing_that_could_enter_its_tunnels() -> None:
    lines = [line for line in added(NetworkWiring(host=True)).splitlines() if line.startswith("table=54")]
    refused = {line.partition("priority=50,")[2].partition(" ")[0] for line in lines if line.endswith("# refuse")}
    ports = (3784, 4784, 4789, 6081)
    assert refused == {
        "",
        "reg3=0x80/0x80",
        "udp,nw_frag=not_later,tp_dst=0",
        "udp6,nw_frag=not_later,tp_dst=0",
        "icmp6,nw_frag=not_later,icmp_type=0",
        *(f"{kind},tp_dst={port}" for kind in ("udp", "udp6") for port in ports),
    }
    assert "table=54, priority=0 actions=set_field:0x53->reg2,goto_table:60  # refuse" in lines
    heard = {line.partition("priority=10,")[2].partition(" ")[0] for line in lines if line.endswith("LOCAL  # host")}
    assert "" not in heard, "what is not named is refused"
    assert not {match for match in heard if match.startswith(("ipv6", "icmp6", "tcp6", "udp6")) and not match.endswith(",nw_frag=no")}
    assert not {match for match in heard if "47" in match}


def test_a_mark_of_the_kernels_is_taken_off_where_marks_mean_something() -> None:
    plain, isolating = (added(NetworkWiring(uplinks=("eth1",), isolating=isolating), "eth1") for isolating in (False, True))
    assert "pkt_mark" not in plain
    assert all("set_field:0->pkt_mark," in line for line in isolating.splitlines() if line.startswith("priority="))


def test_a_port_that_the_switch_has_not_made_has_no_flows() -> None:
    assert network_flows(NetworkWiring((WEB,), (), ("tun-blue",)), ()) == network_flows(NetworkWiring(), ())
    assert not [flow for flow in network_flows(NetworkWiring((WEB,), ("eth1",)), ()) if "<" in str(flow)]


# A flow and its line.


def test_a_flow_renders_with_numbers_as_the_switch_prints_it_and_with_names_to_read() -> None:
    flow = Flow(Table.GUARD, 100, f"in_port=<vnet1>,dl_src={M}", "meter:<vnet1:flood>,goto_table:11", Cookie.GUARD)
    head = "cookie=0x766e657400000010, table=10, priority=100"
    assert flow.line({"vnet1": 7}) == f"{head},in_port=7,dl_src={M} actions=meter:29,goto_table:11"
    assert flow.text() == f"{head},in_port=vnet1,dl_src={M} actions=meter:vnet1-flood,goto_table:11"
    assert by_lines([flow], {"vnet1": 7}) == {flow.line({"vnet1": 7}): flow}


def test_a_port_in_a_register_renders_in_hexadecimal() -> None:
    flow = Flow(Table.STATION, 1, f"dl_dst={M}", "set_field:<vnet1:hex>->reg1,resubmit(,42)", Cookie.DELIVER)
    assert flow.line({"vnet1": 26}).endswith(" actions=set_field:0x1a->reg1,resubmit(,42)")


def test_a_flow_of_a_port_without_number_renders_to_nothing() -> None:
    for match, actions in (("in_port=<vnet1>", "drop"), ("reg1=<vnet1:hex>", "drop"), ("", "meter:<vnet1:flood>,drop")):
        with pytest.raises(KeyError):
            Flow(Table.CLASSIFY, 1, match, actions, Cookie.CLASSIFY).line({})


@pytest.mark.parametrize(
    ("line", "ports"),
    [
        ("priority=1,in_port=7 actions=output:8,output:9", {7, 8, 9}),
        ("priority=1,reg1=0x1a,dl_vlan=1 actions=pop_vlan,goto_table:44", {26}),
        ("priority=1,ip,reg1=0x1a,nw_dst=10.0.0.1 actions=goto_table:44", {26}),
        ("table=62, priority=1,reg1=0x1a/0xffff,reg2=0x11/0xff actions=drop", {26}),
        ("table=41, priority=10,vlan_tci=0x000a/0x0fff,dl_dst=52:54:00:00:00:01 actions=load:0x1a->NXM_NX_REG1[0..15]", {26}),
        ("table=41, priority=10,vlan_tci=0x000a/0x0fff,dl_dst=52:54:00:00:00:01 actions=load:0xfffe->NXM_NX_REG1[0..15]", set()),
        ("table=53, priority=1,dl_vlan=1 actions=set_field:0x1a->reg1,resubmit(,42)", {26}),
        ("priority=1 actions=set_field:0x1a->reg2,load:0x1->NXM_NX_REG3[0]", set()),
        ("table=42, priority=100,reg1=0xfffe actions=goto_table:54", set()),
    ],
)
def test_the_ports_that_a_dumped_flow_names(line: str, ports: set[int]) -> None:
    assert referenced_ports(line) == ports


def test_cookies_tell_vnetds_flows_and_never_change() -> None:
    """Another number for a kind would make every host replace its flows on an update."""
    assert {cookie.name: int(cookie) & 0xFFFFFFFF for cookie in Cookie} == {
        "CLASSIFY": 0x01, "GUARD": 0x10, "VLAN": 0x14, "SOURCE": 0x15, "VERDICT": 0x16, "LIMIT": 0x17, "LEARN": 0x21, "DELIVER": 0x22,
        "TOWARD": 0x23, "HOST": 0x24, "REFUSE": 0x25, "ANSWER": 0x26, "SEGMENT": 0x30, "UNICAST": 0x31, "LEARNED": 0x32, "FLOOD": 0x33,
        "LEARNED_GUEST": 0x34, "LEARNED_UNGUARDED": 0x35, "BOND": 0x36,
    }  # fmt: skip
    assert {reason.name: int(reason) for reason in Reason} == {
        "UNWIRED": 0x02, "FOREIGN_MAC": 0x11, "FOREIGN_VLAN": 0x12, "NESTED_TAG": 0x13, "UNKNOWN_TYPE": 0x40, "RESERVED": 0x41,
        "MALFORMED_ARP": 0x42, "FOREIGN_ARP": 0x43, "FOREIGN_IPV4": 0x44, "FOREIGN_IPV6": 0x45, "UNADDRESSED": 0x46, "MALFORMED_IP": 0x47,
        "DHCP_SERVER": 0x48, "DHCPV6_SERVER": 0x49, "ROUTER_ADVERTISEMENT": 0x4A, "REDIRECT": 0x4B, "MLD_QUERY": 0x4C, "DISCOVERY": 0x4D,
        "ICMPV6_TYPE": 0x4F, "MISCAST": 0x50, "ISOLATED": 0x51, "NOT_ADDRESSED": 0x52, "HOST": 0x53,
        "TOO_LARGE": 0x54, "WATCH": 0x55, "DEAD_PEER": 0x56, "AMBIGUOUS": 0x57, "IPV6_FRAGMENT": 0x58,
        "FLOOD_LIMIT": 0x60, "NEIGHBOUR_LIMIT": 0x61, "BANDWIDTH": 0x62, "PACKETS": 0x63,
    }  # fmt: skip
    every = [*Cookie, *(cookie for reason in Reason for cookie in (reason.direct, reason.counted, reason.total))]
    assert len(set(every)) == len(every)
    assert all(is_ours(f"cookie=0x{cookie:x}, priority=0 actions=drop") for cookie in every)
    assert set(REASONS) == set(Reason)


def test_what_the_switch_makes_itself_is_known_by_its_cookie() -> None:
    learned = [cookie for cookie in Cookie if is_learned(f"cookie=0x{cookie:x}, table=41, priority=1 actions=drop")]
    assert learned == [Cookie.LEARNED, Cookie.LEARNED_GUEST, Cookie.LEARNED_UNGUARDED]
    for reason in Reason:
        made = [is_learned(f"cookie=0x{cookie:x}, priority=1 actions=drop") for cookie in (reason.direct, reason.counted, reason.total)]
        assert made == [False, True, False]


@pytest.mark.parametrize("line", ["priority=0 actions=drop", "cookie=0x766e6574, actions=drop", "cookie=0x766e6574000000001, actions=drop"])
def test_other_cookies_are_not_vnetds(line: str) -> None:
    assert not is_ours(line)


# What holds of every wiring.


patches = st.sampled_from(["to-a", "to-b", "to-c"])
tunnels = st.sampled_from([(), ("t1",), ("t1", "t2")])
meshes = st.lists(
    st.builds(SegmentWire, patches, st.integers(0, 2**31 - 1), tunnels, st.none() | st.integers(2**31, 2**32 - 1)),
    max_size=3,
    unique_by=(lambda wire: wire.patch, lambda wire: wire.segment, lambda wire: wire.isolated or -wire.segment - 1),
)
EVERY_PORT = {"eth1", "eth2", "tun-a", "to-a", "to-b", "to-c", "t1", "t2", *(f"vnet{number}" for number in range(6))}


def _all_flows(wiring: NetworkWiring, mesh: list[SegmentWire]) -> list[list[Flow]]:
    return [network_flows(wiring, EVERY_PORT), tunnel_flows(mesh, EVERY_PORT)]


@given(wirings(), meshes)
def test_a_frame_only_ever_goes_forward(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    """Only STATION and REPLY look back, to DELIVER with a port that DELIVER knows, or to LIMIT, from where no way leads to REPLY.

    And copies do, to limits that lead only out of a port; and ANSWER, to LOOKUP, which only says what it knows.
    """
    backward = {(Table.STATION, Table.DELIVER), (Table.FLOOD, Table.TO_POOL), (Table.COPY, Table.TO_POOL)}
    backward |= {(Table.REPLY, Table.DELIVER), (Table.REPLY, Table.LIMIT), (Table.ANSWER, Table.LOOKUP)}
    for flow in itertools.chain(*_all_flows(wiring, mesh)):
        assert all(int(table) > flow.table for table in _GOTO.findall(flow.actions))
        assert {(flow.table, int(table)) for table in _NEXT.findall(flow.actions) if int(table) <= flow.table} <= backward


@given(wirings(), meshes)
def test_every_table_that_frames_go_to_says_what_becomes_of_one_that_nothing_matches(
    wiring: NetworkWiring, mesh: list[SegmentWire]
) -> None:
    """What a table is only asked, by resubmit, it may leave unanswered; DROP knows every reason."""
    for flows in _all_flows(wiring, mesh):
        reached = {0} | {int(table) for flow in flows for table in _GOTO.findall(flow.actions)}
        ends = {int(flow.table) for flow in flows if flow.priority == 0 and not flow.match}
        assert reached - ends <= {Table.DROP, Table.HOST}
        given_reasons = {match for flow in flows for match in re.findall(r"set_field:(0x\w+)->reg2", flow.actions)}
        assert given_reasons <= {flow.match.removeprefix("reg2=") for flow in flows if flow.table == Table.DROP}


@given(wirings(), meshes)
def test_no_two_flows_have_the_same_match(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    for flows in _all_flows(wiring, mesh):
        keys = [(flow.table, flow.priority, flow.match) for flow in flows]
        assert len(set(keys)) == len(keys)


@given(wirings(), meshes)
def test_nothing_is_left_to_the_switchs_own_learning(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    """NORMAL floods to every port of a VLAN, and cannot say which guest may hear what."""
    for flow in itertools.chain(*_all_flows(wiring, mesh)):
        assert not re.search(r"NORMAL|FLOOD|ALL|CONTROLLER", flow.actions)


@given(wirings(), meshes)
def test_who_looks_at_neighbour_discovery_looks_at_its_code(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    """The kernel is told of a target or an option only along with an exact type and code (odp-util.c): else any other would do."""
    for flow in itertools.chain(*_all_flows(wiring, mesh)):
        if re.search(r"nd_(target|sll|tll)|NXM_NX_ND_", f"{flow.match} {flow.actions}"):
            assert re.search(r"icmp_type=13[56],icmp_code=0\b", flow.match), flow


@given(wirings(), meshes)
def test_a_drop_is_counted_under_its_reason(wiring: NetworkWiring, mesh: list[SegmentWire]) -> None:
    """Those that are not are no refusals: a list of hearers that is empty, a group's address as sender, the host that has no part."""
    silent = {Cookie.FLOOD, Cookie.LEARN, Cookie.HOST}
    for flow in itertools.chain(*_all_flows(wiring, mesh)):
        assert (flow.actions == "drop") == (reason_of(flow.cookie, "direct") is not None) or flow.cookie in silent
        assert ("->reg2" in flow.actions) == (flow.cookie is Cookie.REFUSE and flow.table != Table.REFUSE)


@given(meshes)
def test_what_comes_from_a_tunnel_goes_to_no_tunnel(mesh: list[SegmentWire]) -> None:
    flows = tunnel_flows(mesh, EVERY_PORT)
    for tunnel in ("t1", "t2"):
        reached = _reachable(flows, tunnel)
        outputs = {port for flow in reached for port in _OUTPUT.findall(_LEARN.sub("", flow.actions))}
        assert outputs <= {segment.patch for segment in mesh}
        assert not any("output:OXM" in _LEARN.sub("", flow.actions) or "IN_PORT" in flow.match for flow in reached)
        # A learned flow stands in UNICAST, so that table must be out of reach as well.
        assert not [flow for flow in reached if flow.table == TunnelTable.UNICAST]


@given(meshes)
def test_what_comes_from_a_tunnel_reaches_the_network_of_its_segment_only(mesh: list[SegmentWire]) -> None:
    for flow in tunnel_flows(mesh, EVERY_PORT):
        if flow.table == TunnelTable.SEGMENT and flow.match:
            mine = [(one, key) for one in mesh for key in (one.segment, one.isolated) if f"tun_id={number(key or 0)}," in flow.match]
            ((segment, key),) = [(one, key) for one, key in mine if key is not None]
            assert _OUTPUT.findall(_LEARN.sub("", flow.actions)) == [segment.patch]
            assert ("set_field:0x1->pkt_mark" in flow.actions) == (key == segment.isolated)


@given(meshes)
def test_a_network_reaches_its_own_peers_only(mesh: list[SegmentWire]) -> None:
    flows = tunnel_flows(mesh, EVERY_PORT)
    for segment in mesh:
        outputs = {port for flow in _reachable(flows, segment.patch) for port in _OUTPUT.findall(flow.actions)}
        assert outputs == set(segment.tunnels)


@given(wirings())
def test_a_guarded_guest_sends_nothing_but_from_its_own_mac(wiring: NetworkWiring) -> None:
    flows = network_flows(wiring, EVERY_PORT)
    for guest in wiring.guests:
        if guest.guard is Guard.NONE:
            continue
        own = [flow for flow in flows if f"in_port=<{guest.port}>" in flow.match]
        first = [flow for flow in own if flow.table == Table.CLASSIFY and flow.actions != "drop"]
        guards = [flow for flow in own if flow.table == Table.GUARD]
        assert all(flow.match == f"in_port=<{guest.port}>,dl_src={guest.mac}" for flow in guards)
        assert all(_NEXT.findall(flow.actions) == [str(int(Table.PRIORITY))] for flow in first)
        assert bool(guards) == bool(first) == (guest.mac is not None)


@given(wirings())
def test_a_port_that_nothing_wires_passes_nothing(wiring: NetworkWiring) -> None:
    reached = _reachable(network_flows(wiring, EVERY_PORT), "a-port-by-hand")
    assert {flow.table for flow in reached} == {Table.CLASSIFY, Table.REFUSE, Table.DROP}
    assert not [flow for flow in reached if "output" in flow.actions or "LOCAL" in flow.actions]


@given(wirings())
def test_every_limited_guest_passes_its_meters(wiring: NetworkWiring) -> None:
    flows = network_flows(wiring, EVERY_PORT)
    for guest in wiring.guests:
        places = ((MeterKind.BANDWIDTH, guest.meter, Table.VLAN), (MeterKind.FLOOD, guest.flood, Table.LIMIT))
        for kind, meter, table in (*places, (MeterKind.NEIGHBOUR, guest.neighbour, Table.NEIGHBOUR)):
            mine = [flow for flow in flows if flow.table == table and f"in_port=<{guest.port}>" in flow.match]
            own = [flow for flow in mine if flow.cookie != Cookie.REFUSE]
            named = [flow.actions.startswith(f"meter:<{guest.port}:{kind.name.lower()}>,") for flow in own]
            assert all(named) if meter else not any(named)
            assert named or meter is None or (guest.mac is None and guest.guard is not Guard.NONE)


def _reachable(flows: list[Flow], port: str) -> list[Flow]:
    """Every flow that some frame from ``port`` can meet, whatever the frame is."""
    tables, found = {0}, []
    for table in sorted({flow.table for flow in flows}):
        for flow in flows:
            ports = _IN_PORT.findall(flow.match)
            if flow.table == table and table in tables and ports in ([], [port]):
                # In table 0 a flow for the port itself stands before the one for all others.
                if table == 0 and not ports and any(_IN_PORT.findall(one.match) == [port] for one in flows if one.table == 0):
                    continue
                found.append(flow)
                tables |= {int(number) for number in _NEXT.findall(flow.actions)}
    return found
