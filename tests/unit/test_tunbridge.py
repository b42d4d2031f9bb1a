"""The tunnel bridge: what its flows are, and where frames go by them."""

from __future__ import annotations

import re

import pytest
from dumps import changed, dump
from switch import Journey, Switch

from vnetd.model.state import SegmentWire, TunnelWire
from vnetd.pipeline import Reason, by_lines, tunnel_flows
from vnetd.pipeline.tunbridge import learn_limit

LEARN = (
    "learn(table=30,hard_timeout=300,priority=5,cookie=0x766e6574....0032,limit=8192,in_port=to-blue,"
    "NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15])"
)
SENDER = "move:NXM_NX_PKT_MARK[16..31]->NXM_NX_REG5[0..15],set_field:0->pkt_mark"
AB = SegmentWire("to-blue", 100, ("gre-a", "gre-b"))
AB_LIVE = {"to-blue", "gre-a", "gre-b"}


def test_a_segment_floods_to_its_peers_and_learns_from_them() -> None:
    """What comes from a tunnel is handed to the patch and to nothing else."""
    bare = dump(tunnel_flows([], ()))
    assert (
        changed(bare, dump(tunnel_flows([AB], AB_LIVE)))
        == f"""\
+priority=100,in_port=gre-a actions=set_field:0->pkt_mark,goto_table:20  # classify
+priority=100,in_port=gre-b actions=set_field:0->pkt_mark,goto_table:20  # classify
+priority=100,in_port=to-blue actions={SENDER},set_field:0x64->tun_id,resubmit(,30),goto_table:35  # classify
+table=20, priority=100,tun_id=0x64,in_port=gre-a actions={LEARN},output:to-blue  # segment
+table=20, priority=100,tun_id=0x64,in_port=gre-b actions={LEARN},output:to-blue  # segment
+table=35, priority=100,reg1=gre-a,in_port=to-blue actions=output:gre-a  # unicast
+table=35, priority=100,reg1=gre-b,in_port=to-blue actions=output:gre-b  # unicast
+table=40, priority=100,in_port=to-blue actions=output:gre-a,output:gre-b  # flood"""
    )


def test_a_dead_peer_is_sent_nothing_and_nothing_is_taken_from_it() -> None:
    both, one = (dump(tunnel_flows([AB], AB_LIVE, {"gre-a": TunnelWire(alive)})) for alive in (True, False))
    assert (
        changed(both, one)
        == f"""\
-priority=100,in_port=gre-a actions=set_field:0->pkt_mark,goto_table:20  # classify
-table=20, priority=100,tun_id=0x64,in_port=gre-a actions={LEARN},output:to-blue  # segment
-table=35, priority=100,reg1=gre-a,in_port=to-blue actions=output:gre-a  # unicast
-table=40, priority=100,in_port=to-blue actions=output:gre-a,output:gre-b  # flood
+priority=110,udp,tun_id=0,in_port=gre-a,tp_dst=3784 actions=drop  # flood
+priority=100,in_port=gre-a actions=drop  # dead_peer
+table=40, priority=100,in_port=to-blue actions=output:gre-b  # flood"""
    )


# What fits, by frames.

TUNNEL_PORTS = {"to-blue": 1, "gre-a": 2, "gre-b": 3}


def tunnel_switch(**wires: TunnelWire) -> Switch:
    """The tunnel bridge of AB; something behind each of its tunnels has been heard."""
    named = {name.replace("_", "-"): wire for name, wire in wires.items()}
    switch = Switch(by_lines(tunnel_flows([AB], TUNNEL_PORTS, named), TUNNEL_PORTS))
    for port in (2, 3):
        switch.send({"in_port": port, "tun_id": 100, "dl_src": port, "dl_dst": 0xFFFF_FFFF_FFFF, "vlan_tci": 0})
    return switch


def ways(journey: Journey) -> list[int]:
    return [port for port, _ in journey.outputs]


