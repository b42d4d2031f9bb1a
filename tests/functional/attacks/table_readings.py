"""Frames that ovs-vswitchd reads otherwise than the kernel, from a strict port and a port with guard='mac'; what a host would unpack."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6ND_RA, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from attacks.cast import BRIDGE_MACS, PORTS, RED, Port
from attacks.frames import ARP, BROADCAST, IPV4, V1, V2, P, arp, ether, group6, ip4, ip6, payload, ping, tagged, tcp, udp
from attacks.openers import broken_chain, doubled_options, first, later, later_of_options, llc, only
from attacks.rows import Row, drop, harmless, table, to
from attacks.table_host import HOST4, HOST6, OUT, TUNNEL_PORTS, gre
from attacks.table_ipv6 import WRAPPINGS, echo

TWICE, MALFORMED, PIECE, TYPE = "read in two ways", "malformed IP", "IPv6 fragment", "unknown EtherType"
M, HM, HT = (PORTS[nick] for nick in ("M", "HM", "HT"))
ALL, NODES = "255.255.255.255", "ff02::1"
TAGGED = ((0x8100, 0), (0x8100, 20), (0x88A8, 20))
"""Second tags."""


def _lengths(sender: Port) -> list[Row]:
    """K1: what lies behind a packet's length is no port and no type to ovs-vswitchd."""

    def four(dst: str, at: str, inside: Packet, **fields: Any) -> bytes:
        return ether(at, ip4(dst, inside, src=sender.ip, **fields), src=sender.mac)

    def six(dst: str, at: str, inside: Packet, **fields: Any) -> bytes:
        return ether(at, ip6(dst, inside, src=sender.ip6, **fields), src=sender.mac)

    frames = {}
    for size in (20, 21, 27):
        frames |= {
            f"UDP, total length {size}": four(V1.ip, V1.mac, udp(), len=size),
            f"a DHCP server's answer, total length {size}": four(V1.ip, V1.mac, udp(67, 68, 64), len=size),
            f"the same to all, total length {size}": four(ALL, BROADCAST, udp(67, 68, 64), len=size),
            f"UDP in a first fragment, total length {size}": four(V2.ip, V2.mac, udp(), len=size, flags="MF"),
        }
    for size in (0, 1, 7):
        frames |= {
            f"UDP, payload length {size}": six(V1.ip6, V1.mac, udp(), plen=size),
            f"a DHCPv6 server's answer, payload length {size}": six(V1.ip6, V1.mac, udp(547, 546, 64), plen=size),
            f"a ping, payload length {size}": six(V2.ip6, V2.mac, echo(), plen=size),
            f"a router's advertisement, payload length {size}": six(NODES, group6(NODES), ICMPv6ND_RA() / payload(), plen=size, hlim=255),
            f"a solicitation, payload length {size}": six(V1.ip6, V1.mac, ICMPv6ND_NS(tgt=V1.ip6) / payload(), plen=size, hlim=255),
        }
    frames |= {
        "UDP to port 0": four(V1.ip, V1.mac, udp(4000, 0)), "UDP to port 0 by IPv6": six(V1.ip6, V1.mac, udp(4000, 0)),
        "no next header": six(V1.ip6, V1.mac, payload(40), nh=59),
        "ICMPv6 type 0": six(V1.ip6, V1.mac, Raw(bytes(8) + bytes(payload())), nh=58),
    }  # fmt: skip
    rows = [
        drop(f"{words} from {sender.nick}", frame, TWICE, *([_ICMP] if sender is P else []), sender=sender.nick)
        for words, frame in frames.items()
    ]
    broken = {
        "GRE, total length beyond the frame": four(V1.ip, V1.mac, gre(), proto=47, len=900),
        "UDP, payload length beyond the frame": six(V1.ip6, V1.mac, udp(), plen=900),
        "UDP behind options, payload length 0": six(V1.ip6, V1.mac, WRAPPINGS["destination options"]() / udp(), plen=0),
        "UDP behind options longer than the packet": six(V1.ip6, V1.mac, Raw(b"\x11\x20" + bytes(14) + bytes(payload())), nh=60),
        "protocol 0": four(V1.ip, V1.mac, payload(40), proto=0),
    }
    reasons = (MALFORMED, "foreign IPv4 source", "foreign IPv6 source") if sender is P else (TWICE,)
    rows += [drop(f"{words} from {sender.nick}", frame, *reasons, sender=sender.nick) for words, frame in broken.items()]
    return rows


_ICMP = "ICMPv6 type"
"""A strict port may not send a type that ovs-vswitchd does not see, whatever the reason."""


