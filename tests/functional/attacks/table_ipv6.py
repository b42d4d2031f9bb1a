"""IPv6: whose address, chains of extension headers, fragments, DHCPv6, and groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    RouterAlert,
)  # fmt: skip
from scapy.packet import Packet, Raw

from attacks.cast import RED
from attacks.frames import (
    BROADCAST,
    IPV6,
    S1,
    S2,
    V1,
    V2,
    P,
    ether,
    group4,
    group6,
    ip6,
    payload,
    tcp,
    udp,
)  # fmt: skip
from attacks.rows import Row, all_hear, drop, table, to

FOREIGN, MALFORMED, SERVER = "foreign IPv6 source", "malformed IP", "DHCPv6 server"
GROUP = "unicast packet in a multicast frame"
PIECE = "IPv6 fragment"

SOURCES = {
    "nobody": "::", "its neighbour": V1.ip6, "the other host's guest": V2.ip6, "its neighbour's link-local one": V1.link_local,
    "a router": "fe80::1", "loopback": "::1", "all nodes": "ff02::1", "its own mapped": "::ffff:10.0.0.1",
    "its own compatible": "::10.0.0.1",
    "its own, last bit turned": "2001:db8:1::", "its own, first bit turned": "a001:db8:1::1", "its own in another net": "2001:db8:2::1",
    "its own identifier in another net": "2001:db8:1::5054:ff:fea7:1", "its link-local one with another prefix": "fe80::1:5054:ff:fea7:1",
    "a link-local one without the turned bit": "fe80::5254:ff:fea7:1", "site-local": "fec0::5054:ff:fea7:1", "unique local": "fd00::1",
    "the host": "2001:db8::b", "6to4": "2002:a00:1::1", "NAT64": "64:ff9b::a00:1",
}  # fmt: skip


def echo(size: int = 24) -> Packet:
    return ICMPv6EchoRequest(data=bytes(payload(size)))


def options(kind: type[Packet] = IPv6ExtHdrDestOpt, size: int = 4) -> Packet:
    return kind(options=[PadN(optdata=bytes(size))])


def authentication(next_header: int) -> Raw:
    """RFC 4302: an AH of 24 bytes."""
    return Raw(bytes([next_header, 4, 0, 0]) + bytes(20))


def segment_routing(kind: int = 2) -> Packet:
    return IPv6ExtHdrRouting(type=kind, segleft=0, addresses=["2001:db8:1::99"])


def router_alert() -> Packet:
    return IPv6ExtHdrHopByHop(options=[RouterAlert()])


WRAPPINGS: dict[str, Callable[[], Packet]] = {
    "hop-by-hop options": lambda: options(IPv6ExtHdrHopByHop),
    "a router alert": router_alert,
    "destination options": options,
    "long destination options": lambda: options(size=250),
    "a routing header": segment_routing,
    "options, routing and options": lambda: options(IPv6ExtHdrHopByHop) / segment_routing() / options(),
    "eight destination options": lambda: options() / options() / options() / options() / options() / options() / options() / options(),
}
"""Extension headers that a guest reads through, and so the switch must."""


@table("foreign IPv6 sources")
def sources() -> list[Row]:
    rows = []
    for words, src in SOURCES.items():
        rows.append(drop(f"UDP from {words}", ether(V1.mac, ip6(V1.ip6, udp(), src=src)), FOREIGN))
        rows.append(drop(f"TCP to the other host from {words}", ether(V2.mac, ip6(V2.ip6, tcp(), src=src)), FOREIGN))
        rows.append(drop(f"ping to all from {words}", ether(group6("ff02::1"), ip6("ff02::1", echo(), src=src)), FOREIGN))
        rows.append(drop(f"multicast from {words}", ether(group6("ff05::2"), ip6("ff05::2", udp(), src=src)), FOREIGN))
    for words, wrapping in WRAPPINGS.items():
        rows.append(drop(f"a neighbour's UDP behind {words}", ether(V1.mac, ip6(V1.ip6, wrapping() / udp(), src=V2.ip6)), FOREIGN))
        rows.append(drop(f"nobody's UDP behind {words}", ether(V1.mac, ip6(V1.ip6, wrapping() / udp(), src="::")), FOREIGN))
    for kind in (0, 4, 41, 43, 47, 50, 51, 59, 60, 89, 132, 135, 139, 140, 253, 255):
        # Content that is no header of its kind may also be counted as malformed, where the switch reads that kind.
        frame = ether(V1.mac, ip6(V1.ip6, payload(40), src=V2.ip6, nh=kind))
        rows.append(drop(f"next header {kind} from a neighbour", frame, FOREIGN, MALFORMED))
    for words, fields in (("first", {"m": 1}), ("middle", {"m": 1, "offset": 40}), ("last", {"offset": 80}), ("only", {})):
        for who, src in (("a neighbour", V2.ip6), ("nobody", "::")):
            packet = ip6(V1.ip6, IPv6ExtHdrFragment(nh=17, id=7, **fields) / payload(64), src=src)
            rows.append(drop(f"the {words} fragment from {who}", ether(V1.mac, packet), PIECE if fields else FOREIGN))
    return rows


@table("IPv6 headers that cannot be read")
def malformed() -> list[Row]:
    whole = bytes(ip6(V1.ip6, udp()))
    rows = [drop(f"cut off at {size}", ether(V1.mac, whole[:size], kind=IPV6), MALFORMED, FOREIGN) for size in (0, 1, 8, 24, 39)]
    broken: dict[str, Packet] = {}
    for words, kind in (("hop-by-hop options", 0), ("routing header", 43), ("destination options", 60), ("authentication header", 51)):
        broken[f"{words} of nothing"] = ip6(V1.ip6, Raw(b""), nh=kind)
        broken[f"{words} of one byte"] = ip6(V1.ip6, Raw(b"\x3a"), nh=kind)
        broken[f"{words} longer than the packet"] = ip6(V1.ip6, Raw(b"\x11\xff" + bytes(6) + bytes(payload())), nh=kind)
    broken |= {
        "fragment header cut off": ip6(V1.ip6, Raw(b"\x11\0\0"), nh=44),
        "fragment header of nothing": ip6(V1.ip6, Raw(b""), nh=44),
        "first fragment that ends in its options": fragment(60, b"\x3a\x0f" + bytes(6) + bytes(payload())),
        "first fragment that ends before its options": fragment(60, b""),
        "first fragment that ends in a routing header": fragment(43, b"\x3a\x0f\x02\0" + bytes(4) + bytes(payload())),
        "first fragment that ends in an authentication header": fragment(51, b"\x3a\x30" + bytes(6) + bytes(payload())),
        "first fragment that ends in hop-by-hop options": fragment(0, b"\x3a\x0f" + bytes(6) + bytes(payload())),
        "options, then a first fragment that ends in options": ip6(
            V1.ip6, options() / IPv6ExtHdrFragment(nh=60, m=1, id=5) / Raw(b"\x3a\x0f" + bytes(6) + bytes(payload())),
        ),
        "options behind options that are cut off": ip6(V1.ip6, IPv6ExtHdrDestOpt(nh=60, options=[PadN(optdata=bytes(4))]) / Raw(b"\x3a")),
    }  # fmt: skip
    rows += [drop(words, ether(V1.mac, packet), MALFORMED) for words, packet in broken.items()]
    rows += [
        drop(f"{words}, to all", ether(group6("ff02::1"), _towards(packet, "ff02::1")), MALFORMED)
        for words, packet in list(broken.items())[-6:]
    ]
    rows += [
        drop("payload longer than the frame", ether(V1.mac, ip6(V1.ip6, udp(), plen=9000)), MALFORMED, FOREIGN),
        drop("zeros", ether(V1.mac, bytes(46), kind=IPV6), MALFORMED, FOREIGN),
        drop("ones", ether(V1.mac, b"\xff" * 60, kind=IPV6), MALFORMED, FOREIGN),
    ]
    return rows


def fragment(kind: int, content: bytes, **fields: Any) -> Packet:
    """A first fragment, unless the fields say otherwise."""
    return ip6(V1.ip6, IPv6ExtHdrFragment(nh=kind, id=77, **{"m": 1, **fields}) / Raw(content))


def _towards(packet: Packet, dst: str) -> Packet:
    copy = packet.copy()
    copy.dst = dst
    return copy


@table("DHCPv6")
def dhcp() -> list[Row]:
    relays = "ff02::1:2"

    def solicit(src: str = P.link_local, dst: str = relays, mac: str = group6(relays), sport: int = 546, dport: int = 547) -> bytes:
        return ether(mac, ip6(dst, udp(sport, dport, 64), src=src, hlim=1))

    rows = [
        drop(f"client's from {words}", solicit(src=src), FOREIGN)
        for words, src in (("nobody", "::"), ("a neighbour", V1.link_local), ("a neighbour's address", V1.ip6), ("a router", "fe80::1"))
    ]
    for sport in (547, 546, 67, 53, 0, 65535):
        for words, src in (("its link-local", P.link_local), ("its own", P.ip6), ("a neighbour's", V2.link_local), ("no", "::")):
            reasons = (SERVER,) if src in (P.link_local, P.ip6) else (SERVER, FOREIGN)
            frame = solicit(src=src, dst=V1.link_local, mac=V1.mac, sport=sport, dport=546)
            rows.append(drop(f"server's from {words} address and port {sport}", frame, *reasons))
    for words, dst, mac in (
        ("the other host", V2.link_local, V2.mac), ("a strict guest", S1.link_local, S1.mac),
        ("a strict guest on the other host", S2.ip6, S2.mac),
        ("all nodes", "ff02::1", group6("ff02::1")), ("a site's group", "ff05::1:3", group6("ff05::1:3")),
        ("the relays", relays, group6(relays)),
    ):  # fmt: skip
        rows.append(drop(f"server's to {words}", solicit(dst=dst, mac=mac, sport=547, dport=546), SERVER))
    for words, wrapping in WRAPPINGS.items():
        packet = ip6(V1.link_local, wrapping() / udp(547, 546, 64), src=P.link_local)
        rows.append(drop(f"server's behind {words}", ether(V1.mac, packet), SERVER))
    behind = ip6(V1.link_local, authentication(17) / udp(547, 546, 64), src=P.link_local, nh=51)
    rows += [
        drop("server's behind an authentication header", ether(V1.mac, behind), SERVER),
        drop("server's in a first fragment", ether(V1.mac, fragment(17, bytes(udp(547, 546, 64)))), PIECE),
        drop("server's in an only fragment", ether(V1.mac, fragment(17, bytes(udp(547, 546, 64)), m=0)), SERVER),
    ]
    rows += [
        all_hear("client's to the relays", solicit(), may=RED),
        all_hear("client's to the relays from its address", solicit(src=P.ip6), may=RED),
        all_hear("client's to the servers", solicit(dst="ff05::1:3", mac=group6("ff05::1:3")), may=RED),
    ]
    for one in (V1, V2, S1, S2):
        rows.append(to(f"client's to {one.nick} alone", solicit(dst=one.ip6, mac=one.mac), one.nick))
    return rows


@table("IPv6 in frames of another kind")
def groups() -> list[Row]:
    rows = []
    for mac in (
        "33:33:00:00:00:01",
        group6(V1.ip6),
        BROADCAST,
        "01:00:5e:00:00:01",
        "01:00:0c:cc:cc:cc",
        "03:00:00:00:00:01",
        "33:32:00:00:00:01",
    ):
        for words, dst in (("a neighbour", V1.ip6), ("the other host's guest", V2.link_local), ("far away", "2001:db8:9::9")):
            rows.append(drop(f"{words} in {mac}", ether(mac, ip6(dst, udp())), GROUP))
    for mac in (BROADCAST, group4("224.0.0.251"), "01:00:0c:cc:cc:cd", "03:00:00:00:00:01", "35:33:00:00:00:01"):
        for dst in ("ff02::fb", "ff05::2"):
            rows.append(drop(f"{dst} in {mac}", ether(mac, ip6(dst, udp(5353, 5353))), GROUP))
    for dst in ("::", "::1", "fec0::1", "fe80::1", "fd00::1"):
        rows.append(drop(f"{dst} in a multicast frame", ether("33:33:00:00:00:01", ip6(dst, udp())), GROUP, MALFORMED))
    return rows


def _everyone(words: str, make: Callable[[str], Packet], to_global: bool = True) -> list[Row]:
    """The packet that ``make`` gives, to each of the victims."""
    return [
        to(f"{words} to {one.nick}", ether(one.mac, make(one.ip6 if to_global else one.link_local)), one.nick) for one in (V1, V2, S1, S2)
    ]


@table("IPv6 unicast")
def unicast() -> list[Row]:
    rows = []
    for kind in (4, 41, 47, 50, 89, 103, 115, 132, 136, 253):
        rows += _everyone(f"next header {kind}", lambda dst, kind=kind: ip6(dst, payload(40), nh=kind))
    for flags in ("S", "SA", "A", "FA", "R"):
        rows += _everyone(f"TCP {flags}", lambda dst, flags=flags: ip6(dst, tcp(flags=flags)))
    for ports in ((4000, 53), (546, 547), (67, 68), (1, 545), (4789, 4789), (0, 9)):
        rows += _everyone(f"UDP {ports}", lambda dst, ports=ports: ip6(dst, udp(*ports)))
    for message in (ICMPv6EchoRequest, ICMPv6EchoReply):
        rows += _everyone(message.__name__, lambda dst, message=message: ip6(dst, message(data=bytes(payload()))))
    for message in (ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, ICMPv6ParamProblem):
        rows += _everyone(message.__name__, lambda dst, message=message: ip6(dst, message() / payload(60)))
    for words, wrapping in WRAPPINGS.items():
        rows += _everyone(f"UDP behind {words}", lambda dst, wrapping=wrapping: ip6(dst, wrapping() / udp()))
        rows += _everyone(f"a ping behind {words}", lambda dst, wrapping=wrapping: ip6(dst, wrapping() / echo()))
    rows += _everyone("UDP behind an authentication header", lambda dst: ip6(dst, authentication(17) / udp(), nh=51))
    rows += _everyone("TCP to port 546", lambda dst: ip6(dst, tcp(547, 546)))
    rows += _everyone("a ping from its link-local address", lambda dst: ip6(dst, echo(), src=P.link_local), to_global=False)
    rows += _everyone("UDP from its link-local address", lambda dst: ip6(dst, udp(), src=P.link_local))
    rows += _everyone("hop limit 1, class and label", lambda dst: ip6(dst, udp(), hlim=1, tc=0xB8, fl=0xABCDE))
    return rows


@table("IPv6 sizes and fragments")
def sizes() -> list[Row]:
    rows = []
    for size in (12, 256, 1000, 1232, 1406):
        rows += _everyone(f"{size + 48} bytes", lambda dst, size=size: ip6(dst, udp(size=size)))
    for size in (1452, 4000, 8952):
        rows += [to(f"{size + 48} bytes to {one.nick}", ether(one.mac, ip6(one.ip6, udp(size=size))), one.nick) for one in (V1, S1)]
    rows += _everyone("a header alone", lambda dst: ip6(dst, Raw(b""), nh=253))
    for kind, content in ((17, udp), (6, tcp), (58, echo), (50, payload)):
        # An only one (RFC 6946) is a whole packet, and shows itself as that.
        rows += _everyone(f"only fragment of {kind}", lambda dst, kind=kind, content=content: _piece(dst, kind, content))
        for words, fields in (("first", {"m": 1}), ("middle", {"m": 1, "offset": 150}), ("last", {"offset": 300})):
            for one in (V1, V2, S1, S2):
                rows.append(
                    drop(f"{words} fragment of {kind} to {one.nick}", ether(one.mac, _piece(one.ip6, kind, content, **fields)), PIECE)
                )
    behind = ip6(V1.ip6, options() / IPv6ExtHdrFragment(nh=17, m=1) / udp(size=200))
    rows.append(drop("a first fragment behind options", ether(V1.mac, behind), PIECE))
    return rows


def _piece(dst: str, kind: int, content: Callable[..., Packet], **fields: int) -> Packet:
    return ip6(dst, IPv6ExtHdrFragment(nh=kind, id=9, **fields) / Raw(bytes(ip6(dst, content(size=1200)))[40:]))


@table("IPv6 to many")
def many() -> list[Row]:
    def group(dst: str, inside: Packet, **fields: Any) -> bytes:
        return ether(group6(dst), ip6(dst, inside, **fields))

    frames = {
        "mDNS": group("ff02::fb", udp(5353, 5353), hlim=255, src=P.link_local), "SSDP": group("ff02::c", udp(40000, 1900)),
        "LLMNR": group("ff02::1:3", udp(40000, 5355), src=P.link_local), "a ping to all nodes": group("ff02::1", echo(), src=P.link_local),
        "a ping to all routers": group("ff02::2", echo()), "OSPF": group("ff02::5", payload(40), nh=89, src=P.link_local, hlim=1),
        "a far group": group("ff0e::1234", udp()), "a site's group": group("ff05::2", udp()),
        "PIM": group("ff02::d", payload(40), nh=103, hlim=1),
        "UDP behind options": group("ff02::fb", options() / udp(5353, 5353)), "1454 bytes": group("ff0e::1", udp(size=1406)),
    }  # fmt: skip
    rows = [all_hear(words, frame, may=RED) for words, frame in frames.items()]
    pieces = {
        "a first fragment": group("ff0e::1", IPv6ExtHdrFragment(nh=17, m=1, id=3) / udp(size=200)),
        "a later fragment": group("ff0e::1", IPv6ExtHdrFragment(nh=17, offset=26, id=3) / payload(200)),
    }
    rows += [drop(words, frame, PIECE) for words, frame in pieces.items()]
    rows += [
        to(f"a group in a frame to {one.nick}", ether(one.mac, ip6("ff02::fb", udp(5353, 5353))), one.nick) for one in (V1, V2, S1, S2)
    ]
    return rows
