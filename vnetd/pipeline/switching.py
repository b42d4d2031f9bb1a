"""Where a frame goes: LEARN, LOOKUP, LIMIT to HOST, the same for guests, uplinks, tunnels and the host.

Strategy: Open vSwitch's NORMAL action would flood to every port of a VLAN, with no
place to say which guest may hear what; so learning, lookup and flooding are flows.
Who has been heard is learned; a guest of this host that has not spoken yet is known
by its wiring; for anybody else a frame goes where strangers may be: to uplinks,
tunnels, and the guests that are not guarded. A port that no flow names gets nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from vnetd.model.network import Guard, VlanMode
from vnetd.model.state import GuestWire, NetworkWiring
from vnetd.pipeline.catalogue import Cookie, Fact, Reason, Table
from vnetd.pipeline.deliver import UNICAST, deliver_flows, deliver_shared, flood_flows, inside, service_flows, vlans_of
from vnetd.pipeline.flow import LOCAL, LOCAL_NUMBER, PORT_HEX, Flow, MeterKind, goto, has, note, refuse
from vnetd.pipeline.ingress import FOR_MANY, MULTICAST, RESERVED, TAGGED_MATCH, UNREADABLE

LEARN_SECONDS = 300
"""How long a MAC address is believed to be behind a port: the ageing time of IEEE 802.1D, table 7-5."""

LEARN_LIMIT = 8192
"""MAC addresses learned under one cookie: from uplinks and tunnels, from guarded guests, and from all other guests, who may make up many.

Beyond it frames are flooded: slower, and still right. Each has a limit of its own, so that nobody uses up another's.
"""


_TUNNEL_PORTS = (4789, 6081, 3784, 4784)
"""VXLAN (RFC 7348), Geneve (RFC 8926) and BFD (RFC 5881, RFC 5883): made in a guest, they could enter the host's own tunnels."""

FOR_THE_HOST = (
    *("arp", "rarp", "icmp", "tcp", "udp", "sctp", *(f"ip,nw_proto={kind}" for kind in (2, 50, 89, 103, 112))),
    *(f"{kind},nw_frag=no" for kind in ("icmp6", "tcp6", "udp6", "sctp6", *(f"ipv6,nw_proto={kind}" for kind in (50, 89, 103, 112)))),
)
"""What can be no tunnel's, or shows its ports: besides what everybody speaks, IGMP, ESP, OSPF, PIM and VRRP.

A packet that is put together from fragments is what its first one says. In IPv4 that one shows its ports or is refused. In IPv6 it may
end before them, and ovs-vswitchd does not tell which later ones the kernel takes for such a first one: so there are none.
"""

NEVER_FOR_THE_HOST = (*UNREADABLE, *(f"{kind},tp_dst={port}" for kind in ("udp", "udp6") for port in _TUNNEL_PORTS))

_SIGN = "move:NXM_OF_IN_PORT[]->NXM_NX_PKT_MARK[16..31]"
"""What tells the tunnel bridge for whose account it drops a frame that no tunnel carries."""


