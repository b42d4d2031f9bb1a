"""The pipeline of the tunnel bridge, which joins every overlay of this host to its peers.

Strategy: whether a frame fits through a tunnel is asked where the tunnel is known, with
``check_pkt_larger``. Open vSwitch works both answers out for every frame and counts them
alike, so what is too large goes through the data plane once more, and is counted there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from vnetd.model.state import Group, GroupKind, SegmentWire, TunnelWire
from vnetd.pipeline.catalogue import ANEW, Cookie, Reason, TunnelTable
from vnetd.pipeline.flow import PORT_HEX, Flow, larger_than, number
from vnetd.pipeline.ingress import MULTICAST, TAGGED_MATCH

LEARN_SECONDS = 300
"""How long a MAC address is believed to be behind a tunnel: the ageing time of IEEE 802.1D, table 7-5."""

LEARN_MOST, LEARN_LEAST, LEARN_TOGETHER = 8192, 256, 32768
"""Learned flows of a network, for all its peers; beyond it frames go to all of them that live, if they fit to each.

A host with many networks lets each learn less: whoever looks at the tunnel bridge reads what all have learned.
"""

BFD_PORT = "tp_dst=3784"
"""RFC 5881, 4."""

WATCH = (
    f"udp,in_port=<{{}}>,{BFD_PORT}",
    "udp,in_port=<{}>,nw_frag=not_later,tp_dst=0",
    "ip,in_port=<{}>,nw_proto=0",
    "in_port=<{}>,dl_type=0x05ff",
)
"""What Open vSwitch takes for its peer's BFD where the key is 0, to whatever address (lib/bfd.c): a guest could cut hosts off.

With it what the kernel may read as that, and ovs-vswitchd does not (docs/decisions/0026-read-in-two-ways.md).
"""

COUNTING = (Reason.TOO_LARGE, Reason.WATCH)
_TOO_LARGE = "reg0=0x1/0x1"
_TAG = 4


def tunnel_flows(
    segments: Iterable[SegmentWire],
    live: Collection[str],
    tunnels: Mapping[str, TunnelWire] | None = None,
    *,
    tags_apart: bool = False,
    hidden_tags: bool = False,
) -> list[Flow]:
    """All flows of the tunnel bridge whose ports are ``live``; ``tunnels`` tells how those are that are not as usual.

    ``tags_apart``: the data plane does not count a frame's tag when it is asked for its size, as the kernel's does not.
    ``hidden_tags``: tagged frames have been parsed again already (peeking.py).
    """
    wires = tunnels or {}
    flows = [*_shared_flows(), *_too_large_flows(hidden_tags)]
    entrances: set[str] = set()
    linked = [segment for segment in segments if segment.patch in live]
    limit = learn_limit(len(linked))
    for segment in linked:
        mine = [tunnel for tunnel in segment.tunnels if tunnel in live]
        rooms = {tunnel: wire.room for tunnel in mine if (wire := wires.get(tunnel, TunnelWire())).alive}
        entrances.update(mine)
        flows.extend(_patch_flows(segment))
        flows.extend(_exit_flows(segment, rooms, tags_apart))
        flows.extend(_flood_flows(segment, rooms, tags_apart))
        flows.extend(_arrival_flows(segment, rooms, limit))
    for tunnel in sorted(entrances):
        flows.extend(_entrance_flows(tunnel, wires.get(tunnel, TunnelWire()).alive))
    return flows


def _entrance_flows(tunnel: str, alive: bool) -> Iterator[Flow]:
    """What a peer that is held to be dead sends would be learned on networks' bridges, and the answers sent to all others."""
    if alive:
        actions = f"set_field:0->pkt_mark,goto_table:{TunnelTable.SEGMENT:d}"
        yield Flow(TunnelTable.CLASSIFY, 100, f"in_port=<{tunnel}>", actions, Cookie.CLASSIFY)
        return
    # Open vSwitch takes its BFD out by itself, and counts it for the flow all the same.
    yield Flow(TunnelTable.CLASSIFY, 110, f"udp,tun_id=0,in_port=<{tunnel}>,{BFD_PORT}", "drop", Cookie.FLOOD)
    yield Flow(TunnelTable.CLASSIFY, 100, f"in_port=<{tunnel}>", "drop", Reason.DEAD_PEER.direct)


