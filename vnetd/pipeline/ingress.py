"""What a guest may send: CLASSIFY to NEIGHBOUR, the flows of each port and those that all ports share.

Strategy: identity comes first, and is the only thing a port's own flows hold. GUARD and
VLAN check the frame, SOURCE answers whether an address is the port's own, and the
shared VERDICT lists what may pass with that answer. The default of every table is a
drop. Where the address in question stands elsewhere than in the source (the target of
an ARP probe, of a neighbour advertisement, of duplicate address detection), TYPE puts
it there for the time of asking, so that one flow for each address answers for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from vnetd.model.names import IpAddress, IpPrefix, Mac, written
from vnetd.model.network import Guard, Vlan, VlanMode
from vnetd.model.state import GuestWire, Pool
from vnetd.pipeline.catalogue import Cookie, Fact, Reason, Table
from vnetd.pipeline.flow import Flow, MeterKind, goto, has, note, refuse
from vnetd.pipeline.limits import first_stage, outbound_flows

NESTED_TYPES = (0x8100, 0x88A8, 0x9100)
"""EtherTypes that announce a VLAN tag: behind another tag, or in disguise."""

BROADCAST = "ff:ff:ff:ff:ff:ff"
FOR_MANY = (
    f"arp,dl_dst={BROADCAST}",
    f"rarp,dl_dst={BROADCAST}",
    f"ip,dl_dst={BROADCAST}",
    "ip,dl_dst=01:00:5e:00:00:00/ff:ff:ff:80:00:00,nw_dst=224.0.0.0/4",
    "ipv6,dl_dst=33:33:00:00:00:00/ff:ff:00:00:00:00,ipv6_dst=ff00::/8",
)
"""Frames for many that hold a packet for many: one for a single host would pass every filter by address (RFC 1122, 3.3.6, forbids it)."""
RESERVED = "01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0"
"""IEEE 802.1Q, table 8-1: addresses that no bridge forwards."""
MULTICAST = "01:00:00:00:00:00/01:00:00:00:00:00"
UNTAGGED_MATCH = "vlan_tci=0x0000/0x1fff"
TAGGED_MATCH = "vlan_tci=0x1000/0x1000"
SOLICITED_NODE = "ff02::1:ff00:0/104"
"""RFC 4291, 2.7.1."""

_JUDGED = {Guard.STRICT: Table.TYPE, Guard.MAC: Table.AMBIGUOUS, Guard.NONE: Table.KIND}
"""Where a frame goes that has one of the port's VLANs, by the port's guard."""

_OWN = has(Fact.OWN)
_OWN_ADDRESS = f"reg3=0x{Fact.OWN:x}/0x{Fact.OWN | Fact.UNADDRESSED:x}"
_UNADDRESSED = has(Fact.UNADDRESSED)
_SENDER_OWN = has(Fact.SENDER_OWN)
_OWN_TWICE = has(Fact.OWN, Fact.SENDER_OWN)


def link_local(mac: Mac) -> IPv6Address:
    """The link-local address made from a MAC address (RFC 4291, appendix A)."""
    pairs = [int(pair, 16) for pair in mac.split(":")]
    octets = bytes([0xFE, 0x80, *[0] * 6, pairs[0] ^ 2, *pairs[1:3], 0xFF, 0xFE, *pairs[3:]])
    return IPv6Address(octets)


def shown(prefix: IpPrefix) -> str:
    """A prefix as the switch prints it: RFC 5952, with the last 32 bits of ::/96 in the notation of IPv4."""
    address = prefix.network_address
    return written(prefix).replace(str(address), shown_address(address))


def shown_address(address: IpAddress) -> str:
    """An address as the switch prints it: see ``shown``."""
    if isinstance(address, IPv6Address) and 0xFFFF < int(address) <= 0xFFFF_FFFF:
        return f"::{IPv4Address(int(address))}"
    return str(address)


def own_addresses(guest: GuestWire) -> tuple[IpPrefix, ...]:
    """The guest's addresses with its link-local one, each once."""
    if guest.mac is None:
        return guest.addresses
    local = link_local(guest.mac)
    known = any(not isinstance(one, IPv4Network) and local in one for one in guest.addresses)
    return guest.addresses if known else (*guest.addresses, IPv6Network(local))


