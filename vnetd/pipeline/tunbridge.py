"""The pipeline of the tunnel bridge, which joins every overlay of this host to its peers."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from vnetd.model.state import SegmentWire
from vnetd.pipeline.catalogue import Cookie, Reason, TunnelTable
from vnetd.pipeline.flow import Flow
from vnetd.pipeline.ingress import MULTICAST

LEARN_SECONDS = 300
"""How long a MAC address is believed to be behind a tunnel: the ageing time of IEEE 802.1D, table 7-5."""

LEARN_LIMIT = 8192
"""Learned flows a (peer, segment) may fill; beyond it frames are flooded, which is slower and still right."""


def tunnel_flows(segments: Iterable[SegmentWire], live: Collection[str]) -> list[Flow]:
    """All flows of the tunnel bridge whose ports are ``live``."""
    flows = [
        Flow(TunnelTable.CLASSIFY, 0, "", "drop", Reason.UNWIRED.direct),
        Flow(TunnelTable.SEGMENT, 0, "", "drop", Reason.UNWIRED.direct),
        Flow(TunnelTable.UNICAST, 10, f"dl_dst={MULTICAST}", f"goto_table:{TunnelTable.FLOOD:d}", Cookie.UNICAST),
        Flow(TunnelTable.UNICAST, 0, "", f"goto_table:{TunnelTable.FLOOD:d}", Cookie.UNICAST),
        Flow(TunnelTable.FLOOD, 0, "", "drop", Cookie.FLOOD),
    ]
    entrances: set[str] = set()
    for segment in segments:
        if segment.patch not in live:
            continue
        tunnels = [tunnel for tunnel in segment.tunnels if tunnel in live]
        entrances.update(tunnels)
        flows.extend(_segment_flows(segment, tunnels))
    for tunnel in sorted(entrances):
        flows.append(
            Flow(
                TunnelTable.CLASSIFY,
                100,
                f"in_port=<{tunnel}>",
                f"set_field:0->pkt_mark,goto_table:{TunnelTable.SEGMENT:d}",
                Cookie.CLASSIFY,
            )
        )
    return flows


def _segment_flows(segment: SegmentWire, tunnels: list[str]) -> list[Flow]:
    patch = f"in_port=<{segment.patch}>"
    unicast = f"goto_table:{TunnelTable.UNICAST:d}"
    flows = [Flow(TunnelTable.CLASSIFY, 100, patch, f"set_field:0x{segment.segment:x}->tun_id,{unicast}", Cookie.CLASSIFY)]
    if segment.isolated is not None:
        # The mark itself stays here: on a tunnel's packets it would steer the host's routing.
        marked = f"set_field:0->pkt_mark,set_field:0x{segment.isolated:x}->tun_id,{unicast}"
        flows.append(Flow(TunnelTable.CLASSIFY, 110, f"pkt_mark=0x1,{patch}", marked, Cookie.CLASSIFY))
    if tunnels:
        copies = ",".join(f"output:<{tunnel}>" for tunnel in tunnels)
        flows.append(Flow(TunnelTable.FLOOD, 100, patch, copies, Cookie.FLOOD))
    learn = _learn(segment)
    for tunnel in tunnels:
        match = f"tun_id=0x{segment.segment:x},in_port=<{tunnel}>"
        flows.append(Flow(TunnelTable.SEGMENT, 100, match, f"{learn},output:<{segment.patch}>", Cookie.SEGMENT))
        if segment.isolated is not None:
            match = f"tun_id=0x{segment.isolated:x},in_port=<{tunnel}>"
            flows.append(Flow(TunnelTable.SEGMENT, 100, match, f"{learn},set_field:0x1->pkt_mark,output:<{segment.patch}>", Cookie.SEGMENT))
    return flows


def _learn(segment: SegmentWire) -> str:
    """Remember that the sender, in this VLAN of this network, is behind the tunnel that the frame came from.

    The tunnel ID is set before UNICAST, so the learned flow has only to output. The
    match on the patch keeps equal segments of two tunnel types apart.
    """
    return (
        f"learn(table={TunnelTable.UNICAST:d},hard_timeout={LEARN_SECONDS},priority=5,cookie=0x{Cookie.LEARNED:x},limit={LEARN_LIMIT},"
        f"in_port=<{segment.patch}>,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:OXM_OF_IN_PORT[])"
    )
