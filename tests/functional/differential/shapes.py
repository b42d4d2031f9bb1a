"""One or more frames of each class, as a guest would send them to another: with its own addresses, so that nothing else refuses them.

They are the examples of docs/internals/parsers.md, what the bridges are shown to refuse, and what is sent before forbidden frames.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

TCP, UDP, ICMP, ICMP6, IGMP, SCTP, GRE = 6, 17, 1, 58, 2, 132, 47
MARK = b"shape%06d."


@dataclass(frozen=True, slots=True)
class End:
    """Whose frame it is, or for whom."""

    mac: str = "52:54:00:a7:00:01"
    ip: str = "10.0.0.1"
    ip6: str = "2001:db8:1::1"

    @property
    def ether(self) -> bytes:
        return bytes.fromhex(self.mac.replace(":", ""))


@dataclass(frozen=True, slots=True)
class Pair:
    """A sender and an addressee, and frames between them."""

    sender: End
    to: End

    def frame(self, kind: int, inside: bytes) -> bytes:
        return self.to.ether + self.sender.ether + struct.pack("!H", kind) + inside

    def v4(self, protocol: int, inside: bytes, total: int | None = None, first: int = 0x45, part: int = 0) -> bytes:
        size = 20 + len(inside) if total is None else total
        head = struct.pack("!BBHHHBBH", first, 0, size, 7, part, 64, protocol, 0)
        return self.frame(0x0800, head + IPv4Address(self.sender.ip).packed + IPv4Address(self.to.ip).packed + inside)

    def v6(self, following: int, inside: bytes, size: int | None = None, first: int = 0x60000000, hops: int = 64) -> bytes:
        head = struct.pack("!IHBB", first, len(inside) if size is None else size, following, hops)
        return self.frame(0x86DD, head + IPv6Address(self.sender.ip6).packed + IPv6Address(self.to.ip6).packed + inside)

    def advertisement(self, target: str, code: int = 0) -> bytes:
        return struct.pack("!BBHI", 136, code, 0, 0x20000000) + IPv6Address(target).packed + b"\2\1" + self.sender.ether


def body(number: int, size: int = 24) -> bytes:
    """Content to know a frame by."""
    return (MARK % number).ljust(size, b".")


def udp(number: int, sport: int = 4000, dport: int = 5000, size: int | None = None) -> bytes:
    content = body(number)
    return struct.pack("!HHHH", sport, dport, 8 + len(content) if size is None else size, 0) + content


def tcp(number: int) -> bytes:
    return struct.pack("!HHIIHHHH", 4000, 80, 1, 1, 0x5002, 1000, 0, 0) + body(number)


def control(number: int, kind: int) -> bytes:
    return struct.pack("!BBHI", kind, 0, 0, 0x10001) + body(number)


def tagged(frame: bytes, *tags: tuple[int, int]) -> bytes:
    return frame[:12] + b"".join(struct.pack("!HH", *tag) for tag in tags) + frame[12:]


def snap(frame: bytes, byte: int = 0) -> bytes:
    """The packet behind LLC with this control byte, and SNAP."""
    inside = b"\xaa\xaa" + bytes([byte]) + bytes(3) + frame[12:]
    return frame[:12] + struct.pack("!H", min(len(inside), 1500)) + inside


Make = Callable[[Pair, int], bytes]

SHAPES: dict[str, dict[str, Make]] = {
    "second tag": {
        "two tags with a packet": lambda at, n: tagged(at.v4(UDP, udp(n)), (0x8100, 10), (0x8100, 20)),
        "priority tags": lambda at, n: tagged(at.v4(UDP, udp(n)), (0x8100, 0), (0x8100, 0)),
        "service tags": lambda at, n: tagged(at.v6(UDP, udp(n)), (0x88A8, 10), (0x88A8, 20)),
    },
    "packet in LLC": {
        "IPv4 with control byte 0": lambda at, n: snap(at.v4(UDP, udp(n))),
        "IPv6 with control byte 0x13": lambda at, n: snap(at.v6(UDP, udp(n)), 0x13),
        "GRE with control byte 0": lambda at, n: snap(at.v4(GRE, struct.pack("!HHI", 0x2000, 0x6558, 7) + body(n))),
        "another type": lambda at, n: snap(at.frame(0x88B5, body(n))),
    },
    "malformed IPv4": {
        "total length beyond the frame": lambda at, n: at.v4(GRE, bytes(8) + body(n), total=900),
        "total length shorter than the header": lambda at, n: at.v4(UDP, udp(n), first=0x46, total=20),
        "UDP with a total length beyond the frame": lambda at, n: at.v4(UDP, udp(n), total=53),
    },
    "malformed IPv6": {
        "payload length beyond the frame": lambda at, n: at.v6(UDP, udp(n), size=900),
        "GRE with a payload length beyond the frame": lambda at, n: at.v6(GRE, bytes(8) + body(n), size=900),
    },
    "label of malformed IPv6": {
        "a header that is cut off": lambda at, n: at.v6(UDP, b"", first=0x600ABCDE)[:40],
    },
    "later fragment with an extension": {
        "destination options": lambda at, n: at.v6(44, struct.pack("!BBHI", 60, 0, 8, 7) + body(n)),
        "routing, in the middle": lambda at, n: at.v6(44, struct.pack("!BBHI", 43, 0, 9, 7) + body(n)),
    },
    "broken chain": {
        "options longer than the packet": lambda at, n: at.v6(60, b"\x11\xff\1\4" + bytes(4) + udp(n)),
        "options behind a payload length of 0": lambda at, n: at.v6(60, b"\x11\0\1\4" + bytes(4) + udp(n), size=0),
        "an authentication header longer than the packet": lambda at, n: at.v6(51, b"\x11\xff" + bytes(22) + udp(n)),
        "a first fragment that ends in its options": lambda at, n: at.v6(
            44, struct.pack("!BBHI", 60, 0, 1, 7) + b"\x3a\x0f" + bytes(6) + body(n)
        ),
    },
    "only fragment": {
        "UDP": lambda at, n: at.v6(44, struct.pack("!BBHI", 17, 0, 0, 7) + udp(n)),
    },
    "IGMP and ICMP of the other family": {
        "IGMP": lambda at, n: at.v4(IGMP, struct.pack("!BBHI", 0x16, 0, 0, 0xE00000FB) + body(n)),
        "ICMPv6 in IPv4": lambda at, n: at.v4(ICMP6, control(n, 136)),
        "ICMP in IPv6": lambda at, n: at.v6(ICMP, control(n, 5)),
    },
    "UDP behind IPv4's total length": {
        "UDP": lambda at, n: at.v4(UDP, udp(n), total=20),
        "a DHCP server's": lambda at, n: at.v4(UDP, udp(n, 67, 68), total=20),
        "UDP in a first fragment": lambda at, n: at.v4(UDP, udp(n), total=27, part=0x2000),
    },
    "TCP, SCTP or ICMP behind IPv4's total length": {
        "TCP": lambda at, n: at.v4(TCP, tcp(n), total=39),
        "ICMP": lambda at, n: at.v4(ICMP, control(n, 8), total=24),
        "SCTP": lambda at, n: at.v4(SCTP, udp(n), total=31),
    },
    "UDP or ICMPv6 behind IPv6's payload length": {
        "UDP": lambda at, n: at.v6(UDP, udp(n), size=0),
        "a DHCPv6 server's": lambda at, n: at.v6(UDP, udp(n, 547, 546), size=7),
        "ICMPv6": lambda at, n: at.v6(ICMP6, control(n, 134), size=0, hops=255),
    },
    "TCP or SCTP behind IPv6's payload length": {
        "TCP": lambda at, n: at.v6(TCP, tcp(n), size=19),
        "SCTP": lambda at, n: at.v6(SCTP, udp(n), size=11),
    },
    "neighbour discovery with a code": {
        "an advertisement": lambda at, n: at.v6(ICMP6, at.advertisement(at.sender.ip6, 1), hops=255),
    },
    "neighbour discovery's options": {
        "the target behind the payload length": lambda at, n: at.v6(ICMP6, at.advertisement(at.sender.ip6) + body(n), size=8, hops=255),
        "the option doubled behind the payload length": lambda at, n: at.v6(
            ICMP6, at.advertisement(at.sender.ip6) + b"\2\1" + at.sender.ether, size=32, hops=255
        ),
        "the option behind the payload length": lambda at, n: at.v6(ICMP6, at.advertisement(at.sender.ip6), size=24, hops=255),
    },
    "labels of MPLS": {
        "no bottom": lambda at, n: at.frame(0x8847, struct.pack("!I", 0x00010040)),
    },
    "NSH": {
        "of no length": lambda at, n: at.frame(0x894F, bytes.fromhex("0040020300123401") + body(n)),
    },
}
"""Of a class, by its name, what sets each frame apart and how it is made."""

BY_HEADER = ("pieces of a UDP datagram", "checksum at the sender's place")
"""Classes that a frame is of by its virtio header."""


def example(name: str, make: Make) -> bytes:
    """What stands in the table."""
    return make(Pair(End(), End("52:54:00:a7:00:04", "10.0.0.4", "2001:db8:1::4")), 1)
