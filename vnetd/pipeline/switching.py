"""Where a frame goes: LEARN to HOST, the same for guests, uplinks, tunnels and the host.

Strategy: Open vSwitch's NORMAL action would flood to every port of a VLAN, with no
place to say which guest may hear what; so learning, lookup and flooding are flows.
Who has been heard is learned; a guest of this host that has not spoken yet is known
by its wiring; for anybody else a frame goes where strangers may be: to uplinks,
tunnels, and the guests that are not guarded. A port that no flow names gets nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from vnetd.model.network import Guard, VlanMode
from vnetd.model.state import GuestWire, NetworkWiring
from vnetd.pipeline.catalogue import Cookie, Fact, Reason, Table
from vnetd.pipeline.flow import LOCAL, LOCAL_NUMBER, Flow, MeterKind
from vnetd.pipeline.ingress import BROADCAST, RESERVED, UNTAGGED_MATCH, goto, note, own_addresses, refuse, shown

LEARN_SECONDS = 300
"""How long a MAC address is believed to be behind a port: the ageing time of IEEE 802.1D, table 7-5."""

LEARN_LIMIT = {Cookie.LEARNED: 8192, Cookie.LEARNED_GUEST: 8192, Cookie.LEARNED_UNGUARDED: 8192}
"""MAC addresses learned from uplinks and tunnels, from guarded guests, and from all other guests, which may make up as many as they like.

Beyond it frames are flooded: slower, and still right. Each has a limit of its own, so that nobody uses up another's.
"""

ISOLATED = "pkt_mark=0x1"
PORT_HEX = "reg1=<{}:hex>"
_PLAIN = f"reg3=0x{Fact.PLAIN:x}/0x{Fact.PLAIN:x}"

TUNNEL_PACKETS = (
    "ip,nw_proto=47", "udp,tp_dst=4789", "udp,tp_dst=6081", "udp,tp_dst=3784", "udp,tp_dst=4784",
    "ipv6,nw_proto=47", "udp6,nw_frag=first,tp_dst=0", "udp6,tp_dst=4789", "udp6,tp_dst=6081", "udp6,tp_dst=3784", "udp6,tp_dst=4784",
)  # fmt: skip
"""GRE, VXLAN (RFC 7348), Geneve (RFC 8926) and BFD (RFC 5881, RFC 5883): made in a guest, they could enter the host's own tunnels.

