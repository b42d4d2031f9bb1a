"""What guards, isolation and switching promise, written once more without a table or a flow.

Strategy: each rule stands here as a sentence of plain Python about one frame. A frame
may break several rules at once, and which of them the pipeline meets first is its own
business; so what is known here is the set of rules that a frame breaks. An empty set
means that it must pass, any other that it must not, and that the reason counted is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

from switch import LATER, LOCAL, Frame, parsed_again

from vnetd.model.names import IpPrefix
from vnetd.model.network import Guard, Vlan, VlanMode
from vnetd.model.state import GuestWire, NetworkWiring
from vnetd.pipeline import MeterKind, Reason
from vnetd.pipeline.limits import inbound_meter, outbound_meter

IPV4, IPV6, ARP, RARP = 0x0800, 0x86DD, 0x0806, 0x8035
IEEE_802_3 = 0x05FF
NO_NEXT_HEADER = 59
TAGS = (0x8100, 0x88A8, 0x9100)
BROADCAST = 0xFFFF_FFFF_FFFF
UDP, ICMPV6 = 17, 58
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, SOLICITATION, ADVERTISEMENT, REDIRECT = range(133, 138)
MLD_QUERY, MLD_REPORTS = 130, (131, 132, 143)
PLAIN_ICMPV6 = (1, 2, 3, 4, 128, 129)
NOBODY = IPv6Address("::")
SOLICITED_NODE = ip_network("ff02::1:ff00:0/104")
LINK_SCOPE = ip_network("ff02::/16")


def number_of(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def is_group(mac: int) -> bool:
    return bool(mac >> 40 & 1)


def is_reserved(mac: int) -> bool:
    return mac >> 4 == 0x0180_C200_000


def addresses_of(guest: GuestWire) -> tuple[IpPrefix, ...]:
    """The guest's addresses, and always the link-local one that is made of its MAC by EUI-64."""
    if guest.mac is None:
        return guest.addresses
    mac = number_of(guest.mac) ^ 0x0200_0000_0000
    local = 0xFE80 << 112 | (mac >> 24) << 40 | 0xFFFE << 24 | mac & 0xFF_FFFF
    return (*guest.addresses, IPv6Network(local))


def owns(guest: GuestWire, address: IPv4Address | IPv6Address) -> bool:
    return any(address.version == one.version and address in one for one in addresses_of(guest))


def has_ports(frame: Frame) -> bool:
    """Whether the ports or the ICMPv6 type can be seen, which only a packet's beginning has."""
    return frame.get("nw_frag", 0) != LATER


def hides_what_it_is(frame: Frame) -> bool:
    """UDP without ports or ICMPv6 without a type: they lie where ovs-vswitchd does not look, and the kernel does."""
    udp = is_udp_to(frame, IPV4, 0) or is_udp_to(frame, IPV6, 0)
    return udp or (frame["dl_type"] == IPV6 and frame["nw_proto"] == ICMPV6 and has_ports(frame) and frame["tp_src"] == 0)


def is_ambiguous(frame: Frame) -> bool:
    """What the kernel may read otherwise than ovs-vswitchd."""
    if frame["dl_type"] not in (IPV4, IPV6):
        return frame["dl_type"] == IEEE_802_3
    broken = frame["nw_proto"] == 0 or (frame["dl_type"] == IPV6 and frame["nw_proto"] == NO_NEXT_HEADER)
    return broken or hides_what_it_is(frame)


def is_udp_to(frame: Frame, kind: int, port: int) -> bool:
    return frame["dl_type"] == kind and frame.get("nw_proto") == UDP and has_ports(frame) and frame.get("tp_dst") == port


def holds_group_packet(frame: Frame) -> bool:
    """Whether a frame for many holds a packet for many."""
    to, kind = frame["dl_dst"], frame["dl_type"]
    if kind == IPV4:
        multicast = to >> 23 == 0x01_005E << 1 and IPv4Address(frame["nw_dst"]).is_multicast
        return to == BROADCAST or multicast
    if kind == IPV6:
        return to >> 32 == 0x3333 and IPv6Address(frame["ipv6_dst"]).is_multicast
    return kind in (ARP, RARP) and to == BROADCAST


# What a guest may send.


