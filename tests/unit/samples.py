"""Frames and wirings to try a policy with, drawn so that most of them stand just on one side of a rule or the other.

Strategy: a frame begins as one that its sender may well send, then a few of its fields
become something else out of a small pool: another guest's address, nobody's, a group's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, ip_address, ip_network

from fakes import mac_of
from hypothesis import strategies as st
from reference import ARP, BROADCAST, ICMPV6, IPV4, IPV6, RARP, UDP, addresses_of, number_of
from switch import FIRST, LATER, LOCAL, Frame

from vnetd.model.network import UNTAGGED, Guard, Vlan, VlanMode
from vnetd.model.state import Answer, GuestWire, Meter, NetworkWiring, Pool

LIMIT = Meter(8, 128)
PACKETS = Meter(100, 200, "pktps")
POOLS_SHARED = (Pool("lan/web", 1, LIMIT, LIMIT), Pool("lan/db", 2, None, LIMIT), Pool("lan", 3, LIMIT, None))

VLANS = (
    UNTAGGED,
    Vlan(VlanMode.ACCESS, 10),
    Vlan(VlanMode.ACCESS, 20),
    Vlan(VlanMode.TRUNK, None, (10, 20)),
    Vlan(VlanMode.TRUNK, None, (20, 30)),
    Vlan(VlanMode.NATIVE_TAGGED, 10, (10, 20)),
    Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10, 20)),
    Vlan(VlanMode.DOT1Q_TUNNEL, 30, (), (10, 20), 0x88A8),
    Vlan(VlanMode.DOT1Q_TUNNEL, 30, (), (10,), 0x88A8),
    Vlan(VlanMode.DOT1Q_TUNNEL, 30, (), (), 0x8100),
)
ADDRESSES = tuple(
    map(ip_network, ("10.0.0.1", "10.0.0.2", "10.0.1.0/24", "2001:db8::1", "2001:db8::2", "2001:db8:1::/64", "fe80::5054:ff:fe00:1"))
)
MACS = [number_of(mac_of(number)) for number in (1, 2, 3, 9)]
RESERVED = [0x0180_C200_0000, 0x0180_C200_000E]
GROUPS = [BROADCAST, *RESERVED, 0x0180_C200_0010, 0x0100_5E00_0001, 0x0100_5E80_0001, 0x3333_0000_0001, 0x3333_FF00_0001]
_IPV4 = "10.0.0.1 10.0.0.2 10.0.0.3 10.0.1.0 10.0.1.255 10.0.2.0 0.0.0.0 255.255.255.255 224.0.0.1 239.255.255.250 240.0.0.1 10.0.0.255"
_IPV6 = "2001:db8::1 2001:db8::2 2001:db8:1::7 2001:db8:2:: :: fe80::1 fe80::5054:ff:fe00:2 "
_IPV6 += "ff02::1 ff02::16 ff02::1:ff00:1 ff02::1:fe00:1 ff05::2"
IPV4_POOL = [int(ip_address(one)) for one in _IPV4.split()]
IPV6_POOL = [int(ip_address(one)) for one in _IPV6.split()]
ANSWERED = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.255", "2001:db8::1", "2001:db8::2", "2001:db8:1::7")
PORTS = [0, 53, 67, 68, 546, 547, 3784, 4784, 4789, 6081]


@st.composite
def guests(draw: st.DrawFn) -> tuple[GuestWire, ...]:
    """Up to five guests, some with a MAC in common, as they may have in different VLANs."""
    found = []
    for at in range(draw(st.integers(1, 5))):
        addresses = draw(st.lists(st.sampled_from(ADDRESSES), max_size=3, unique=True))
        found.append(
            GuestWire(
                port=f"vnet{at}",
                mac=mac_of(draw(st.integers(1, 3))) if draw(st.integers(0, 9)) else None,
                vlan=draw(st.sampled_from(VLANS)),
                guard=draw(st.sampled_from((Guard.STRICT, Guard.STRICT, Guard.MAC, Guard.NONE))),
                meter=draw(st.sampled_from((None, LIMIT))),
                addresses=tuple(addresses),
                isolated=draw(st.booleans()),
                flood=draw(st.sampled_from((None, PACKETS))),
                neighbour=draw(st.sampled_from((None, PACKETS))),
                packets=draw(st.sampled_from((None, PACKETS))),
                dscp=draw(st.sampled_from((None, 0, 46))),
                pools=draw(st.sampled_from(((), ("lan",), ("lan/web", "lan"), ("lan/db", "lan")))),
            )
        )
    return tuple(found)


@st.composite
def answers(draw: st.DrawFn, vlans: Sequence[int | None] = (None, 0, 10, 20, 30), least: int = 0) -> tuple[Answer, ...]:
    """Addresses that frames ask for, each bound to one MAC in a VLAN, or in any."""
    keys = st.tuples(st.sampled_from(ANSWERED), st.sampled_from(vlans))
    places = draw(st.dictionaries(keys, st.integers(1, 3), min_size=least, max_size=12))
    return tuple(Answer(mac_of(mac), ip_address(address), vlan) for (address, vlan), mac in places.items())


@st.composite
def wirings(draw: st.DrawFn) -> NetworkWiring:
    found = draw(guests())
    return NetworkWiring(
        guests=found,
        uplinks=draw(st.sampled_from(((), ("eth1",), ("eth1", "eth2")))),
        patches=draw(st.sampled_from(((), ("tun-a",)))),
        host=draw(st.booleans()),
        isolating=draw(st.booleans()) or any(guest.isolated for guest in found),
        joints=draw(st.sampled_from(((), ("join-a",)))),
        pools=draw(st.sampled_from(((), POOLS_SHARED))),
        answers=draw(answers()),
        hidden_tags=draw(st.booleans()),
    )


def numbers_of(wiring: NetworkWiring) -> dict[str, int]:
    """A number for each port; there is one more, which nobody claims."""
    names = (*wiring.uplinks, *wiring.patches, *wiring.joints, *(guest.port for guest in wiring.guests), "my-port")
    return {name: number for number, name in enumerate(names, 1)}


def frames(wiring: NetworkWiring, kinds: Sequence[Callable[[int, int, int], Frame]] = ()) -> st.SearchStrategy[Frame]:
    """A frame from any port of the bridge; from guests mostly. One of ``kinds``, or else of any kind."""
    numbers = numbers_of(wiring)
    others = [*wiring.uplinks, *wiring.patches, *wiring.joints, "my-port"]
    senders: list[tuple[int, GuestWire | None]] = [(numbers[guest.port], guest) for guest in wiring.guests] * 3
    senders += [(numbers[name], None) for name in others] + [(LOCAL, None)]
    patches = [numbers[name] for name in wiring.patches if wiring.isolating] + [numbers[name] for name in wiring.joints]
    return st.sampled_from(senders).flatmap(lambda one: _frames_from(*one, kinds or KINDS, marked=one[0] in patches))


@st.composite
def _frames_from(
    draw: st.DrawFn, port: int, guest: GuestWire | None, kinds: Sequence[Callable[[int, int, int], Frame]], marked: bool
) -> Frame:
    mac = number_of(guest.mac) if guest and guest.mac else draw(st.sampled_from(MACS))
    own4 = [one for one in (guest.addresses if guest else ()) if isinstance(one, IPv4Network)]
    own6 = [one for one in (addresses_of(guest) if guest else ()) if one.version == 6]
    v4 = int(draw(st.sampled_from(own4))[-1]) if own4 else draw(st.sampled_from(IPV4_POOL))
    v6 = int(draw(st.sampled_from(own6))[0]) if own6 else draw(st.sampled_from(IPV6_POOL))
    frame = draw(st.sampled_from(kinds))(mac, v4, v6)
    frame["dl_dst"] = frame.get("dl_dst") or draw(st.sampled_from([*MACS, *MACS, *GROUPS]))
    frame["in_port"] = port
    _put_tags(draw, frame, guest)
    if marked:
        frame["pkt_mark"] = draw(st.integers(0, 1))
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2, 3)))):
        name = draw(st.sampled_from([name for name in frame if name in POOLS]))
        frame[name] = draw(st.sampled_from(POOLS[name]))
    return as_seen(frame)


def _put_tags(draw: st.DrawFn, frame: Frame, guest: GuestWire | None) -> None:
    fitting = [0x1000 | one for one in (*guest.vlan.trunks, *guest.vlan.customers)] if guest else []
    fitting = fitting or [0]
    frame["vlan_tci"] = draw(st.sampled_from([*fitting, *fitting, *fitting, 0, 0x1000, 0x100A, 0x1014, 0x101E]))
    # What a carrier brings behind a priority tag, nobody has promised anything about.
    if frame["vlan_tci"] and not draw(st.integers(0, 3)) and (guest is not None or frame["vlan_tci"] != 0x1000):
        frame["inner"] = draw(st.sampled_from((0x100A, 0x1014)))


def as_seen(frame: Frame) -> Frame:
    """The frame as Open vSwitch presents it: without fields of another protocol, or of what it cannot look into."""
    frame = {"ip_dscp": 10, **frame}
    fixed = {name: frame.get(name, 0) for name in ("in_port", "pkt_mark", "dl_src", "dl_dst", "vlan_tci", "inner")}
    if not frame.get("inner"):
        return {**fixed, "second": 0, **_packet(frame)}
    return {**fixed, "second": 0, "dl_type": 0x8100, **{f"~{name}": value for name, value in _packet(frame).items()}}


def _packet(frame: Frame) -> Frame:
    """What shows of a frame behind its tags."""
    kind = frame["dl_type"]
    names = {
        IPV4: ("nw_src", "nw_dst", "nw_proto", "nw_ttl", "nw_frag", "tp_src", "tp_dst", "ip_dscp"),
        IPV6: ("ipv6_src", "ipv6_dst", "nw_proto", "nw_ttl", "nw_frag", "tp_src", "tp_dst", "nd_target", "nd_sll", "ip_dscp"),
        ARP: ("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"),
        RARP: ("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"),
    }.get(kind, ())
    seen = {"dl_type": kind, **{name: frame.get(name, 0) for name in names}}
    if seen.get("nw_frag") == LATER:
        seen["tp_src"] = seen["tp_dst"] = 0
        # The header of a later fragment is all that is seen of an IPv6 packet.
        seen["nw_proto"] = 44 if kind == IPV6 else seen["nw_proto"]
    if "nd_target" in seen and not (seen["nw_proto"] == ICMPV6 and seen["tp_src"] in (135, 136) and seen["tp_dst"] == 0):
        seen["nd_target"] = seen["nd_sll"] = 0
    return seen


def _packet4(mac: int, v4: int, proto: int, to: int, **more: int) -> Frame:
    return {"dl_src": mac, "dl_type": IPV4, "nw_src": v4, "nw_dst": to, "nw_proto": proto, "nw_ttl": 64, "nw_frag": 0, **more}


def _packet6(mac: int, v6: int, proto: int, to: str, **more: int) -> Frame:
    addresses = {"dl_src": mac, "dl_type": IPV6, "ipv6_src": v6, "ipv6_dst": int(ip_address(to))}
    return {**addresses, "nw_proto": proto, "nw_ttl": 255, "nw_frag": 0, **more}


def _icmpv6(kind: int, to: str, dl_dst: int) -> Callable[[int, int, int], Frame]:
    def make(mac: int, v4: int, v6: int) -> Frame:
        return _packet6(mac, v6, ICMPV6, to, tp_src=kind, tp_dst=0, nd_target=v6, nd_sll=mac, dl_dst=dl_dst)

    return make


def _arp(mac: int, v4: int, v6: int) -> Frame:
    return {"dl_src": mac, "dl_type": ARP, "dl_dst": BROADCAST, "arp_op": 1, "arp_spa": v4, "arp_tpa": v4, "arp_sha": mac, "arp_tha": 0}


def _rarp(mac: int, v4: int, v6: int) -> Frame:
    return {"dl_src": mac, "dl_type": RARP, "dl_dst": BROADCAST, "arp_op": 3, "arp_spa": 0, "arp_tpa": 0, "arp_sha": mac, "arp_tha": mac}


def _asks(address: str) -> Callable[[int, int, int], Frame]:
    """A question to everybody about an address."""
    number = int(ip_address(address))

    def make(mac: int, v4: int, v6: int) -> Frame:
        if number <= 0xFFFF_FFFF:
            return {**_arp(mac, v4, v6), "arp_tpa": number}
        return {**_icmpv6(135, "ff02::1:ff00:1", 0x3333_FF00_0001)(mac, v4, v6), "nd_target": number}

    return make


ASKING = tuple(map(_asks, ANSWERED))
KINDS: Sequence[Callable[[int, int, int], Frame]] = (
    _arp,
    _arp,
    lambda mac, v4, v6: {**_arp(mac, v4, v6), "arp_spa": 0},
    lambda mac, v4, v6: {**_arp(mac, v4, v6), "arp_op": 2, "dl_dst": MACS[1]},
    _rarp,
    lambda mac, v4, v6: _packet4(mac, v4, 6, IPV4_POOL[1], tp_src=1234, tp_dst=80),
    lambda mac, v4, v6: _packet4(mac, v4, UDP, IPV4_POOL[0], tp_src=1234, tp_dst=53),
    lambda mac, v4, v6: _packet4(mac, v4, 47, IPV4_POOL[3], tp_src=0, tp_dst=0, dl_dst=BROADCAST),
    lambda mac, v4, v6: _packet4(mac, v4, UDP, IPV4_POOL[8], tp_src=1234, tp_dst=4789, dl_dst=0x0100_5E00_0001),
    lambda mac, v4, v6: _packet4(mac, 0, UDP, 0xFFFF_FFFF, tp_src=68, tp_dst=67, dl_dst=BROADCAST),
    lambda mac, v4, v6: _packet4(mac, v4, UDP, IPV4_POOL[0], tp_src=67, tp_dst=68),
    lambda mac, v4, v6: _packet6(mac, v6, UDP, "2001:db8::2", tp_src=1234, tp_dst=53),
    lambda mac, v4, v6: _packet6(mac, v6, UDP, "ff02::1:2", tp_src=546, tp_dst=547, dl_dst=0x3333_0001_0002),
    lambda mac, v4, v6: _packet6(mac, v6, 6, "2001:db8::1", tp_src=1234, tp_dst=80),
    _icmpv6(135, "ff02::1:ff00:1", 0x3333_FF00_0001),
    lambda mac, v4, v6: {**_icmpv6(135, "ff02::1:ff00:1", 0x3333_FF00_0001)(mac, v4, v6), "ipv6_src": 0},
    _icmpv6(136, "ff02::1", 0x3333_0000_0001),
    _icmpv6(136, "2001:db8::2", MACS[1]),
    _icmpv6(133, "ff02::2", 0x3333_0000_0002),
    _icmpv6(134, "ff02::1", 0x3333_0000_0001),
    _icmpv6(143, "ff02::16", 0x3333_0000_0016),
    lambda mac, v4, v6: {**_icmpv6(143, "ff02::16", 0x3333_0000_0016)(mac, v4, v6), "ipv6_src": 0},
    _icmpv6(128, "2001:db8::1", 0),
    lambda mac, v4, v6: {"dl_src": mac, "dl_type": 0x88CC},
    *ASKING[::3],
)
POOLS: dict[str, Sequence[int]] = {
    "dl_src": [*MACS, *GROUPS[:1], MACS[0] ^ 0x0000_0100_0000],
    "dl_dst": [*MACS, *GROUPS],
    "dl_type": [IPV4, IPV6, ARP, RARP, 0x8100, 0x88A8, 0x9100, 0x88CC, 0x0000],
    "nw_src": IPV4_POOL,
    "nw_dst": IPV4_POOL,
    "arp_spa": IPV4_POOL,
    "arp_tpa": IPV4_POOL,
    "ipv6_src": IPV6_POOL,
    "ipv6_dst": IPV6_POOL,
    "nd_target": IPV6_POOL,
    "nd_sll": [0, *MACS],
    "nw_proto": [0, 1, 6, UDP, 44, 47, ICMPV6],
    "nw_frag": [0, FIRST, LATER],
    "nw_ttl": [1, 64, 254, 255],
    "tp_src": [*PORTS, *range(1, 5), *range(127, 138), 143, 200],
    "tp_dst": [*PORTS, 1],
    "arp_op": [0, 1, 2, 3, 4],
    "arp_sha": MACS,
    "arp_tha": [0, *MACS],
}