A first fragment of IPv6 that ends before the ports shows them as 0."""


def switching_flows(wiring: NetworkWiring, live: Collection[str]) -> Iterator[Flow]:
    """All flows from LEARN to HOST of a bridge whose ports are ``live``."""
    guests = [guest for guest in wiring.guests if guest.port in live and (guest.mac is not None or guest.guard is Guard.NONE)]
    uplinks = [name for name in wiring.uplinks if name in live]
    patches = [name for name in wiring.patches if name in live]
    yield from _carrier_flows(uplinks, patches, wiring.isolating)
    yield from _host_flows(wiring, uplinks)
    yield from _learn_flows()
    yield from _deliver_shared()
    for guest in guests:
        yield from _deliver_flows(guest)
        if guest.guard is Guard.NONE:
            yield Flow(Table.LEARN, 100, f"in_port=<{guest.port}>", _learn(Cookie.LEARNED_UNGUARDED), Cookie.LEARN)
        if guest.flood is not None:
            actions = f"meter:{MeterKind.FLOOD.place(guest.port)},{goto(Table.CAST)}"
            yield Flow(Table.LIMIT, 100, f"in_port=<{guest.port}>", actions, Cookie.LIMIT)
    yield from _cast_flows()
    yield from _flood_flows(guests, [*uplinks, *patches], wiring)
    yield from _station_flows(guests)


def _carrier_flows(uplinks: Sequence[str], patches: Sequence[str], isolating: bool) -> Iterator[Flow]:
    """Uplinks and patches need no guard: what they bring has been guarded where it was sent, or is not ours to judge."""
    for name in (*uplinks, *patches):
        # What the kernel marked on a NIC is not the mark of an isolated port.
        clear = "set_field:0->pkt_mark," if isolating and name in uplinks else ""
        yield Flow(Table.CLASSIFY, 110, f"in_port=<{name}>,dl_vlan=0", f"{clear}pop_vlan,{goto(Table.LEARN)}", Cookie.CLASSIFY)
        yield Flow(Table.CLASSIFY, 100, f"in_port=<{name}>", f"{clear}{goto(Table.LEARN)}", Cookie.CLASSIFY)
        yield Flow(Table.LEARN, 100, f"in_port=<{name}>", _learn(Cookie.LEARNED), Cookie.LEARN)
        yield Flow(Table.DELIVER, 100, PORT_HEX.format(name), goto(Table.OUTPUT), Cookie.DELIVER)


def _host_flows(wiring: NetworkWiring, uplinks: Sequence[str]) -> Iterator[Flow]:
    """The bridge's own port always talks with an uplink; with guests and other hosts, where the network says so."""
    local, found = f"in_port={LOCAL}", f"reg1=0x{LOCAL_NUMBER:x}"
    if wiring.host or uplinks:
        clear = "set_field:0->pkt_mark," if wiring.isolating else ""
        yield Flow(Table.CLASSIFY, 110, f"{local},dl_vlan=0", f"{clear}pop_vlan,{goto(Table.LEARN)}", Cookie.CLASSIFY)
        yield Flow(Table.CLASSIFY, 100, local, f"{clear}{goto(Table.LEARN)}", Cookie.CLASSIFY)
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
        for match in TUNNEL_PACKETS:
            yield Flow(Table.HOST, 50, match, refuse(Reason.HOST), Cookie.REFUSE)
        # On the host's own packets the mark would be one of its firewall's.
        yield Flow(Table.HOST, 10, "", f"clone(set_field:0->pkt_mark,{LOCAL})" if wiring.isolating else LOCAL, Cookie.HOST)
        yield Flow(Table.DELIVER, 100, found, goto(Table.HOST), Cookie.DELIVER)
    elif uplinks:
        for name in uplinks:
            yield Flow(Table.DELIVER, 110, f"{found},in_port=<{name}>", goto(Table.HOST), Cookie.DELIVER)
        yield Flow(Table.DELIVER, 100, found, refuse(Reason.HOST), Cookie.REFUSE)


def _learn_action(cookie: Cookie) -> str:
    """Remember that the sender, in this VLAN, is behind the port that the frame came from."""
    return (
        f"learn(table={Table.LOOKUP:d},hard_timeout={LEARN_SECONDS},priority=10,cookie=0x{cookie:x},limit={LEARN_LIMIT[cookie]},"
        "NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15])"
    )


def _learn(cookie: Cookie) -> str:
    return f"{_learn_action(cookie)},resubmit(,{Table.LOOKUP:d}),{goto(Table.DELIVER)}"


def _learn_flows() -> Iterator[Flow]:
    yield Flow(Table.LEARN, 200, f"dl_dst={RESERVED}", "drop", Cookie.LEARN)
    # Learned as somebody's address, a group's would draw all frames for the group to one port.
    yield Flow(Table.LEARN, 190, "dl_src=01:00:00:00:00:00/01:00:00:00:00:00", "drop", Cookie.LEARN)
    yield Flow(Table.LEARN, 0, "", _learn(Cookie.LEARNED_GUEST), Cookie.LEARN)


def _deliver_shared() -> Iterator[Flow]:
    # A guest of this host that has not spoken is no stranger: its copy is no flood, and comes before the limit on those.
    yield Flow(Table.DELIVER, 0, "", f"clone(resubmit(,{Table.STATION:d})),{goto(Table.LIMIT)}", Cookie.DELIVER)
    out = goto(Table.OUTPUT)
    # A DHCP server may answer to an address that the guest does not have yet (RFC 2131, 4.1).
    for match in ("arp", "rarp", "udp,tp_dst=68", "ip,nw_dst=224.0.0.0/4", "ip,nw_dst=255.255.255.255", "ipv6,ipv6_dst=ff00::/8"):
        yield Flow(Table.TOWARD, 50, match, out, Cookie.TOWARD)
    # The account here is the addressee's, whose number PORT holds already.
    yield Flow(Table.TOWARD, 0, "", f"set_field:0x{Reason.NOT_ADDRESSED:x}->reg2,{goto(Table.DROP)}", Cookie.REFUSE)
    yield Flow(Table.OUTPUT, 0, "", "output:NXM_NX_REG1[0..15]", Cookie.DELIVER)