def switching_flows(wiring: NetworkWiring, live: Collection[str]) -> Iterator[Flow]:
    """All flows from LEARN to HOST of a bridge whose ports are ``live``."""
    guests = [guest for guest in wiring.guests if guest.port in live and (guest.mac is not None or guest.guard is Guard.NONE)]
    uplinks = [name for name in wiring.uplinks if name in live]
    joints = [name for name in wiring.joints if name in live]
    patches = [name for name in wiring.patches if name in live]
    marked = {*joints, *(uplinks if wiring.isolating else ())}
    yield from _carrier_flows([*uplinks, *joints, *patches], marked, wiring.hidden_tags)
    for name in joints:
        yield Flow(Table.DELIVER, 100, PORT_HEX.format(name), f"{_unmarked(wiring)}{goto(Table.OUTPUT)}", Cookie.DELIVER)
    for name in uplinks:
        yield Flow(Table.DELIVER, 100, PORT_HEX.format(name), goto(Table.OUTPUT), Cookie.DELIVER)
    for name in patches:
        yield Flow(Table.DELIVER, 100, PORT_HEX.format(name), f"{_SIGN},{goto(Table.OUTPUT)}", Cookie.DELIVER)
    yield from _host_flows(wiring, uplinks)
    yield from _learn_flows()
    yield from deliver_shared()
    if any(guest.vlan.mode is VlanMode.DOT1Q_TUNNEL for guest in wiring.guests):
        yield from service_flows()
    # A guest of this host that has not spoken is no stranger: its copy is no flood, and comes before the limit on those.
    yield Flow(Table.DELIVER, 0, "", f"clone(resubmit(,{Table.STATION:d})),{goto(Table.LIMIT)}", Cookie.DELIVER)
    for guest in guests:
        yield from deliver_flows(guest, wiring.pools)
        if guest.guard is Guard.NONE:
            yield Flow(Table.LEARN, 100, f"in_port=<{guest.port}>", _learn(Cookie.LEARNED_UNGUARDED), Cookie.LEARN)
        if guest.flood is not None:
            actions = f"meter:{MeterKind.FLOOD.place(guest.port)},{goto(Table.CAST)}"
            yield Flow(Table.LIMIT, 100, f"in_port=<{guest.port}>", actions, Cookie.LIMIT)
    yield from _cast_flows()
    always = [f"resubmit(,{Table.HOST:d})"] if wiring.host or uplinks else []
    always += [f"output:<{name}>" for name in uplinks]
    # The patch after the joints, of which that to another bridge's overlay is the last: behind the others may be dot1q-tunnel
    # ports, which must come before what the tunnel bridge asks (see flood_flows).
    always += [(f"clone({_unmarked(wiring)}output:<{name}>)" if wiring.isolating else f"output:<{name}>") for name in joints]
    always += [f"clone({_SIGN},output:<{name}>)" for name in patches]
    yield from flood_flows(guests, always, wiring.pools)
    yield from _station_flows(guests)


def _carrier_flows(names: Sequence[str], marked: Collection[str], hidden_tags: bool) -> Iterator[Flow]:
    """Uplinks and patches need no guard: what they bring has been guarded where it was sent, or is not ours to judge."""
    for name in names:
        # What the kernel marked on a NIC, or another network's bridge, is not the mark of an isolated port of this one.
        clear = "set_field:0->pkt_mark," if name in marked else ""
        yield from _entrance(f"in_port=<{name}>", clear, hidden_tags)
        yield Flow(Table.LEARN, 100, f"in_port=<{name}>", _learn(Cookie.LEARNED), Cookie.LEARN)


def _entrance(port: str, clear: str, hidden_tags: bool) -> Iterator[Flow]:
    """CLASSIFY for whoever is no guest: a priority tag comes off, where tags hide in PRIORITY."""
    if hidden_tags:
        yield Flow(Table.CLASSIFY, 110, f"{port},{TAGGED_MATCH}", f"{clear}{goto(Table.PRIORITY)}", Cookie.CLASSIFY)
    else:
        yield Flow(Table.CLASSIFY, 110, f"{port},dl_vlan=0", f"{clear}pop_vlan,{goto(Table.LEARN)}", Cookie.CLASSIFY)
    yield Flow(Table.CLASSIFY, 100, port, f"{clear}{goto(Table.LEARN)}", Cookie.CLASSIFY)


def _unmarked(wiring: NetworkWiring) -> str:
    """What takes the mark of an isolated port off: behind a joint it may be taken for one of the host's firewall's."""
    return "set_field:0->pkt_mark," if wiring.isolating else ""


def _host_flows(wiring: NetworkWiring, uplinks: Sequence[str]) -> Iterator[Flow]:
    """The bridge's own port always talks with an uplink; with guests, other hosts and other bridges, where the network says so."""
    local, found = f"in_port={LOCAL}", f"reg1=0x{LOCAL_NUMBER:x}"
    if wiring.host or uplinks:
        clear = _unmarked(wiring)
        yield from _entrance(local, clear, wiring.hidden_tags)
    else:
        yield Flow(Table.CLASSIFY, 100, local, "drop", Cookie.HOST)
    if wiring.host:
        yield Flow(Table.LEARN, 100, local, _learn(Cookie.LEARNED), Cookie.LEARN)
    elif uplinks:
        outputs = ",".join(f"output:<{name}>" for name in uplinks)
        yield Flow(Table.LEARN, 100, local, f"{_learn_action(Cookie.LEARNED)},{outputs}", Cookie.LEARN)
    for name in uplinks:
        yield Flow(Table.HOST, 100, f"in_port=<{name}>", LOCAL, Cookie.HOST)
    if wiring.host:
        yield Flow(Table.HOST, 200, local, "drop", Cookie.HOST)
        for match in (has(Fact.NESTED), *NEVER_FOR_THE_HOST):
            yield Flow(Table.HOST, 50, match, refuse(Reason.HOST), Cookie.REFUSE)
        # On the host's own packets the mark would be one of its firewall's.
        heard = f"clone({_unmarked(wiring)}{LOCAL})" if wiring.isolating else LOCAL
        for match in FOR_THE_HOST:
            yield Flow(Table.HOST, 10, match, heard, Cookie.HOST)
        yield Flow(Table.HOST, 0, "", refuse(Reason.HOST), Cookie.REFUSE)
        yield Flow(Table.DELIVER, 100, found, goto(Table.HOST), Cookie.DELIVER)
    elif uplinks:
        for name in uplinks:
            yield Flow(Table.DELIVER, 110, f"{found},in_port=<{name}>", goto(Table.HOST), Cookie.DELIVER)
        yield Flow(Table.DELIVER, 100, found, refuse(Reason.HOST), Cookie.REFUSE)