@pytest.mark.parametrize(
    ("length", "to", "goes", "refused"),
    [
        (1400, 2, [2], 0),
        (1401, 2, [], 1),
        (1401, 3, [3], 0),
        (1501, 3, [], 1),
        (1400, 0xFFFF_FFFF_FFFF, [2, 3], 0),
        (1401, 0xFFFF_FFFF_FFFF, [], 1),
        (1501, 0xFFFF_FFFF_FFFF, [], 1),
    ],
)
def test_a_frame_goes_where_it_fits_and_is_counted_for_its_sender_where_it_does_not(
    length: int, to: int, goes: list[int], refused: int
) -> None:
    switch = tunnel_switch(gre_a=TunnelWire(room=1400), gre_b=TunnelWire(room=1500))
    frame = {"in_port": 1, "dl_src": 9, "dl_dst": to, "pkt_mark": 0x70000, "length": length, "vlan_tci": 0}
    journey = switch.send(frame)
    assert ways(journey) == goes
    counted = [line for line in journey.learned if "table=62" in line]
    assert bool(counted) == bool(refused)
    for line in counted:
        assert "priority=1,in_port=0x1,reg5=0x7/0xffff,reg2=0x54/0xff actions=drop" in line
        assert {rule.cookie for rule in switch.send(frame).rules if rule.table == 62} == {Reason.TOO_LARGE.counted}


@pytest.mark.parametrize("wire", [SegmentWire("to-blue", 0, ("gre-a",)), SegmentWire("to-blue", 0x8000_0000, ("gre-a",), 0)])
def test_nobody_can_pass_for_a_peers_watch(wire: SegmentWire) -> None:
    """What has the key 0 is taken for BFD whatever address it is for; in other segments it is a guest's own affair."""
    watch = {
        "in_port": 1,
        "dl_dst": 0x5254_0000_0009,
        "dl_type": 0x0800,
        "nw_proto": 17,
        "tp_dst": 3784,
        "pkt_mark": 0x30000,
        "vlan_tci": 0,
    }
    switch = Switch(by_lines(tunnel_flows([wire], TUNNEL_PORTS), TUNNEL_PORTS))
    journey = switch.send(watch)
    assert ways(journey) == []
    assert any(f"cookie=0x{Reason.WATCH.counted:x}" in line and "reg5=0x3/" in line for line in journey.learned)
    assert ways(switch.send({**watch, "tp_dst": 3785})) == [2]
    assert ways(tunnel_switch().send(watch)) == [2, 3]


def test_segment_0_is_written_as_the_switch_writes_it() -> None:
    """Otherwise every pass would write these flows again."""
    lines = dump(tunnel_flows([SegmentWire("to-blue", 0, ("gre-a",))], {"to-blue", "gre-a"}))
    assert "tun_id=0,in_port=gre-a" in lines
    assert "set_field:0->tun_id" in lines
    assert not re.search(r"0x0\b", lines)


def test_frames_of_isolated_ports_travel_in_a_segment_of_their_own_and_without_the_mark() -> None:
    live = {"to-blue", "gre-a"}
    plain, isolating = (dump(tunnel_flows([SegmentWire("to-blue", 100, ("gre-a",), isolated)], live)) for isolated in (None, 101))
    assert (
        changed(plain, isolating)
        == f"""\
+priority=110,pkt_mark=0x1/0x1,in_port=to-blue actions={SENDER},set_field:0x65->tun_id,resubmit(,30),goto_table:35  # classify
+table=20, priority=100,tun_id=0x65,in_port=gre-a actions={LEARN},set_field:0x1->pkt_mark,output:to-blue  # segment"""
    )


def test_a_segment_without_tunnels_is_silent() -> None:
    lines = dump(tunnel_flows([SegmentWire("to-blue", 100, ())], {"to-blue"}))
    assert not re.search(r"output:(?!NXM)", lines)
    assert f"priority=100,in_port=to-blue actions={SENDER},set_field:0x64->tun_id,resubmit(,30),goto_table:35  # classify" in lines


def test_a_segment_whose_patch_is_not_there_opens_no_tunnel() -> None:
    assert tunnel_flows([SegmentWire("to-blue", 100, ("gre-a",))], {"gre-a"}) == tunnel_flows([], ())


def test_a_tunnel_that_is_not_there_is_left_out_of_the_flood() -> None:
    assert "in_port=to-blue actions=output:gre-b " in dump(
        tunnel_flows([SegmentWire("to-blue", 100, ("gre-a", "gre-b"))], {"to-blue", "gre-b"})
    )