def guest_ingress(guest: GuestWire, pools: Sequence[Pool] = ()) -> Iterator[Flow]:
    """The flows of one port from CLASSIFY to NEIGHBOUR."""
    port = f"in_port=<{guest.port}>"
    foreign = Flow(Table.CLASSIFY, 100, port, "drop", Reason.FOREIGN_MAC.direct)
    if guest.guard is Guard.NONE:
        yield Flow(Table.CLASSIFY, 100, port, goto(Table.PRIORITY), Cookie.CLASSIFY)
        yield Flow(Table.GUARD, 100, port, goto(Table.VLAN), Cookie.GUARD)
    elif guest.mac is None:
        yield foreign
        return
    else:
        last = f"dl_src=00:00:00:00:00:{guest.mac[-2:]}/00:00:00:00:00:ff"
        yield Flow(Table.CLASSIFY, 110, f"{port},{last}", goto(Table.PRIORITY), Cookie.CLASSIFY)
        yield foreign
        yield Flow(Table.GUARD, 100, f"{port},dl_src={guest.mac}", goto(Table.VLAN), Cookie.GUARD)
    yield from _vlan_flows(guest, pools)
    if guest.guard is Guard.STRICT:
        yield from _source_flows(guest, port)
    if guest.neighbour is not None:
        actions = f"meter:{MeterKind.NEIGHBOUR.place(guest.port)},{goto(Table.LEARN)}"
        yield Flow(Table.NEIGHBOUR, 100, port, actions, Cookie.LIMIT)


def _vlan_flows(guest: GuestWire, pools: Sequence[Pool]) -> Iterator[Flow]:
    """Which tags the port may send. Its limit on bandwidth stands here, so that frames from a forged MAC use none of it."""
    port, vlan = f"in_port=<{guest.port}>", guest.vlan
    before = f"meter:{MeterKind.BANDWIDTH.place(guest.port)}," if guest.meter else ""
    before += "set_field:0x1->pkt_mark," if guest.isolated else ""
    if guest.guard is Guard.STRICT:
        facts = Fact.STRICT | (0 if guest.addresses else Fact.UNADDRESSED)
        before += f"set_field:0x{facts:x}->reg3,"
    judged = _JUDGED[guest.guard]
    start = first_stage(guest, pools, judged)
    yield from outbound_flows(guest, pools, judged)
    if start is not Table.AMBIGUOUS and guest.guard is not Guard.STRICT:
        yield Flow(Table.NESTED, 50, port, goto(start), Cookie.VLAN)
    if vlan.mode is VlanMode.DOT1Q_TUNNEL:
        yield from _customer_flows(guest, before, start)
        return
    if vlan.mode is not VlanMode.TRUNK:
        tag = f"{push_tag(vlan)}," if vlan.tag else ""
        yield Flow(Table.VLAN, 100, f"{port},{UNTAGGED_MATCH}", f"{before}{tag}{goto(_alone(guest, start))}", Cookie.VLAN)
    for number in vlan.trunks:
        # A guest that is not held to its addresses may use tags of its own inside those of its trunk; TYPE refuses them to others.
        yield Flow(Table.VLAN, 100, f"{port},dl_vlan={number}", f"{before}{goto(start)}", Cookie.VLAN)


def _alone(guest: GuestWire, start: Table) -> Table:
    """Where a frame goes whose tag, or having none, must be all: TYPE refuses hidden tags, too."""
    return start if guest.guard is Guard.STRICT else Table.NESTED