def tunnel_groups() -> dict[int, Group]:
    """The group that the tunnel bridge's flows name, by its number."""
    return {ANEW: Group(GroupKind.SELECT, TunnelTable.DROP)}


def _shared_flows() -> Iterator[Flow]:
    yield Flow(TunnelTable.CLASSIFY, 0, "", "drop", Reason.UNWIRED.direct)
    yield Flow(TunnelTable.SEGMENT, 0, "", "drop", Reason.UNWIRED.direct)
    yield Flow(TunnelTable.UNICAST, 10, f"dl_dst={MULTICAST}", "drop", Cookie.FLOOD)
    yield Flow(TunnelTable.TUNNEL, 0, "", f"goto_table:{TunnelTable.FLOOD:d}", Cookie.UNICAST)
    yield Flow(TunnelTable.SIZED, 0, "", "output:NXM_NX_REG1[0..15]", Cookie.UNICAST)
    yield Flow(TunnelTable.FLOOD, 0, "", "drop", Cookie.FLOOD)
    yield Flow(TunnelTable.COPIES, 0, "", "drop", Cookie.FLOOD)
    yield Flow(TunnelTable.REFUSE, 0, "", f"group:{ANEW}", Cookie.REFUSE)
    count = f"NXM_OF_IN_PORT[],NXM_NX_REG5[0..15],NXM_NX_REG2[0..7]),resubmit(,{TunnelTable.COUNTED:d})"
    for reason in COUNTING:
        learn = f"learn(table={TunnelTable.COUNTED:d},priority=1,cookie=0x{reason.counted:x},{count}"
        yield Flow(TunnelTable.DROP, 100, f"reg2=0x{reason:x}", learn, reason.total)


def _too_large_flows(hidden_tags: bool) -> Iterator[Flow]:
    """A frame that has a hash is not parsed again to choose a bucket, and would be counted whatever its size: it drops uncounted."""
    actions = "drop" if hidden_tags else _refuse(Reason.TOO_LARGE)
    yield Flow(TunnelTable.SIZED, 100, _TOO_LARGE, actions, Cookie.REFUSE)
    yield Flow(TunnelTable.COPIES, 110, _TOO_LARGE, actions, Cookie.REFUSE)


def _refuse(reason: Reason) -> str:
    return f"set_field:0x{reason:x}->reg2,goto_table:{TunnelTable.REFUSE:d}"


def _patch_flows(segment: SegmentWire) -> Iterator[Flow]:
    """What comes from the network's bridge gets its segment and is looked up; the mark stays here, or it would steer the host's routes."""
    patch, sender = f"in_port=<{segment.patch}>", "move:NXM_NX_PKT_MARK[16..31]->NXM_NX_REG5[0..15],set_field:0->pkt_mark"
    look_up = f"resubmit(,{TunnelTable.UNICAST:d}),goto_table:{TunnelTable.TUNNEL:d}"
    actions = f"{sender},set_field:{number(segment.segment)}->tun_id,{look_up}"
    yield Flow(TunnelTable.CLASSIFY, 100, patch, actions, Cookie.CLASSIFY)
    if 0 in (segment.segment, segment.isolated):
        for match in WATCH:
            yield Flow(TunnelTable.CLASSIFY, 200, match.format(segment.patch), f"{sender},{_refuse(Reason.WATCH)}", Cookie.REFUSE)
    if segment.isolated is not None:
        actions = f"{sender},set_field:{number(segment.isolated)}->tun_id,{look_up}"
        yield Flow(TunnelTable.CLASSIFY, 110, f"pkt_mark=0x1/0x1,{patch}", actions, Cookie.CLASSIFY)