def _llc(sender: Port) -> list[Row]:
    """K2: SNAP to the kernel whatever the control byte, 802.3 to ovs-vswitchd."""
    contents = {
        "IPv4": ether(V1.mac, ip4(V1.ip, udp(), src=sender.ip), src=sender.mac),
        "ARP": ether(BROADCAST, arp(1, sha=sender.mac, spa=sender.ip), src=sender.mac, kind=ARP),
        "IPv6": ether(V1.mac, ip6(V1.ip6, udp(), src=sender.ip6), src=sender.mac),
        "a tag": tagged(ether(V1.mac, ip4(V1.ip, udp(), src=sender.ip), src=sender.mac), (0x8100, 20)),
    }
    reason = TYPE if sender is P else TWICE
    rows = []
    for control in (0, 7, 0x13, 0xFF):
        for words, content in contents.items():
            frame = (
                llc(control)(content)
                if words != "a tag"
                else content[:12] + b"\x00\x40\xaa\xaa" + bytes([control]) + bytes(3) + content[12:]
            )
            assert frame is not None
            rows.append(drop(f"LLC {control:#x} with {words} from {sender.nick}", frame, reason, sender=sender.nick))
    for words, head in {"NetBEUI": b"\xf0\xf0\x03", "OSI": b"\xfe\xfe\x03", "SNAP of a vendor": b"\xaa\xaa\x03\0\0\x0c"}.items():
        inside = head + bytes(payload(40))
        frame = ether(V1.mac, inside, src=sender.mac, kind=len(inside))
        rows.append(drop(f"{words} from {sender.nick}", frame, reason, sender=sender.nick))
    return rows


@table("read in two ways, from a strict port")
def strict() -> list[Row]:
    rows = [*_lengths(P), *_llc(P)]
    plain = ether(V1.mac, ip6(V1.ip6, udp(size=64)))
    for words, made in (("a later fragment of options", later_of_options), ("a later fragment", later), ("a first fragment", first)):
        rows.append(drop(words, _made(made(plain)), PIECE))
    rows.append(drop("a first fragment of a broken chain", _made(broken_chain(plain)), MALFORMED))
    rows.append(to("an only fragment", _made(only(plain)), "V1"))
    question = ether(group6(NODES), ip6(NODES, ICMPv6ND_NS(tgt=V1.ip6) / payload(), hlim=255))
    # To ovs-vswitchd it is P's own advertisement, and nothing shows that there is more behind its end.
    rows.append(harmless("an advertisement with its option once more behind its end", _made(doubled_options(question)), may=RED))
    return rows


@table("read in two ways, from a port with guard mac")
def mac() -> list[Row]:
    rows = [*_lengths(M), *_llc(M)]
    plain = ether(V1.mac, ip6(V1.ip6, udp(size=64), src=M.ip6), src=M.mac)
    # It keeps its freedom above Ethernet: fragments pass, and what nothing but the host need fear.
    for words, made in (
        ("a later fragment of options", later_of_options),
        ("a later fragment", later),
        ("a first fragment", first),
        ("an only fragment", only),
    ):
        rows.append(to(words, _made(made(plain)), "V1", sender="M"))
    rows.append(drop("a first fragment of a broken chain", _made(broken_chain(plain)), TWICE, sender="M"))
    free = {
        "a foreign IPv4 source": ip4(V1.ip, udp(), src=V2.ip), "GRE": ip4(V1.ip, gre(), src=M.ip, proto=47),
        "TCP": ip4(V1.ip, tcp(), src=M.ip),
        "a DHCP server's answer": ip4(V1.ip, udp(67, 68), src=M.ip), "a ping": ip4(V1.ip, ping(), src=M.ip),
        "an IPv4 fragment": ip4(V1.ip, payload(40), src=M.ip, proto=17, frag=20), "a ping by IPv6": ip6(V1.ip6, echo(), src=M.ip6),
        "an IPv4 first fragment": ip4(V1.ip, udp(), src=M.ip, flags="MF"),
    }  # fmt: skip
    rows += [to(words, ether(V1.mac, inside, src=M.mac), "V1", sender="M") for words, inside in free.items()]
    rows.append(
        to("MPLS of two labels", ether(V1.mac, b"\0\1\0\x40\0\2\1\x40" + bytes(payload()), src=M.mac, kind=0x8847), "V1", sender="M")
    )
    return rows


def _made(frame: bytes | None) -> bytes:
    assert frame is not None
    return frame


def forms(sender: Port) -> dict[str, list[bytes]]:
    """A1: packets for the host's tunnels in two IPv6 fragments, whose headers break off in the first one."""
    found = {}
    at = BRIDGE_MACS["hosted1"]
    kinds: dict[str, tuple[int, Packet]] = {words: (17, udp(50000, port, 64)) for words, port in TUNNEL_PORTS.items()}
    kinds["GRE"] = (47, gre())
    for words, (kind, inside) in kinds.items():
        found[words] = _pieces(sender, sender.ip6, at, kind, inside)
    found["VXLAN from a forged source"] = _pieces(sender, V2.ip6, at, 17, udp(50000, 4789, 64))
    return found