def _deliver_flows(guest: GuestWire) -> Iterator[Flow]:
    """The last steps to a guest: what it may hear from an isolated port, its VLANs and tag, its MAC, its addresses.

    What was learned of a port before its rules changed is believed for minutes, so its VLANs and MAC are held against each frame.
    """
    port = PORT_HEX.format(guest.port)
    after = goto(Table.TOWARD if guest.guard is Guard.STRICT else Table.OUTPUT)
    own = "" if guest.guard is Guard.NONE else f",dl_dst={guest.mac}"
    if guest.isolated:
        yield Flow(Table.DELIVER, 200, f"{ISOLATED},{port}", refuse(Reason.ISOLATED), Cookie.REFUSE)
    untagged = (guest.vlan.tag or 0) if guest.vlan.mode in (VlanMode.ACCESS, VlanMode.NATIVE_UNTAGGED) else None
    for vlan in _vlans(guest):
        pop = "pop_vlan," if vlan and vlan == untagged else ""
        yield Flow(Table.DELIVER, 100, f"{port},{_inside(vlan)}{own}", f"{pop}{after}", Cookie.DELIVER)
    if guest.guard is not Guard.STRICT:
        return
    for prefix in own_addresses(guest):
        protocol, field = ("ip", "nw_dst") if prefix.version == 4 else ("ipv6", "ipv6_dst")
        yield Flow(Table.TOWARD, 100, f"{protocol},{port},{field}={shown(prefix)}", goto(Table.OUTPUT), Cookie.TOWARD)


def _vlans(guest: GuestWire) -> list[int]:
    """The VLANs that a port is in; 0 is untagged."""
    return sorted({*guest.vlan.trunks, *([guest.vlan.tag or 0] if guest.vlan.mode is VlanMode.ACCESS else [])})


def _inside(vlan: int) -> str:
    """The match on a VLAN; 0 is untagged."""
    return f"dl_vlan={vlan}" if vlan else UNTAGGED_MATCH


def _cast_flows() -> Iterator[Flow]:
    """Frames for many: what is a packet for many too goes to all, the rest only where nobody is strict.

    A packet for one host in a frame for all would pass every filter by address (RFC 1122, 3.3.6 forbids it).
    """
    plain = f"{note(Fact.PLAIN)},{goto(Table.FLOOD)}"
    flood = goto(Table.FLOOD)
    yield Flow(Table.LIMIT, 200, f"reg3=0x{Fact.NEIGHBOUR:x}/0x{Fact.NEIGHBOUR:x}", goto(Table.CAST), Cookie.LIMIT)
    yield Flow(Table.LIMIT, 0, "", goto(Table.CAST), Cookie.LIMIT)
    yield Flow(Table.CAST, 200, "dl_dst=00:00:00:00:00:00/01:00:00:00:00:00", flood, Cookie.FLOOD)
    for match in (
        f"arp,dl_dst={BROADCAST}",
        f"rarp,dl_dst={BROADCAST}",
        f"ip,dl_dst={BROADCAST}",
        "ip,dl_dst=01:00:5e:00:00:00/ff:ff:ff:80:00:00,nw_dst=224.0.0.0/4",
        "ipv6,dl_dst=33:33:00:00:00:00/ff:ff:00:00:00:00,ipv6_dst=ff00::/8",
    ):
        yield Flow(Table.CAST, 100, match, plain, Cookie.FLOOD)
    yield Flow(Table.CAST, 50, f"reg3=0x{Fact.STRICT:x}/0x{Fact.STRICT:x}", refuse(Reason.MISCAST), Cookie.REFUSE)
    yield Flow(Table.CAST, 0, "", flood, Cookie.FLOOD)


@dataclass(frozen=True)
class _Audience:
    """The guests of one VLAN that may hear a frame for many."""

    tagged: tuple[GuestWire, ...]
    untagged: tuple[GuestWire, ...]

    def only(self, plain: bool, isolated: bool, known: bool = True) -> _Audience:
        """Those who may hear a frame: a ``plain`` one or not, from an ``isolated`` port or not.

        ``known`` is False for a frame to an address that nobody is known for.
        """

        def hears(guest: GuestWire) -> bool:
            guarded = guest.guard is not Guard.NONE
            return not (guest.isolated and isolated) and (known or not guarded) and (plain or guest.guard is not Guard.STRICT)

        return _Audience(tuple(filter(hears, self.tagged)), tuple(filter(hears, self.untagged)))

    def outputs(self) -> tuple[list[str], list[str]]:
        return [f"output:<{guest.port}>" for guest in self.tagged], [f"output:<{guest.port}>" for guest in self.untagged]