def wrongs(guest: GuestWire, frame: Frame) -> set[Reason]:
    """Every rule for the sender that the frame breaks."""
    if guest.mac is None and guest.guard is not Guard.NONE:
        return {Reason.FOREIGN_MAC}
    found = set(_tag_wrongs(guest, frame))
    if guest.guard is not Guard.NONE and frame["dl_src"] != number_of(str(guest.mac)):
        found.add(Reason.FOREIGN_MAC)
    if guest.guard is Guard.STRICT:
        strict = set(_packet_wrongs(guest, frame))
        if not guest.addresses and (strict or not _without_address(guest, frame)):
            # That an address is not its own says nothing of a port that has none.
            strict -= {Reason.FOREIGN_IPV4, Reason.FOREIGN_ARP} if frame["dl_type"] != RARP else set()
            strict.add(Reason.UNADDRESSED)
        found |= strict
    if is_reserved(frame["dl_dst"]):
        found.add(Reason.RESERVED)
    return found


def tag_of(frame: Frame) -> int | None:
    """The VLAN ID that the frame says it is in; a priority tag says nothing."""
    return frame["vlan_tci"] & 0xFFF or None if frame.get("vlan_tci") else None


def behind(frame: Frame) -> tuple[int, ...]:
    """The VLAN ID of the tag behind the first one, which the switch does not look into."""
    return (frame["inner"] & 0xFFF,) if frame.get("inner") else ()


def vlan_of(vlan: Vlan, tag: int | None) -> int:
    """The VLAN that a frame with this tag from a port of these VLANs is in; 0 is untagged."""
    if vlan.mode is VlanMode.DOT1Q_TUNNEL:
        return vlan.tag or 0
    return tag or vlan.tag or 0


def _tag_wrongs(guest: GuestWire, frame: Frame) -> Iterator[Reason]:
    tag, vlan = tag_of(frame), guest.vlan
    tunnel = vlan.mode is VlanMode.DOT1Q_TUNNEL
    if tunnel:
        allowed = not vlan.customers or tag in vlan.customers
    else:
        allowed = vlan.mode is not VlanMode.TRUNK if tag is None else tag in vlan.trunks
    if not allowed:
        yield Reason.FOREIGN_VLAN
    # What is taken for untagged must be that; inside the VLANs of its trunk only a strict guest may not use tags of its own.
    if frame["dl_type"] in TAGS and (guest.guard is Guard.STRICT or tunnel or tag is None):
        yield Reason.NESTED_TAG


def _packet_wrongs(guest: GuestWire, frame: Frame) -> Iterator[Reason]:
    kind = frame["dl_type"]
    if kind == ARP:
        yield from _arp_wrongs(guest, frame)
    elif kind == RARP:
        if frame["arp_op"] != 3 or frame["arp_spa"] or frame["arp_tpa"] or frame["dl_dst"] != BROADCAST:
            yield Reason.MALFORMED_ARP
        if not frame["arp_sha"] == frame["arp_tha"] == number_of(str(guest.mac)):
            yield Reason.FOREIGN_ARP
    elif kind == IPV4:
        yield from _ipv4_wrongs(guest, frame)
    elif kind == IPV6:
        yield from _ipv6_wrongs(guest, frame)
    elif kind not in TAGS:
        yield Reason.UNKNOWN_TYPE


def _arp_wrongs(guest: GuestWire, frame: Frame) -> Iterator[Reason]:
    if frame["arp_op"] not in (1, 2):
        yield Reason.MALFORMED_ARP
    probe = frame["arp_op"] == 1 and not frame["arp_spa"]
    claimed = IPv4Address(frame["arp_tpa"] if probe else frame["arp_spa"])
    if frame["arp_sha"] != number_of(str(guest.mac)) or not owns(guest, claimed):
        yield Reason.FOREIGN_ARP


def _is_dhcp(frame: Frame) -> bool:
    """A client that has no address yet (RFC 2131, 4.1)."""
    ends = frame["nw_src"] == 0 and frame["nw_dst"] == 0xFFFF_FFFF and frame["dl_dst"] == BROADCAST
    return ends and not frame.get("nw_frag") and is_udp_to(frame, IPV4, 67) and frame["tp_src"] == 68


def _ipv4_wrongs(guest: GuestWire, frame: Frame) -> Iterator[Reason]:
    if frame["nw_proto"] == 0:
        yield Reason.MALFORMED_IP
    if is_udp_to(frame, IPV4, 68):
        yield Reason.DHCP_SERVER
    if not owns(guest, IPv4Address(frame["nw_src"])) and not _is_dhcp(frame):
        yield Reason.FOREIGN_IPV4