def _customer_flows(guest: GuestWire, before: str, start: Table) -> Iterator[Flow]:
    """VLAN for a dot1q-tunnel port: which customer VLANs it may send, each inside the service VLAN."""
    port, vlan = f"in_port=<{guest.port}>", guest.vlan
    inside = f"{push_tag(vlan)},{goto(_alone(guest, start))}"
    nested = f"{before}{note(Fact.NESTED)},{inside}"
    for number in vlan.customers:
        yield Flow(Table.VLAN, 100, f"{port},dl_vlan={number}", nested, Cookie.VLAN)
    if not vlan.customers:
        yield Flow(Table.VLAN, 100, f"{port},{UNTAGGED_MATCH}", f"{before}{inside}", Cookie.VLAN)
        yield Flow(Table.VLAN, 90, f"{port},{TAGGED_MATCH}", nested, Cookie.VLAN)


def push_tag(vlan: Vlan) -> str:
    """The actions that put the port's own VLAN on a frame."""
    return f"push_vlan:0x{vlan.tpid:04x},set_field:{0x1000 | (vlan.tag or 0)}->vlan_vid"


def _source_flows(guest: GuestWire, port: str) -> Iterator[Flow]:
    """One flow for each address, and one more for ARP from an IPv4 address; QEMU's announcement has none."""
    for prefix in own_addresses(guest):
        text = shown(prefix)
        if isinstance(prefix, IPv4Network):
            yield Flow(Table.SOURCE, 100, f"ip,{port},nw_src={text}", note(Fact.OWN), Cookie.SOURCE)
            yield Flow(Table.SOURCE, 100, f"arp,{port},arp_spa={text},arp_sha={guest.mac}", note(Fact.OWN), Cookie.SOURCE)
        else:
            yield Flow(Table.SOURCE, 100, f"ipv6,{port},ipv6_src={text}", note(Fact.OWN), Cookie.SOURCE)
    announced = f"rarp,{port},arp_sha={guest.mac},arp_tha={guest.mac}"
    yield Flow(Table.SOURCE, 100, announced, note(Fact.OWN), Cookie.SOURCE)


def shared_ingress() -> Iterator[Flow]:
    """The flows from CLASSIFY to NEIGHBOUR that are there once, whatever the number of ports."""
    yield Flow(Table.CLASSIFY, 0, "", refuse(Reason.UNWIRED), Cookie.REFUSE)
    yield Flow(Table.GUARD, 0, "", refuse(Reason.FOREIGN_MAC), Cookie.REFUSE)
    yield Flow(Table.VLAN, 0, "", refuse(Reason.FOREIGN_VLAN), Cookie.REFUSE)
    for kind in NESTED_TYPES:
        yield Flow(Table.NESTED, 100, f"dl_type=0x{kind:04x}", refuse(Reason.NESTED_TAG), Cookie.REFUSE)
    yield Flow(Table.NESTED, 0, "", goto(Table.AMBIGUOUS), Cookie.GUARD)
    yield from _type_flows()
    yield from _verdict_flows()
    yield from _ambiguous_flows()
    yield Flow(Table.KIND, 200, f"dl_dst={RESERVED}", refuse(Reason.RESERVED), Cookie.REFUSE)
    neighbour = f"{note(Fact.NEIGHBOUR)},{goto(Table.NEIGHBOUR)}"
    for match in ("arp", "rarp", "icmp6,icmp_type=133", "icmp6,icmp_type=135", "icmp6,icmp_type=136"):
        yield Flow(Table.KIND, 100, match, neighbour, Cookie.LIMIT)
    yield Flow(Table.KIND, 0, "", goto(Table.LEARN), Cookie.LIMIT)
    yield Flow(Table.NEIGHBOUR, 0, "", goto(Table.LEARN), Cookie.LIMIT)


def priority_flows() -> Iterator[Flow]:
    """PRIORITY, where Open vSwitch looks at one tag; peeking.py has what it is elsewhere."""
    yield Flow(Table.PRIORITY, 100, "dl_vlan=0", f"pop_vlan,{goto(Table.GUARD)}", Cookie.GUARD)
    yield Flow(Table.PRIORITY, 0, "", goto(Table.GUARD), Cookie.GUARD)


