"""A tap as QEMU holds it: with virtio's header before each frame, in which a guest writes what it likes."""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 0, 1, 3, 4, 5, 0x80
OFFLOADS = 0x1F
"""TUN_F_CSUM, TSO4, TSO6, ECN, UFO: what a guest's driver says it can take."""


@dataclass(frozen=True, slots=True)
class Header:
    """struct virtio_net_hdr: what the sender says of its frame."""

    flags: int = 0
    gso_type: int = GSO_NONE
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def bytes(self) -> bytes:
        return struct.pack("<BBHHHH", self.flags, self.gso_type, self.hdr_len, self.gso_size, self.csum_start, self.csum_offset)


class Tap:
    """An open tap. With ``header`` each frame has virtio's header before it, both ways."""

    def __init__(self, name: str, header: bool = True, offloads: int = 0) -> None:
        self.name, self.header = name, header
        self.end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if header else 0)
        fcntl.ioctl(self.end, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(self.end, TUNSETOFFLOAD, offloads)

    def send(self, frame: bytes, header: Header = Header()) -> None:
        os.write(self.end, (header.bytes() if self.header else b"") + frame)

    def receive(self) -> list[tuple[bytes, bytes]]:
        """(header, frame) of all that waits."""
        found = []
        while True:
            try:
                data = os.read(self.end, 1 << 17)
            except BlockingIOError:
                return found
            size = 10 if self.header else 0
            found.append((data[:size], data[size:]))


def folded(content: bytes) -> int:
    """The sum of a checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def aimed(frame: bytes, place: int, wanted: int) -> bytes:
    """The frame with two bytes behind it that make the checksum from ``place`` on be what is wanted."""
    frame += bytes((len(frame) - place) % 2)
    spare = ((wanted ^ 0xFFFF) - folded(frame[place:])) % 0xFFFF
    return frame + struct.pack("!H", spare)