def _ipv6_wrongs(guest: GuestWire, frame: Frame) -> Iterator[Reason]:
    source = IPv6Address(frame["ipv6_src"])
    if frame["nw_proto"] == 0:
        yield Reason.MALFORMED_IP
    if frame.get("nw_frag"):
        yield Reason.IPV6_FRAGMENT
    if is_udp_to(frame, IPV6, 546):
        yield Reason.DHCPV6_SERVER
    if frame["nw_proto"] == ICMPV6 and has_ports(frame):
        yield from _icmpv6_wrongs(guest, frame)
    if not owns(guest, source) and not _speaks_from_nobody(guest, frame):
        yield Reason.FOREIGN_IPV6


def _speaks_from_nobody(guest: GuestWire, frame: Frame) -> bool:
    """Duplicate address detection of an own address, and reports of a listener that has none yet (RFC 3590)."""
    if frame["ipv6_src"] or frame["nw_proto"] != ICMPV6 or not has_ports(frame):
        return False
    to = IPv6Address(frame["ipv6_dst"])
    if frame["tp_src"] == SOLICITATION:
        return to in SOLICITED_NODE and owns(guest, IPv6Address(frame.get("nd_target", 0)))
    return frame["tp_src"] in MLD_REPORTS and to in LINK_SCOPE


def _icmpv6_wrongs(guest: GuestWire, frame: Frame) -> Iterator[Reason]:
    kind = frame["tp_src"]
    if kind == ROUTER_ADVERTISEMENT:
        yield Reason.ROUTER_ADVERTISEMENT
    elif kind == REDIRECT:
        yield Reason.REDIRECT
    elif kind == MLD_QUERY:
        yield Reason.MLD_QUERY
    elif kind not in (*PLAIN_ICMPV6, *MLD_REPORTS, ROUTER_SOLICITATION, SOLICITATION, ADVERTISEMENT):
        yield Reason.ICMPV6_TYPE
    if kind in (ROUTER_SOLICITATION, SOLICITATION, ADVERTISEMENT):
        target = IPv6Address(frame.get("nd_target", 0))
        well_formed = frame["tp_dst"] == 0 and frame["nw_ttl"] == 255
        if not well_formed or (kind == ADVERTISEMENT and not owns(guest, target)):
            yield Reason.DISCOVERY
        if kind == SOLICITATION and not frame["ipv6_src"] and not _speaks_from_nobody(guest, frame):
            yield Reason.DISCOVERY
        if kind == ADVERTISEMENT and not owns(guest, IPv6Address(frame["ipv6_src"])):
            yield Reason.DISCOVERY


def _without_address(guest: GuestWire, frame: Frame) -> bool:
    """What a guest may say that has no address but its link-local one; its packets have been found good already."""
    kind = frame["dl_type"]
    if kind == IPV4:
        return _is_dhcp(frame)
    if kind == IPV6 and frame["nw_proto"] == ICMPV6 and has_ports(frame):
        return frame["tp_src"] in (SOLICITATION, ADVERTISEMENT, *MLD_REPORTS)
    return kind == RARP or (is_udp_to(frame, IPV6, 547) and frame["tp_src"] == 546)


# Who may hear it.


def is_for(guest: GuestWire, frame: Frame) -> bool:
    """Whether a strict guest may be given a frame that was sent to its MAC."""
    kind = frame["dl_type"]
    if kind == IPV4:
        to = IPv4Address(frame["nw_dst"])
        return owns(guest, to) or to.is_multicast or to == IPv4Address("255.255.255.255") or is_udp_to(frame, IPV4, 68)
    if kind == IPV6:
        return owns(guest, IPv6Address(frame["ipv6_dst"])) or IPv6Address(frame["ipv6_dst"]).is_multicast
    return kind in (ARP, RARP)


def is_for_a_host(frame: Frame) -> bool:
    """What can be no packet of a tunnel's, and shows that by itself."""
    kind, protocol = frame["dl_type"], frame.get("nw_proto")
    if kind in (ARP, RARP):
        return True
    if kind not in (IPV4, IPV6) or (kind == IPV6 and frame.get("nw_frag")):
        return False
    spoken = (1, 2, 6, UDP, 50, 89, 103, 112, 132) if kind == IPV4 else (6, UDP, ICMPV6, 50, 89, 103, 112, 132)
    tunnel = protocol == UDP and has_ports(frame) and frame["tp_dst"] in (0, 4789, 6081, 3784, 4784)
    return protocol in spoken and not tunnel and not hides_what_it_is(frame)


def is_in(guest: GuestWire, vlan: int) -> bool:
    alone = guest.vlan.mode in (VlanMode.ACCESS, VlanMode.DOT1Q_TUNNEL)
    return vlan == (guest.vlan.tag or 0) if alone else vlan in guest.vlan.trunks