def _asked(field: str, target: str) -> str:
    """Ask SOURCE about the address in ``target`` as if it stood in ``field``, and leave the frame as it was."""
    return f"push:{field}[],move:{target}[]->{field}[],resubmit(,{Table.SOURCE:d}),pop:{field}[]"


def _type_flows() -> Iterator[Flow]:
    ask, verdict = f"resubmit(,{Table.SOURCE:d})", goto(Table.VERDICT)
    arp_target = _asked("NXM_OF_ARP_SPA", "NXM_OF_ARP_TPA")
    nd_target = _asked("NXM_NX_IPV6_SRC", "NXM_NX_ND_TARGET")
    again = f"move:NXM_NX_REG3[0]->NXM_NX_REG3[{Fact.SENDER_OWN.bit_length() - 1}],load:0->NXM_NX_REG3[0]"
    announcement = f"rarp,dl_dst={BROADCAST},arp_spa=0.0.0.0,arp_tpa=0.0.0.0,arp_op=3"
    # Duplicate address detection has no source; RFC 4861, 7.1.1 and 7.1.2, on hop limit and code.
    probe = f"icmp6,ipv6_src=::,ipv6_dst={SOLICITED_NODE},nw_ttl=255,icmp_type=135,icmp_code=0"
    advertisement = "icmp6,nw_ttl=255,icmp_type=136,icmp_code=0"
    rows = (
        (100, "ip", f"{ask},{verdict}"),
        (100, "ipv6", f"{ask},{verdict}"),
        (120, probe, f"{nd_target},{verdict}"),
        (120, advertisement, f"{ask},{again},{nd_target},{verdict}"),
        (120, "arp,arp_spa=0.0.0.0,arp_op=1", f"{arp_target},{verdict}"),
        (110, "arp,arp_op=1", f"{ask},{verdict}"),
        (110, "arp,arp_op=2", f"{ask},{verdict}"),
        (110, announcement, f"{ask},{verdict}"),
        (100, "arp", refuse(Reason.MALFORMED_ARP)),
        (100, "rarp", refuse(Reason.MALFORMED_ARP)),
        *((100, f"dl_type=0x{kind:04x}", refuse(Reason.NESTED_TAG)) for kind in NESTED_TYPES),
        (0, "", refuse(Reason.UNKNOWN_TYPE)),
    )
    for priority, match, actions in rows:
        yield Flow(Table.TYPE, priority, match, actions, Cookie.REFUSE if actions.startswith("set_field") else Cookie.VERDICT)


