"""Frames by grammar: every header that the kernel's Open vSwitch module or ovs-vswitchd reads, at and beyond its edges.

All that is random comes of the generator that is given, so that a seed makes the same frames again.
"""

from __future__ import annotations

import struct
from random import Random

from differential.tap import GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, NEEDS_CSUM, Header

OWN, OTHER, ALL = bytes.fromhex("525400a70001"), bytes.fromhex("525400a70004"), b"\xff" * 6
ADDRESSES4 = [bytes([10, 0, 0, 1]), bytes([10, 0, 0, 4]), bytes(4), b"\xff" * 4, bytes([224, 0, 0, 251])]
ADDRESSES6 = [
    bytes.fromhex(text)
    for text in (
        "20010db8000100000000000000000001", "20010db8000100000000000000000004", "fe80000000000000505400fffea70001",
        "ff020000000000000000000000000001", "ff0200000000000000000001ff000004", "00" * 16,
    )
]  # fmt: skip
TAGS = [0x8100, 0x8100, 0x8100, 0x88A8, 0x9100, 0x9200]
TYPES = [0x0800, 0x86DD, 0x0806, 0x8035, 0x8847, 0x8848, 0x8863, 0x8864, 0x894F, 0x88B5, 0x6558, 0x88CC, 0x0600, 0x05FF, 0x8100, 0x88A8]
PROTOCOLS4 = [0, 1, 2, 4, 6, 17, 41, 47, 50, 51, 58, 59, 132, 136, 253, 255]
EXTENSIONS = [0, 43, 44, 51, 60, 50, 135, 139, 140]
PROTOCOLS6 = [58, 58, 58, 17, 17, 6, 132, 59, 50, 2, 1, 47, 4, 41, 253, 255]
ICMP6 = 58
PORTS = [0, 53, 67, 68, 80, 546, 547, 4789, 6081, 4000, 65535]


def often(rng: Random, usual: int, *rare: int, share: float = 0.75) -> int:
    """The usual number, or now and then one of the rare ones."""
    return usual if rng.random() < share or not rare else rng.choice(rare)


def frame(rng: Random) -> bytes:
    """One frame, well formed but for what the dice say."""
    head = rng.choice([OTHER, OTHER, ALL, b"\x33\x33\0\0\0\1"]) + OWN
    for _ in range(rng.choices([0, 1, 2, 3], [75, 14, 8, 3])[0]):
        head += struct.pack("!HH", rng.choice(TAGS), rng.choice([0, 10, 20, 4095, 0xE00A, 0x100A]))
    kind, inside = payload(rng)
    made = head + (struct.pack("!H", kind) + inside if rng.random() < 0.88 else _llc(rng, kind, inside))
    return _ends(rng, made)


def payload(rng: Random) -> tuple[int, bytes]:
    """(EtherType, what follows it)."""
    dice = rng.random()
    if dice < 0.3:
        return 0x0800, ipv4(rng)
    if dice < 0.72:
        return 0x86DD, ipv6(rng)
    if dice < 0.8:
        return rng.choice([0x0806, 0x0806, 0x8035]), arp(rng)
    if dice < 0.86:
        return rng.choice([0x8847, 0x8847, 0x8848]), _mpls(rng)
    if dice < 0.89:
        return 0x894F, _nsh(rng)
    if dice < 0.92:
        return rng.choice([0x8863, 0x8864]), _pppoe(rng)
    return rng.choice(TYPES), rng.choice([ipv4, ipv6, arp, _noise])(rng)


def _llc(rng: Random, kind: int, inside: bytes) -> bytes:
    """802.3: a length, LLC, and perhaps SNAP with the EtherType in it."""
    sap = rng.choice([b"\xaa\xaa", b"\xaa\xaa", b"\xaa\xaa", b"\xaa\xab", b"\x42\x42", b"\xff\xff", b"\xaa\x42"])
    control = bytes([rng.choice([3, 3, 0, 0x13, 0xAF])])
    body = sap + control + rng.choice([bytes(3), bytes(3), b"\0\0\xf8", b"\0\0\x0c"]) + struct.pack("!H", kind) + inside
    length = often(rng, min(len(body), 1500), 0, 8, 1500, 0x5FF, 0x600, len(body) - 1 & 0x5FF, share=0.7)
    return struct.pack("!H", length) + body