def toward(guest: GuestWire, vlan: int, load: Load) -> tuple[Tags, Reason | None]:
    """The tags with which a guest gets a frame of this VLAN, and why it must not have it, if so."""
    bare = guest.vlan.mode in (VlanMode.ACCESS, VlanMode.NATIVE_UNTAGGED) and vlan == (guest.vlan.tag or 0)
    nested = (load.kind in TAGS or load.behind) and (bare or guest.guard is Guard.STRICT)
    return load.behind if bare or not vlan else (vlan, *load.behind), Reason.NESTED_TAG if nested else None


def is_for_customer(guest: GuestWire, load: Load) -> bool:
    """Whether a dot1q-tunnel port may have what stands behind its service VLAN's tag: one tag at most, of its customers' VLANs."""
    listed = not guest.vlan.customers or bool(set(load.behind) & set(guest.vlan.customers))
    return listed and load.packet["dl_type"] not in TAGS


# What its own host answers.


def question(frame: Frame) -> IPv4Address | IPv6Address | None:
    """The address that a frame asks everybody about, as a host asks that has one itself; None where it is no such question."""
    if frame["dl_type"] == ARP:
        return IPv4Address(frame["arp_tpa"]) if frame["arp_op"] == 1 and frame["dl_dst"] == BROADCAST else None
    if frame["dl_type"] != IPV6 or frame["nw_proto"] != ICMPV6 or frame["tp_src"] != SOLICITATION:
        return None
    whole = frame["tp_dst"] == 0 and frame["nw_ttl"] == 255 and not frame.get("nw_frag")
    to_many = frame["dl_dst"] >> 32 == 0x3333 and IPv6Address(frame["ipv6_dst"]) in SOLICITED_NODE
    if not whole or not to_many or not frame["ipv6_src"] or not frame["nd_sll"]:
        return None
    return IPv6Address(frame["nd_target"])


Tags = tuple[int, ...]


@dataclass(frozen=True)
class Load:
    """What a frame carries through the bridge besides its VLAN: the tags behind that, its EtherType as it shows, DSCP and mark.

    ``packet`` is the frame as it shows with all tags off.
    """

    behind: Tags
    kind: int
    dscp: int
    mark: int
    packet: Frame


Hearer = tuple[int, Tags, int, int]
"""A port number, and the tags, the DSCP and the mark with which the frame comes out there."""


@dataclass
class Expected:
    """Who hears a frame; and (reasons, of which one is told; on whose account).

    ``meters`` are the numbers of those that it uses; None where it drops for more than its identity and may have used some.
    """

    hearers: list[Hearer] = field(default_factory=list)
    drops: list[tuple[frozenset[Reason], int]] = field(default_factory=list)
    meters: list[int] | None = field(default_factory=list)
    answered: list[Hearer] = field(default_factory=list)
    """The asker, where it hears an answer instead."""


