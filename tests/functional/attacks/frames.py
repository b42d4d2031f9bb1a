"""How the tables write frames: Ethernet by hand, what is inside by scapy, a mark in each payload."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import count
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from attacks.cast import PORTS

P, P0, S1, S2, V1, V2 = (PORTS[nick] for nick in ("P", "P0", "S1", "S2", "V1", "V2"))
BROADCAST = "ff:ff:ff:ff:ff:ff"
IPV4, ARP, RARP, IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
_TYPES = {IP: IPV4, IPv6: IPV6}
_marks = count(1)


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def payload(size: int = 24) -> Raw:
    """Content that no other frame has, of this size (at least 12 bytes)."""
    return Raw(b"mark%07d." % next(_marks) + bytes(range(size - 12) if size < 260 else size - 12))


def ether(dst: str, inside: Packet | bytes, src: str = P.mac, kind: int | None = None, tags: Sequence[tuple[int, int]] = ()) -> bytes:
    """A frame with these tags, each (TPID, TCI), outermost first."""
    if kind is None:
        kind = _TYPES[type(inside)]
    return tagged(mac(dst) + mac(src) + kind.to_bytes(2, "big") + bytes(inside), *tags)


def tagged(frame: bytes, *tags: tuple[int, int]) -> bytes:
    """An untagged frame with tags put before its EtherType."""
    return frame[:12] + b"".join(tpid.to_bytes(2, "big") + tci.to_bytes(2, "big") for tpid, tci in tags) + frame[12:]


def snap(frame: bytes, oui: bytes = b"\0\0\0") -> bytes:
    """The same in an 802.3 frame: length, LLC and SNAP before the EtherType."""
    inside = b"\xaa\xaa\x03" + oui + frame[12:]
    return frame[:12] + min(len(inside), 1500).to_bytes(2, "big") + inside


def ip4(dst: str, inside: Packet, src: str = P.ip, **fields: Any) -> Packet:
    return IP(src=src, dst=dst, **fields) / inside


def ip6(dst: str, inside: Packet, src: str = P.ip6, **fields: Any) -> Packet:
    return IPv6(src=src, dst=dst, **fields) / inside


def udp(sport: int = 4000, dport: int = 5000, size: int = 24) -> Packet:
    return UDP(sport=sport, dport=dport) / payload(size)


def tcp(sport: int = 4000, dport: int = 80, flags: str = "S", size: int = 24) -> Packet:
    return TCP(sport=sport, dport=dport, flags=flags) / payload(size)


def ping(kind: int = 8, code: int = 0, size: int = 24) -> Packet:
    return ICMP(type=kind, code=code) / payload(size)


def group4(address: str) -> str:
    """RFC 1112, 6.4: the Ethernet address of an IPv4 group."""
    low = int(IPv4Address(address)) & 0x7FFFFF
    return f"01:00:5e:{low >> 16:02x}:{low >> 8 & 255:02x}:{low & 255:02x}"


def group6(address: str) -> str:
    """RFC 2464, 7: the Ethernet address of an IPv6 group."""
    return "33:33:" + ":".join(f"{byte:02x}" for byte in IPv6Address(address).packed[-4:])


def solicited(address: str) -> str:
    """RFC 4291, 2.7.1: the solicited-node group of an address."""
    return str(IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(IPv6Address(address)) & 0xFFFFFF))


def arp(
    op: int, sha: str = P.mac, spa: str = P.ip, tha: str = "00:00:00:00:00:00", tpa: str = V1.ip,
    hardware: int = 1, protocol: int = IPV4, lengths: tuple[int, int] = (6, 4), padding: bool = True,
) -> bytes:  # fmt: skip
    """An ARP or RARP packet, padded to Ethernet's least size with a mark, which a real one may have there too."""
    head = hardware.to_bytes(2, "big") + protocol.to_bytes(2, "big") + bytes(lengths) + op.to_bytes(2, "big")
    body = head + mac(sha) + IPv4Address(spa).packed + mac(tha) + IPv4Address(tpa).packed
    return body + bytes(payload(18)) if padding else body