def _exit_flows(segment: SegmentWire, rooms: Mapping[str, int | None], tags_apart: bool) -> Iterator[Flow]:
    """Out of a tunnel whose peer is alive; nothing is learned to be behind another."""
    for tunnel, room in rooms.items():
        match = f"{PORT_HEX.format(tunnel)},in_port=<{segment.patch}>"
        if room is None:
            yield Flow(TunnelTable.TUNNEL, 100, match, f"output:<{tunnel}>", Cookie.UNICAST)
        else:
            yield from _asked(TunnelTable.TUNNEL, match, room, TunnelTable.SIZED, tags_apart)


def _flood_flows(segment: SegmentWire, rooms: Mapping[str, int | None], tags_apart: bool) -> Iterator[Flow]:
    """One copy for each living peer, if it fits through all of those tunnels.

    To ask for each tunnel by itself would take more actions than the data plane has room for in a large mesh.
    """
    if not rooms:
        return
    patch = f"in_port=<{segment.patch}>"
    copies = ",".join(f"output:<{tunnel}>" for tunnel in rooms)
    least = min((room for room in rooms.values() if room is not None), default=None)
    if least is None:
        yield Flow(TunnelTable.FLOOD, 100, patch, copies, Cookie.FLOOD)
        return
    yield from _asked(TunnelTable.FLOOD, patch, least, TunnelTable.COPIES, tags_apart)
    yield Flow(TunnelTable.COPIES, 100, patch, copies, Cookie.FLOOD)


def _asked(table: TunnelTable, match: str, room: int, then: TunnelTable, tags_apart: bool) -> Iterator[Flow]:
    """Ask whether a frame is larger than what a tunnel carries. The kernel does not count a tag that it keeps beside the frame."""
    cookie = Cookie.UNICAST if table is TunnelTable.TUNNEL else Cookie.FLOOD
    yield Flow(table, 100, match, f"{larger_than(room)},goto_table:{then:d}", cookie)
    if tags_apart:
        tagged = f"{match},{TAGGED_MATCH}"
        yield Flow(table, 110, tagged, f"{larger_than(room - _TAG)},goto_table:{then:d}", cookie)


def learn_limit(networks: int) -> int:
    """How many flows each of so many may learn. In steps, so that one network more seldom changes the others' flows."""
    limit = LEARN_MOST
    while limit > LEARN_LEAST and limit * networks > LEARN_TOGETHER:
        limit //= 2
    return limit


def _arrival_flows(segment: SegmentWire, tunnels: Iterable[str], limit: int) -> Iterator[Flow]:
    """From a tunnel to the network's patch and nowhere else."""
    learn = _learn(segment, limit)
    for tunnel in tunnels:
        match = f"tun_id={number(segment.segment)},in_port=<{tunnel}>"
        yield Flow(TunnelTable.SEGMENT, 100, match, f"{learn},output:<{segment.patch}>", Cookie.SEGMENT)
        if segment.isolated is not None:
            match = f"tun_id={number(segment.isolated)},in_port=<{tunnel}>"
            actions = f"{learn},set_field:0x1->pkt_mark,output:<{segment.patch}>"
            yield Flow(TunnelTable.SEGMENT, 100, match, actions, Cookie.SEGMENT)


def _learn(segment: SegmentWire, limit: int) -> str:
    """Remember that the sender, in this VLAN of this network, is behind the tunnel that the frame came from.

    The match on the patch keeps equal segments of two tunnel types apart. Its number in the cookie does the same for the limit,
    which Open vSwitch has for all flows of a cookie: one network's guests cannot use up what another's need.
    """
    cookie = f"{Cookie.LEARNED >> 32:x}<{segment.patch}:cookie>{Cookie.LEARNED & 0xFFFF:04x}"
    return (
        f"learn(table={TunnelTable.UNICAST:d},hard_timeout={LEARN_SECONDS},priority=5,cookie=0x{cookie},limit={limit},"
        f"in_port=<{segment.patch}>,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15])"
    )