@dataclass
class Reference:
    """One network's bridge, and where it has heard whom: (VLAN, MAC) to port number."""

    wiring: NetworkWiring
    numbers: Mapping[str, int]
    heard: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        usable = [guest for guest in self.wiring.guests if guest.mac is not None or guest.guard is Guard.NONE]
        self.closed = {self.numbers[guest.port]: guest for guest in self.wiring.guests}
        self.guests = {self.numbers[guest.port]: guest for guest in usable}
        self.uplinks = [self.numbers[name] for name in self.wiring.uplinks]
        self.joints = [self.numbers[name] for name in self.wiring.joints]
        self.patches = [self.numbers[name] for name in self.wiring.patches]
        self.pools = {pool.name: pool for pool in self.wiring.pools}

    def send(self, frame: Frame) -> Expected:
        """What must become of one frame."""
        port = frame["in_port"]
        guest = self.closed.get(port)
        if guest is None and port not in (*self.uplinks, *self.joints, *self.patches, LOCAL):
            return Expected(drops=[(frozenset({Reason.UNWIRED}), port)])
        if guest is not None and (found := wrongs(guest, frame) | self._ambiguous(guest, frame)):
            strange = found & {Reason.FOREIGN_MAC, Reason.FOREIGN_VLAN}
            return Expected(drops=[(frozenset(found), port)], meters=[] if strange else None)
        tag = tag_of(frame)
        vlan = vlan_of(guest.vlan, tag) if guest else tag or 0
        load = self._load(guest, frame)
        if is_group(frame["dl_src"]) or is_reserved(frame["dl_dst"]):
            return Expected(meters=self._meters(guest, frame, flooded=False))
        flooded = (vlan, frame["dl_dst"]) not in self.heard
        expected = self._switched(frame, vlan, guest, load)
        if port != LOCAL or self.wiring.host or self.uplinks:
            self.heard[vlan, frame["dl_src"]] = port
        expected.hearers = expected.answered or [hearer for hearer in expected.hearers if hearer[0] != port]
        inbound = [number for hearer in expected.hearers for number in self._shared(self.guests.get(hearer[0]), inbound=True)]
        expected.meters = [*self._meters(guest, frame, flooded), *inbound]
        return expected

    def _ambiguous(self, guest: GuestWire, frame: Frame) -> set[Reason]:
        """Where Open vSwitch looks at more than one tag, it shows what stands behind a second one, too."""
        shown = parsed_again({**frame, "vlan_tci": 0}) if self.wiring.hidden_tags else frame
        return {Reason.AMBIGUOUS} if guest.guard is not Guard.NONE and is_ambiguous(shown) else set()

    def _load(self, guest: GuestWire | None, frame: Frame) -> Load:
        tag, inner = tag_of(frame), behind(frame)
        if guest is not None and guest.vlan.mode is VlanMode.DOT1Q_TUNNEL and tag is not None:
            inner = (tag,)
        packet = parsed_again({**frame, "vlan_tci": 0})
        dscp = packet.get("ip_dscp", 0)
        shown = packet if self.wiring.hidden_tags else frame
        if guest is not None and guest.dscp is not None and shown["dl_type"] in (IPV4, IPV6):
            dscp = guest.dscp
        # The tunnel bridge counts for the sender what no tunnel carries.
        mark = self._mark(frame, guest) | frame["in_port"] << 16
        return Load(inner, frame["dl_type"], dscp, mark, packet)

    def _shared(self, guest: GuestWire | None, inbound: bool) -> list[int]:
        """The numbers of the shared meters that count for a guest in one direction."""
        pools = [self.pools[name] for name in (guest.pools if guest else ()) if name in self.pools]
        wanted = [(pool, pool.inbound if inbound else pool.outbound) for pool in pools]
        return [inbound_meter(pool) if inbound else outbound_meter(pool) for pool, meter in wanted if meter is not None]

    def _meters(self, guest: GuestWire | None, frame: Frame, flooded: bool) -> list[int]:
        """A guest's limits that count for a frame: ARP and neighbour discovery have their own, and none for being flooded."""
        if guest is None:
            return []
        discovery = ROUTER_SOLICITATION, SOLICITATION, ADVERTISEMENT
        icmpv6 = frame["dl_type"] == IPV6 and frame["nw_proto"] == ICMPV6 and has_ports(frame)
        neighbour = frame["dl_type"] in (ARP, RARP) or (icmpv6 and frame["tp_src"] in discovery)
        limits = (
            (MeterKind.BANDWIDTH, guest.meter, True),
            (MeterKind.PACKETS, guest.packets, True),
            (MeterKind.NEIGHBOUR, guest.neighbour, neighbour),
            (MeterKind.FLOOD, guest.flood, flooded and not neighbour),
        )
        own = [kind.number(frame["in_port"]) for kind, meter, counts in limits if meter is not None and counts]
        return [*own, *self._shared(guest, inbound=False)]

    def _mark(self, frame: Frame, guest: GuestWire | None) -> int:
        """1 where the frame comes from an isolated port, of this host or of another one."""
        if guest is not None:
            return int(guest.isolated)
        return frame.get("pkt_mark", 0) if frame["in_port"] in self.patches else 0

    def _carried(self, port: int, vlan: int, load: Load) -> Hearer:
        """A frame as it leaves for elsewhere."""
        return port, (vlan, *load.behind) if vlan else load.behind, load.dscp, load.mark if port in self.patches else 0

    def _switched(self, frame: Frame, vlan: int, guest: GuestWire | None, load: Load) -> Expected:
        expected = Expected()
        if frame["in_port"] == LOCAL and not self.wiring.host:
            expected.hearers = [self._carried(number, vlan, load) for number in self.uplinks]
        elif (found := self.heard.get((vlan, frame["dl_dst"]))) is not None:
            self._to_one(expected, found, frame, vlan, load)
        elif guest is not None and self._is_answered(frame, vlan, guest, load):
            tags, wrong = toward(guest, vlan, load)
            assert wrong is None, "what has a second tag asks for nothing that can be seen"
            expected.answered = [(frame["in_port"], tags, load.dscp, 0)]
        elif is_group(frame["dl_dst"]) and guest is not None and guest.guard is Guard.STRICT and not holds_group_packet(frame):
            expected.drops.append((frozenset({Reason.MISCAST}), frame["in_port"]))
        else:
            self._to_many(expected, frame, vlan, load)
        return expected

    def _is_answered(self, frame: Frame, vlan: int, guest: GuestWire, load: Load) -> bool:
        """Whether the host itself says who has an address: to a guest that is known, of another's address, in the VLAN where that is."""
        asked = question(frame)
        if asked is None or guest.guard is Guard.NONE or guest.vlan.mode is VlanMode.DOT1Q_TUNNEL or load.mark & 1 or load.behind:
            return False
        if any(one.num_addresses == 1 and asked in one for one in addresses_of(guest) if one.version == asked.version):
            return False
        known = [one for one in self.wiring.answers if one.address == asked]
        here = [one for one in known if one.vlan == vlan] or [one for one in known if one.vlan is None]
        return bool(here) and (here[0].vlan is not None or (vlan, number_of(here[0].mac)) in self.heard)

    def _to_one(self, expected: Expected, port: int, frame: Frame, vlan: int, load: Load) -> None:
        if port == LOCAL:
            self._to_host(expected, frame, vlan, load, asked=True)
        elif port not in self.guests:
            expected.hearers.append(self._carried(port, vlan, load))
        else:
            self._to_guest(expected, port, frame, vlan, load)

    def _to_guest(self, expected: Expected, port: int, frame: Frame, vlan: int, load: Load) -> None:
        guest = self.guests[port]
        if guest.isolated and load.mark & 1:
            expected.drops.append((frozenset({Reason.ISOLATED}), frame["in_port"]))
            return
        tunnel = guest.vlan.mode is VlanMode.DOT1Q_TUNNEL
        if tunnel and not is_for_customer(guest, load):
            return
        tags, wrong = (load.behind, None) if tunnel else toward(guest, vlan, load)
        if wrong is not None:
            expected.drops.append((frozenset({wrong}), port))
        elif guest.guard is Guard.STRICT and not is_for(guest, load.packet if tunnel else frame):
            expected.drops.append((frozenset({Reason.NOT_ADDRESSED}), port))
        else:
            expected.hearers.append((port, tags, load.dscp, 0))

    def _to_host(self, expected: Expected, frame: Frame, vlan: int, load: Load, asked: bool) -> None:
        """The bridge's own port hears uplinks always and others where the network lets it; ``asked``: the frame is for it alone."""
        if frame["in_port"] == LOCAL:
            return
        tunnel = (guest := self.guests.get(frame["in_port"])) is not None and guest.vlan.mode is VlanMode.DOT1Q_TUNNEL
        refused = not self.wiring.host or not is_for_a_host(frame) or (tunnel and bool(load.behind))
        if frame["in_port"] in self.uplinks or not refused:
            expected.hearers.append(self._carried(LOCAL, vlan, load))
        elif self.wiring.host or asked:
            expected.drops.append((frozenset({Reason.HOST}), frame["in_port"]))

    def _to_many(self, expected: Expected, frame: Frame, vlan: int, load: Load) -> None:
        if self.wiring.host or self.uplinks:
            self._to_host(expected, frame, vlan, load, asked=False)
        expected.hearers += [self._carried(number, vlan, load) for number in (*self.uplinks, *self.patches, *self.joints)]
        members = [(number, guest) for number, guest in self.guests.items() if is_in(guest, vlan)]
        for number, guest in members:
            tunnel = guest.vlan.mode is VlanMode.DOT1Q_TUNNEL
            judged = guest.guard is not Guard.STRICT or holds_group_packet(load.packet if tunnel else frame)
            hears = judged if is_group(frame["dl_dst"]) else guest.guard is Guard.NONE
            if not hears or (guest.isolated and load.mark & 1):
                continue
            if tunnel and is_for_customer(guest, load):
                expected.hearers.append((number, load.behind, load.dscp, 0))
            elif not tunnel:
                tags, wrong = toward(guest, vlan, load)
                expected.hearers += [] if wrong else [(number, tags, load.dscp, 0)]
        meant = [number for number, guest in members if guest.guard is not Guard.NONE and number_of(str(guest.mac)) == frame["dl_dst"]]
        if meant:
            self._to_guest(expected, meant[0], frame, vlan, load)