def verdicts() -> list[tuple[int, str, Reason | None]]:
    """What never passes, then what passes with an address of its own (None), then why the rest does not: priority, match, reason.

    VERDICT's flows are made of these rows, and so are the programs by which the kernel judges (``vnetd.judge``).
    """
    return [
        (0, "", Reason.UNKNOWN_TYPE),
        # ARP and RARP. A port without an address has only QEMU's announcement.
        (100, f"arp,{_OWN_ADDRESS}", None),
        (60, f"arp,{_UNADDRESSED}", Reason.UNADDRESSED),
        (50, "arp", Reason.FOREIGN_ARP),
        (100, f"rarp,{_OWN}", None),
        (50, "rarp", Reason.FOREIGN_ARP),
        # IPv4. A client listens to any answer that comes to its port, whatever the port it came from.
        (200, "udp,tp_dst=68", Reason.DHCP_SERVER),
        (200, "ip,nw_proto=0", Reason.MALFORMED_IP),
        (150, f"udp,dl_dst={BROADCAST},nw_src=0.0.0.0,nw_dst=255.255.255.255,nw_frag=no,tp_src=68,tp_dst=67", None),
        (100, f"ip,{_OWN_ADDRESS}", None),
        (60, f"ip,{_UNADDRESSED}", Reason.UNADDRESSED),
        (50, "ip", Reason.FOREIGN_IPV4),
        # IPv6. Next header 0 is what the switch shows when it could not read the chain of headers to its end (RFC 7112).
        (250, "ipv6,nw_proto=0", Reason.MALFORMED_IP),
        # Only a packet that has been put together can be judged, and the two parsers tell its pieces apart in different ways.
        (240, "ipv6,nw_frag=yes", Reason.IPV6_FRAGMENT),
        (200, "udp6,tp_dst=546", Reason.DHCPV6_SERVER),
        (200, "icmp6,icmp_type=134", Reason.ROUTER_ADVERTISEMENT),
        (200, "icmp6,icmp_type=137", Reason.REDIRECT),
        (200, "icmp6,icmp_type=130", Reason.MLD_QUERY),
        (150, f"icmp6,{_OWN_ADDRESS},nw_ttl=255,icmp_type=133,icmp_code=0", None),
        (150, f"icmp6,{_OWN},nw_ttl=255,icmp_type=135,icmp_code=0", None),
        (150, f"icmp6,{_OWN_TWICE},nw_ttl=255,icmp_type=136,icmp_code=0", None),
        (145, f"icmp6,{_UNADDRESSED},icmp_type=133", Reason.UNADDRESSED),
        *((140, f"icmp6,{_OWN},icmp_type={kind}", Reason.DISCOVERY) for kind in (133, 135, 136)),
        (140, f"icmp6,{_SENDER_OWN},icmp_type=136", Reason.DISCOVERY),
        (140, "icmp6,ipv6_src=::,icmp_type=135", Reason.DISCOVERY),
        *((130, f"icmp6,{_OWN},icmp_type={kind}", None) for kind in (131, 132, 143)),
        *((130, f"icmp6,ipv6_src=::,ipv6_dst=ff02::/16,icmp_type={kind}", None) for kind in (131, 132, 143)),
        *((130, f"icmp6,{_OWN_ADDRESS},icmp_type={kind}", None) for kind in (1, 2, 3, 4, 128, 129)),
        (120, f"icmp6,{_OWN_ADDRESS}", Reason.ICMPV6_TYPE),
        (150, f"udp6,{_OWN},tp_src=546,tp_dst=547", None),
        (100, f"ipv6,{_OWN_ADDRESS}", None),
        (60, f"ipv6,{_OWN}", Reason.UNADDRESSED),
        (50, "ipv6", Reason.FOREIGN_IPV6),
    ]


def _verdict_flows() -> Iterator[Flow]:
    for priority, match, reason in verdicts():
        if reason is None:
            yield Flow(Table.VERDICT, priority, match, goto(Table.AMBIGUOUS), Cookie.VERDICT)
        else:
            yield Flow(Table.VERDICT, priority, match, refuse(reason), Cookie.REFUSE)


UNREADABLE = (
    "udp,nw_frag=not_later,tp_dst=0",
    "udp6,nw_frag=not_later,tp_dst=0",
    "icmp6,nw_frag=not_later,icmp_type=0",
)
"""How Open vSwitch shows UDP whose ports, or ICMPv6 whose type, lie behind the packet's length.

ovs-vswitchd believes a packet's lengths, and the kernel does not: it goes on to read them, and keeps verdicts under what it found.
"""

AMBIGUOUS_FRAMES = ("dl_type=0x05ff", "ip,nw_proto=0", "ipv6,nw_proto=0", "ipv6,nw_proto=59", *UNREADABLE)
"""How ovs-vswitchd shows frames in which the kernel may see more, or something else (docs/decisions/0026-read-in-two-ways.md).

0x05ff is a frame with a length in the EtherType's place, but for SNAP of OUI 0 and control byte 3; the kernel does not look at that
byte. Protocol 0 is a packet whose lengths do not fit, or a chain of IPv6 headers that breaks off; the latter is 59 to the kernel.
"""


def _ambiguous_flows() -> Iterator[Flow]:
    """What the parsers read in two ways would open, where the kernel remembers what ovs-vswitchd said, the way for what is forbidden."""
    for match in AMBIGUOUS_FRAMES:
        yield Flow(Table.AMBIGUOUS, 100, match, refuse(Reason.AMBIGUOUS), Cookie.REFUSE)
    yield Flow(Table.AMBIGUOUS, 0, "", goto(Table.KIND), Cookie.GUARD)