def _ends(rng: Random, made: bytes) -> bytes:
    """Cut somewhere, or with a trailer, or as it is."""
    dice = rng.random()
    if dice < 0.12:
        return made[: rng.randrange(14, max(15, min(len(made), 110)))]
    if dice < 0.3:
        return made + rng.choice([bytes, rng.randbytes])(rng.choice([1, 2, 4, 6, 8, 16, 18, 40]))
    return made.ljust(60, b"\0") if dice < 0.5 else made


def _noise(rng: Random) -> bytes:
    return rng.randbytes(rng.choice([0, 1, 3, 4, 8, 20, 46]))


def ipv4(rng: Random) -> bytes:
    """A packet, with what is inside by its protocol."""
    protocol = rng.choice(PROTOCOLS4)
    options = rng.randbytes(rng.choice([0] * 6 + [4, 8, 40]))
    words = often(rng, 5 + len(options) // 4, *range(16), share=0.88)
    inside = transport(rng, protocol, six=False)
    real = 20 + len(options) + len(inside)
    ends = (0, 19, 20, 21, 24, 28, 4 * words, 4 * words + 1, 4 * words + 4, 4 * words + 7, real - 1, real + 1, real + 40, 65535)
    total = often(rng, real, *ends, share=0.65) & 0xFFFF
    part = often(rng, 0, 0x2000, 0x2001, 0x0001, 0x1FFF, 0x4000, 0x8000, 0x6000, 0x3FFF, share=0.75)
    first = often(rng, 4, 0, 5, 6, 15, share=0.97) << 4 | words
    head = struct.pack("!BBHHHBBH", first, rng.choice([0, 0xB8, 3]), total, 7, part, rng.choice([64, 255, 1, 0]), protocol, 0)
    return head + rng.choice(ADDRESSES4[:2]) + rng.choice(ADDRESSES4) + options + inside


def ipv6(rng: Random) -> bytes:
    """A packet whose payload is a chain of extension headers and what stands behind them."""
    kinds = [rng.choice(EXTENSIONS) for _ in range(rng.choices([0, 1, 2, 3, 8], [40, 35, 15, 7, 3])[0])]
    last = rng.choice(PROTOCOLS6)
    chain, following = b"", last
    inside = transport(rng, last, six=True)
    for kind in reversed(kinds):
        chain, following = extension(rng, kind, following, len(chain) + len(inside)) + chain, kind
    real = len(chain) + len(inside)
    ends = (0, 1, 4, 7, 8, len(chain), len(chain) + 1, len(chain) + 4, len(chain) + 8, real - 1, real - 8, real + 1, real + 8, 65535)
    length = often(rng, real, *ends, share=0.65) & 0xFFFF
    first = often(rng, 6, 0, 4, 15, share=0.98) << 28 | rng.choice([0, 0xABCDE, 0xB8 << 20])
    head = struct.pack("!IHBB", first, length, following, rng.choice([255, 64, 1, 0]))
    return head + rng.choice(ADDRESSES6) + rng.choice(ADDRESSES6) + chain + inside


def extension(rng: Random, kind: int, following: int, behind: int) -> bytes:
    """One extension header. ``behind`` is how many bytes stand behind it, which its length may reach beyond."""
    if kind == 44:
        part = rng.choice([0, 1, 8, 9, 0xFFF8, 0xFFF9, 6])
        made = struct.pack("!BBHI", following, 0, part, 7)
    elif kind == 51:
        made = struct.pack("!BBHII", following, often(rng, 4, 0, 1, 2, 255, behind // 4 & 255), 0, 1, 1) + bytes(12)
    elif kind == 50:
        made = rng.randbytes(16)
    else:
        words = rng.choice([0, 0, 1, 3])
        length = often(rng, words, 0, 1, 255, behind // 8 & 255, behind // 8 + 1 & 255)
        made = bytes([following, length]) + rng.choice([b"\1\4" + bytes(4), b"\2\0" + bytes(4), b"\5\2" + bytes(4)]) + bytes(8 * words)
    return made[: rng.randrange(len(made))] if rng.random() < 0.06 else made


def transport(rng: Random, protocol: int, six: bool) -> bytes:
    """What a protocol's header is, and something behind it; now and then cut off."""
    made = _transport(rng, protocol, six)
    return made[: rng.randrange(len(made) + 1)] if rng.random() < 0.15 else made


def _transport(rng: Random, protocol: int, six: bool) -> bytes:
    content = rng.randbytes(rng.choice([0, 1, 8, 12, 24]))
    sport, dport = rng.choice(PORTS), rng.choice(PORTS)
    if protocol == 6:
        flags = often(rng, 5, *range(16)) << 12 | rng.choice([2, 0x12, 0x10, 0, 0x1FF, 0xFFF])
        return struct.pack("!HHIIHHHH", sport, dport, 1, 1, flags & 0xFFFF, 1000, 0, 0) + content
    if protocol in (17, 136):
        real = 8 + len(content)
        return struct.pack("!HHHH", sport, dport, often(rng, real, 0, 7, 8, real - 1, real + 1, 65535), rng.choice([0, 0x1234])) + content
    if protocol == 132:
        return struct.pack("!HHII", sport, dport, 1, 0) + content
    if protocol == ICMP6 and (six or rng.random() < 0.5):
        return icmp6(rng)
    if protocol == 1:
        return struct.pack("!BBHHH", rng.choice([8, 0, 3, 5, 11, 13]), rng.choice([0, 1, 4]), 0, 1, 1) + content
    if protocol == 2:
        return struct.pack("!BBHI", rng.choice([0x11, 0x16, 0x17, 0x22]), 0, 0, 0xE00000FB) + content
    if protocol == 47:
        return struct.pack("!HHI", rng.choice([0, 0x2000, 0x3000, 0xB000, 1]), rng.choice([0x6558, 0x0800, 0x880B]), 7) + content
    return rng.randbytes(rng.choice([0, 4, 8, 20, 40]))


def icmp6(rng: Random) -> bytes:
    """Any type; neighbour discovery with options that may be none, doubled, of no length or too long."""
    kind = rng.choice([135, 136, 135, 136, 133, 134, 137, 128, 129, 143, 1, 2, 0, 255])
    made = struct.pack("!BBHI", kind, often(rng, 0, 1, 255, share=0.9), 0, rng.choice([0, 0x60000000]))
    if kind in (135, 136, 137):
        made += rng.choice(ADDRESSES6)
    for _ in range(rng.choices([0, 1, 2, 3], [25, 45, 25, 5])[0]):
        made += bytes([rng.choice([1, 2, 1, 2, 5, 14, 3]), often(rng, 1, 0, 2, 255, 3, share=0.85)]) + rng.choice([OWN, OTHER, bytes(6)])
    return made


def arp(rng: Random) -> bytes:
    """A packet, mostly of Ethernet and IPv4."""
    lengths = bytes([often(rng, 6, 0, 4, 8, share=0.9), often(rng, 4, 0, 6, 16, share=0.9)])
    op = rng.choice([1, 2, 1, 2, 3, 4, 0, 8, 9, 255, 256, 257, 0x0102, 65535])
    head = struct.pack("!HH", often(rng, 1, 0, 6, 0x0100, share=0.9), often(rng, 0x0800, 0x86DD, 0, 0x0806, share=0.9)) + lengths
    made = head + struct.pack("!H", op) + rng.choice([OWN, OTHER]) + rng.choice(ADDRESSES4) + rng.choice([OWN, bytes(6)])
    return made + rng.choice(ADDRESSES4)


def _mpls(rng: Random) -> bytes:
    depth = rng.choice([1, 1, 2, 3, 4, 5])
    bottom = rng.choice([depth - 1, depth - 1, 99, 0])
    labels = [rng.choice([16, 0, 2, 0xFFFFF]) << 12 | (at == bottom) << 8 | 64 for at in range(depth)]
    return struct.pack(f"!{depth}I", *labels) + rng.choice([ipv4, ipv6, _noise])(rng)


def _nsh(rng: Random) -> bytes:
    kind = rng.choice([1, 1, 2, 3])
    words = often(rng, 6 if kind == 1 else 2, *range(16), 63)
    flags = often(rng, 0, 1, 2, 3, share=0.95) << 14 | rng.choice([63, 0, 1]) << 6 | words
    made = struct.pack("!HBBI", flags & 0xFFFF, kind, rng.choice([1, 2, 3, 4, 5]), 0x123401) + rng.randbytes(max(0, words * 4 - 8) % 64)
    return made + rng.choice([ipv4, ipv6, _noise])(rng)


def _pppoe(rng: Random) -> bytes:
    inside = rng.choice([ipv4, ipv6, _noise])(rng)
    return struct.pack("!BBHHH", 0x11, 0, 7, len(inside) + 2, rng.choice([0x21, 0x57, 0xC021])) + inside


def mutated(rng: Random, one: bytes, other: bytes) -> bytes:
    """A frame with one to three small changes; ``other`` is what a piece may be taken from."""
    made = bytearray(one)
    for _ in range(rng.choice([1, 1, 2, 3])):
        _mutate(rng, made, other)
    return bytes(made.ljust(14, b"\0"))[:9000]


def _mutate(rng: Random, made: bytearray, other: bytes) -> None:
    at = rng.randrange(12, max(13, min(len(made), 90)))
    dice = rng.randrange(8)
    if dice == 0:
        made[at : at + 1] = bytes([rng.choice([0, 1, 2, 3, 4, 5, 6, 44, 58, 59, 255, rng.randrange(256)])])
    elif dice == 1:
        made[at : at + 2] = max(0, rng.choice([0, 1, 8, len(made) - at, len(made) - at - 2, rng.choice(TYPES)])).to_bytes(2, "big")
    elif dice == 2:
        del made[at:]
    elif dice == 3:
        del made[at : at + rng.choice([1, 2, 4, 8])]
    elif dice == 4:
        made[at:at] = rng.choice([bytes(rng.choice([2, 4, 8])), b"\x81\0\0\x0a", b"\x3c\0\1\4\0\0\0\0", b"\x3a\0\0\1\0\0\0\7"])
    elif dice == 5:
        made[at:] = other[at:]
    elif dice == 6:
        made += rng.randbytes(rng.choice([1, 2, 6, 8, 16]))
    else:
        made[12:12] = rng.choice([b"\x81\0\0\0", b"\0\x40\xaa\xaa\3\0\0\0", b"\0\x40\xaa\xaa\0\0\0\0", b"\x88\xa8\0\x0a"])


def frames(rng: Random, corpus: list[bytes]) -> bytes:
    """The next frame of a search: by grammar, or one of the corpus or of the grammar's, changed."""
    if rng.random() < 0.55:
        return frame(rng)
    one, other = (rng.choice(corpus) if corpus and rng.random() < 0.5 else frame(rng) for _ in range(2))
    return mutated(rng, one, other)


def header(rng: Random, frame: bytes) -> Header:
    """A virtio header such as only a hostile guest writes: a checksum at any place, segments of any kind and size."""
    at = rng.choice([0, 4, 6, 10, 12, 14, 18, 22, 24, 26, 28, 30, 34, 36, 40, 50, 54, 56, 62, 76, rng.randrange(0, max(1, len(frame)))])
    offset = rng.choice([0, 0, 0, 2, 6, 16, at])
    kind = rng.choice([GSO_NONE] * 6 + [GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, GSO_TCPV4 | GSO_ECN])
    # Many tiny segments would only take time.
    size = rng.choice([0, 1, 8, 100, 1000, 1448, 65535, len(frame)] if len(frame) < 120 else [100, 1000, 1448, 65535]) if kind else 0
    flags = rng.choice([NEEDS_CSUM, NEEDS_CSUM, NEEDS_CSUM, 0, 2, 3])
    return Header(flags, kind, rng.choice([0, 14, 54, 60, len(frame) & 0xFFFF]), size, max(0, at - offset), offset)


def segmented(rng: Random) -> tuple[bytes, Header]:
    """A large frame with a header that cuts it into segments, right but for what the dice say."""
    six, udp = rng.random() < 0.5, rng.random() < 0.4
    body = rng.randbytes(rng.choice([1000, 2000, 3000, 8000]))
    tcp_head = struct.pack("!HHIIHHHH", 4000, 80, 1, 1, 0x5010, 99, 0, 0)
    inside = (struct.pack("!HHHH", 4000, rng.choice(PORTS), 8 + len(body), 0) if udp else tcp_head) + body
    protocol = 17 if udp else 6
    if six:
        packet = struct.pack("!IHBB", 6 << 28, len(inside), protocol, 64) + ADDRESSES6[0] + ADDRESSES6[1] + inside
    else:
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inside), 7, 0, 64, protocol, 0) + ADDRESSES4[0] + ADDRESSES4[1] + inside
    made = OTHER + OWN + (b"\x86\xdd" if six else b"\x08\x00") + packet
    at, offset = (54 if six else 34), (6 if udp else 16)
    right = GSO_UDP if udp else GSO_TCPV6 if six else GSO_TCPV4
    kind = right if rng.random() < 0.7 else rng.choice([GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4])
    start = often(rng, at, at - 16, 12, 0, 28, 36, share=0.6)
    return made, Header(NEEDS_CSUM, kind, at + 20, rng.choice([500, 1000, 1448, 65535]), start, often(rng, offset, 0, 6, 16, share=0.8))