@pytest.mark.parametrize(("length", "fits"), [(1200, True), (1201, False), (1450, False)])
def test_a_broadcast_goes_to_all_living_peers_or_is_counted_once(length: int, fits: bool) -> None:
    segment = SegmentWire("to-blue", 100, ("gre-a", "gre-b", "gre-c", "gre-d"))
    numbers = {"to-blue": 1, "gre-a": 2, "gre-b": 3, "gre-c": 4, "gre-d": 5}
    wires = {"gre-a": TunnelWire(room=1200), "gre-b": TunnelWire(room=1300), "gre-d": TunnelWire(alive=False, room=600)}
    switch = Switch(by_lines(tunnel_flows([segment], numbers, wires), numbers))
    journey = switch.send({"in_port": 1, "dl_dst": 0xFFFF_FFFF_FFFF, "pkt_mark": 0x70000, "length": length, "vlan_tci": 0})
    assert ways(journey) == ([2, 3, 4] if fits else [])
    assert len([line for line in journey.learned if "table=62" in line]) == (not fits)


@pytest.mark.parametrize(("tci", "length", "fits"), [(0, 1400, True), (0, 1401, False), (0x100A, 1396, True), (0x100A, 1397, False)])
@pytest.mark.parametrize("to", [2, 0xFFFF_FFFF_FFFF])
def test_a_tag_that_the_kernel_keeps_beside_the_frame_is_counted_all_the_same(to: int, tci: int, length: int, fits: bool) -> None:
    """``length`` is what the kernel's data plane compares: on the wire a tagged frame has four bytes more."""
    wires = {"gre-a": TunnelWire(room=1400), "gre-b": TunnelWire(room=1400)}
    switch = Switch(by_lines(tunnel_flows([AB], TUNNEL_PORTS, wires, tags_apart=True), TUNNEL_PORTS))
    switch.send({"in_port": 2, "tun_id": 100, "dl_src": 2, "dl_dst": 9, "vlan_tci": tci})
    assert bool(ways(switch.send({"in_port": 1, "dl_src": 9, "dl_dst": to, "length": length, "vlan_tci": tci}))) == fits


@pytest.mark.parametrize(("networks", "limit"), [(0, 8192), (1, 8192), (4, 8192), (5, 4096), (8, 4096), (9, 2048), (128, 256), (4000, 256)])
def test_many_networks_learn_less_each(networks: int, limit: int) -> None:
    assert learn_limit(networks) == limit


def test_as_many_are_counted_as_have_a_patch() -> None:
    segments = [SegmentWire(f"to-{number}", 100 + number, ("gre-a",)) for number in range(9)]
    live = {"gre-a", *(segment.patch for segment in segments[:5])}
    learning = [flow.actions for flow in tunnel_flows(segments, live) if "learn(table=30" in flow.actions]
    assert len(learning) == 5
    assert all("limit=4096," in actions for actions in learning)


def test_where_tags_hide_what_is_too_large_drops_without_being_counted() -> None:
    """Both answers about its size would count: parsed again once, a frame is not parsed again here."""
    wires = {"gre-a": TunnelWire(room=1472)}
    segments, live = [SegmentWire("to-blue", 100, ("gre-a",))], {"to-blue", "gre-a"}
    plain, hiding = (dump(tunnel_flows(segments, live, wires, hidden_tags=hidden)) for hidden in (False, True))
    found = changed(plain, hiding).splitlines()
    assert sorted(line for line in found if line.startswith("+")) == [
        "+table=36, priority=100,reg0=0x1/0x1 actions=drop  # refuse",
        "+table=41, priority=110,reg0=0x1/0x1 actions=drop  # refuse",
    ]


def test_what_the_kernel_may_read_as_bfd_does_not_leave_with_segment_0() -> None:
    lines = dump(tunnel_flows([SegmentWire("to-blue", 0, ("gre-a",))], {"to-blue", "gre-a"})).splitlines()
    refused = {line.partition(" actions=")[0] for line in lines if "set_field:0x55->reg2" in line}
    assert refused == {
        "priority=200,udp,in_port=to-blue,tp_dst=3784",
        "priority=200,udp,in_port=to-blue,nw_frag=not_later,tp_dst=0",
        "priority=200,ip,in_port=to-blue,nw_proto=0",
        "priority=200,in_port=to-blue,dl_type=0x05ff",
    }
    other = dump(tunnel_flows([SegmentWire("to-blue", 7, ("gre-a",))], {"to-blue", "gre-a"}))
    assert "set_field:0x55->reg2" not in other