def _audiences(guests: Iterable[GuestWire]) -> dict[int, _Audience]:
    """By VLAN; 0 is untagged."""
    tagged: dict[int, list[GuestWire]] = {}
    untagged: dict[int, list[GuestWire]] = {}
    for guest in guests:
        native = guest.vlan.tag if guest.vlan.mode in (VlanMode.ACCESS, VlanMode.NATIVE_UNTAGGED) else None
        if guest.vlan.mode is VlanMode.ACCESS or native is not None:
            untagged.setdefault(native or 0, []).append(guest)
        for number in guest.vlan.trunks:
            if number != native:
                tagged.setdefault(number, []).append(guest)
    return {vlan: _Audience(tuple(tagged.get(vlan, ())), tuple(untagged.get(vlan, ()))) for vlan in {*tagged, *untagged}}


def _flood_flows(guests: Sequence[GuestWire], carriers: Sequence[str], wiring: NetworkWiring) -> Iterator[Flow]:
    """A list for each VLAN, in as many kinds as differ: for all, from isolated ports, not plain, for a stranger's address."""
    always = [f"resubmit(,{Table.HOST:d})"] if wiring.host or wiring.uplinks else []
    always += [f"output:<{name}>" for name in carriers]
    yield Flow(Table.FLOOD, 0, "", ",".join(always) or "drop", Cookie.FLOOD)
    unicast = "dl_dst=00:00:00:00:00:00/01:00:00:00:00:00"
    for vlan, audience in sorted(_audiences(guests).items()):
        inside = _inside(vlan)
        kinds = [(100, inside, audience.only(plain=False, isolated=False), always)]
        if any(guest.guard is Guard.STRICT for guest in (*audience.tagged, *audience.untagged)):
            kinds.append((110, f"{_PLAIN},{inside}", audience.only(plain=True, isolated=False), always))
        kinds.append((120, f"{inside},{unicast}", audience.only(plain=False, isolated=False, known=False), always))
        if any(guest.isolated for guest in (*audience.tagged, *audience.untagged)):
            kinds += [
                (priority + 50, f"{ISOLATED},{match}", hearers.only(plain=True, isolated=True), before)
                for priority, match, hearers, before in kinds
            ]
        for priority, match, hearers, before in kinds:
            with_tag, without = hearers.outputs()
            pop = ["pop_vlan"] if vlan and without else []
            yield Flow(Table.FLOOD, priority, match, ",".join([*before, *with_tag, *pop, *without]) or "drop", Cookie.FLOOD)


def _station_flows(guests: Iterable[GuestWire]) -> Iterator[Flow]:
    """Guests of this host by MAC and VLAN. Of two with the same, the first is meant, and intent has said so."""
    taken: set[tuple[int, str]] = set()
    for guest in guests:
        if guest.mac is None or guest.guard is Guard.NONE:
            continue
        for vlan in _vlans(guest):
            if (vlan, guest.mac) in taken:
                continue
            taken.add((vlan, guest.mac))
            actions = f"set_field:<{guest.port}:hex>->reg1,resubmit(,{Table.DELIVER:d})"
            yield Flow(Table.STATION, 100, f"{_inside(vlan)},dl_dst={guest.mac}", actions, Cookie.DELIVER)


def refusal_flows() -> Iterator[Flow]:
    """REFUSE and DROP. The switch itself makes a flow that counts for a port, the first time that the port gives cause."""
    count = f"NXM_NX_REG1[0..15],NXM_NX_REG2[0..7]),resubmit(,{Table.COUNTED:d})"
    yield Flow(Table.REFUSE, 0, "", f"move:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15],{goto(Table.DROP)}", Cookie.REFUSE)
    for reason in Reason:
        learn = f"learn(table={Table.COUNTED:d},priority=1,cookie=0x{reason.counted:x},{count}"
        yield Flow(Table.DROP, 100, f"reg2=0x{reason:x}", learn, reason.total)