def _learn_action(cookie: Cookie) -> str:
    """Remember that the sender, in this VLAN, is behind the port that the frame came from."""
    return (
        f"learn(table={Table.LOOKUP:d},hard_timeout={LEARN_SECONDS},priority=10,cookie=0x{cookie:x},limit={LEARN_LIMIT},"
        "NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15])"
    )


def _learn(cookie: Cookie) -> str:
    return f"{_learn_action(cookie)},resubmit(,{Table.LOOKUP:d}),{goto(Table.DELIVER)}"


def _learn_flows() -> Iterator[Flow]:
    yield Flow(Table.LEARN, 200, f"dl_dst={RESERVED}", "drop", Cookie.LEARN)
    # Learned as somebody's address, a group's would draw all frames for the group to one port.
    yield Flow(Table.LEARN, 190, f"dl_src={MULTICAST}", "drop", Cookie.LEARN)
    yield Flow(Table.LEARN, 0, "", _learn(Cookie.LEARNED_GUEST), Cookie.LEARN)


def _cast_flows() -> Iterator[Flow]:
    """Frames for many: what is a packet for many too goes to all, the rest only where nobody is strict."""
    plain = f"{note(Fact.PLAIN)},{goto(Table.FLOOD)}"
    flood = goto(Table.FLOOD)
    yield Flow(Table.LIMIT, 200, has(Fact.NEIGHBOUR), goto(Table.CAST), Cookie.LIMIT)
    yield Flow(Table.LIMIT, 0, "", goto(Table.CAST), Cookie.LIMIT)
    yield Flow(Table.CAST, 200, UNICAST, flood, Cookie.FLOOD)
    for match in FOR_MANY:
        yield Flow(Table.CAST, 100, match, plain, Cookie.FLOOD)
    yield Flow(Table.CAST, 50, has(Fact.STRICT), refuse(Reason.MISCAST), Cookie.REFUSE)
    yield Flow(Table.CAST, 0, "", flood, Cookie.FLOOD)


def _station_flows(guests: Iterable[GuestWire]) -> Iterator[Flow]:
    """Guests of this host by MAC and VLAN. Of two with the same, the first is meant, and intent has said so."""
    taken: set[tuple[int, str]] = set()
    for guest in guests:
        if guest.mac is None or guest.guard is Guard.NONE:
            continue
        for vlan in vlans_of(guest):
            if (vlan, guest.mac) in taken:
                continue
            taken.add((vlan, guest.mac))
            actions = f"set_field:<{guest.port}:hex>->reg1,resubmit(,{Table.DELIVER:d})"
            yield Flow(Table.STATION, 100, f"{inside(vlan)},dl_dst={guest.mac}", actions, Cookie.DELIVER)


def refusal_flows() -> Iterator[Flow]:
    """REFUSE and DROP. The switch itself makes a flow that counts for a port, the first time that the port gives cause."""
    count = f"NXM_NX_REG1[0..15],NXM_NX_REG2[0..7]),resubmit(,{Table.COUNTED:d})"
    yield Flow(Table.REFUSE, 0, "", f"move:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15],{goto(Table.DROP)}", Cookie.REFUSE)
    for reason in Reason:
        learn = f"learn(table={Table.COUNTED:d},priority=1,cookie=0x{reason.counted:x},{count}"
        yield Flow(Table.DROP, 100, f"reg2=0x{reason:x}", learn, reason.total)