def _pieces(sender: Port, src: str, at: str, kind: int, inside: Packet) -> list[bytes]:
    options = bytes([60, 0, 1, 4, 0, 0, 0, 0])
    rest = bytes([kind, 0, 1, 4, 0, 0, 0, 0]) + bytes(inside)
    number = sum(rest) & 0xFFFF
    one = ip6(HOST6, IPv6ExtHdrFragment(nh=60, m=1, id=number) / Raw(options), src=src)
    two = ip6(HOST6, IPv6ExtHdrFragment(nh=60, offset=1, id=number) / Raw(rest), src=src)
    return [ether(at, packet, src=sender.mac) for packet in (one, two)]


@table("what the host would unpack")
def unpacked() -> list[Row]:
    at = BRIDGE_MACS["hosted1"]
    rows = []
    for words, (one, two) in forms(HM).items():
        rows.append(drop(f"{words}, a first fragment", one, TWICE, sender="HM"))
        rows.append(drop(f"{words}, the later fragment", two, OUT, sender="HM"))
    for words, frame in hidden(HT).items():
        rows.append(drop(words, frame, OUT, sender="HT"))
    for sender in (HM, HT):
        tags = [(0x8100, 10)] if sender is HT else []

        def four(inside: Packet, sender: Port = sender, tags: list[tuple[int, int]] = tags, **fields: Any) -> bytes:
            return tagged(ether(at, ip4(HOST4, inside, src=sender.ip, **fields), src=sender.mac), *tags)

        def six(inside: Packet, sender: Port = sender, tags: list[tuple[int, int]] = tags, **fields: Any) -> bytes:
            return tagged(ether(at, ip6(HOST6, inside, src=sender.ip6, **fields), src=sender.mac), *tags)

        wrong = {
            "GRE": four(gre(), proto=47), "GRE by IPv6": six(gre(), nh=47), "IPv4 in IPv4": four(ip4(HOST4, gre(), proto=47), proto=4),
            "an authentication header": four(Raw(b"\x2f\4\0\0" + bytes(20) + bytes(gre())), proto=51),
            "a first fragment by IPv6": six(IPv6ExtHdrFragment(nh=17, m=1, id=6) / udp(size=64)),
            "a later fragment by IPv6": six(IPv6ExtHdrFragment(nh=17, offset=8, id=6) / payload(64)),
            "an experiment": tagged(ether(at, bytes(payload(46)), src=sender.mac, kind=0x88B5), *tags),
            "MPLS": tagged(ether(at, b"\0\1\1\x40" + bytes(ip4(HOST4, gre(), proto=47)), src=sender.mac, kind=0x8847), *tags),
        }  # fmt: skip
        for words, port in TUNNEL_PORTS.items():
            wrong |= {words: four(udp(50000, port, 60)), f"{words} by IPv6": six(udp(50000, port, 60))}
            wrong[f"{words} behind the total length"] = four(udp(50000, port, 60), len=20)
            wrong[f"{words} behind the payload length"] = six(udp(50000, port, 60), plen=0)
        rows += [drop(f"{words} from {sender.nick}", frame, OUT, TWICE, sender=sender.nick) for words, frame in wrong.items()]
        good = {
            "UDP": four(udp()), "TCP": four(tcp()), "a ping": four(ping()), "a first fragment": four(udp(size=64), flags="MF"),
            "a later fragment": four(payload(64), proto=17, frag=9), "UDP by IPv6": six(udp()), "a ping by IPv6": six(echo()),
            "UDP behind options": six(WRAPPINGS["destination options"]() / udp()), "DHCP": four(udp(68, 67, 300)),
            "a solicitation": six(ICMPv6ND_NS(tgt=HOST6) / payload(), hlim=255),
        }  # fmt: skip
        for words, frame in good.items():
            rows.append(to(f"{words} from {sender.nick}", frame, "hosted1", sender=sender.nick, becomes=tagless(frame)))
        llc_frame = _made(llc(0)(ether(at, ip4(HOST4, gre(), src=sender.ip, proto=47), src=sender.mac)))
        rows.append(drop(f"GRE in LLC from {sender.nick}", tagged(llc_frame, *tags), TWICE, sender=sender.nick))
    return rows


def tagless(frame: bytes) -> bytes:
    """As a packet socket gives it, which takes the first tag off."""
    return frame[:12] + frame[16:] if frame[12:14] == b"\x81\0" else frame


def hidden(sender: Port) -> dict[str, bytes]:
    """A2: behind a second tag in a trunk's frame."""
    at = BRIDGE_MACS["hosted1"]
    inside = {
        "GRE": ip4(HOST4, gre(), src=sender.ip, proto=47),
        "VXLAN": ip4(HOST4, udp(50000, 4789, 64), src=sender.ip),
    }
    return {
        f"{words} behind tags 10 and {tag[0]:#x}/{tag[1]}": tagged(ether(at, packet, src=sender.mac, kind=IPV4), (0x8100, 10), tag)
        for words, packet in inside.items()
        for tag in TAGGED
    }
