"""What the underlay carries: the packets of tunnels, taken apart by their RFCs, and the mesh's frames in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from labkit.shell import lines
from vlans.wire import Capture

from mesh.agent import BODY, EXPERIMENT, MARK
from mesh.stage import Stage

_SLL2 = struct.Struct("!HHI")
"""The head of what tcpdump writes of all interfaces at once (LINKTYPE_LINUX_SLL2): protocol, nothing, interface; 20 bytes in all."""
_VXLAN, _GENEVE = 4789, 6081


@dataclass(frozen=True, slots=True)
class Crossing:
    """A frame of a guest's in a tunnel, as it enters the underlay from a host; ``outer`` are the numbers of the tunnel's ends."""

    time: float
    host: int
    outer: tuple[int, int]
    key: tuple[int, int, int]
    """Who sent it, to whom (0 is all), and in which round."""


class Underlay:
    """tcpdump on the underlay, where every host's link enters it."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        space = stage.world.lab.underlay
        links = (line.split(": ")[:2] for line in lines(["ip", "-n", space, "-o", "link"]))
        self._hosts = {int(index): int(name.split("-")[0][2:]) for index, name in links if name.startswith("hv") and "-eth0" in name}
        command = ["ip", "netns", "exec", space, "tcpdump", "-i", "any", "-y", "LINUX_SLL2", "-Q", "in", "-s", "200"]
        self.capture = Capture(command, folder / "underlay.pcap")

    def crossings(self) -> Iterator[Crossing]:
        for when, record in self.capture.frames():
            kind, _, index = _SLL2.unpack_from(record)
            found = _inside(kind, record[20:]) if index in self._hosts else None
            if found is not None and found[1][12:18] == EXPERIMENT + MARK:
                outer, frame = found
                yield Crossing(when, self._hosts[index], outer, BODY.unpack_from(frame, 18))


@contextmanager
def watched(stage: Stage, folder: Path) -> Iterator[Underlay]:
    """The underlay, seen for as long as this lasts."""
    underlay = Underlay(stage, folder)
    with underlay.capture:
        yield underlay


def _inside(kind: int, packet: bytes) -> tuple[tuple[int, int], bytes] | None:
    """(the hosts' numbers, the frame inside) of a tunnel's packet; None of any other."""
    if kind == 0x0800:
        start, protocol, ends = 4 * (packet[0] & 0xF), packet[9], (packet[12:16], packet[16:20])
    elif kind == 0x86DD:
        start, protocol, ends = 40, packet[6], (packet[8:24], packet[24:40])
    else:
        return None
    frame = _of_gre(packet[start:]) if protocol == 47 else _of_udp(packet[start:]) if protocol == 17 else None
    return ((_number(ends[0]), _number(ends[1])), frame) if frame is not None else None


def _of_gre(packet: bytes) -> bytes | None:
    """RFC 2784 and RFC 2890: checksum, key and sequence number may stand before the frame."""
    flags, kind = struct.unpack_from("!HH", packet)
    return packet[4 + sum(4 for bit in (0x8000, 0x2000, 0x1000) if flags & bit) :] if kind == 0x6558 else None


def _of_udp(packet: bytes) -> bytes | None:
    """VXLAN (RFC 7348), and Geneve (RFC 8926), whose options are counted in its first byte."""
    port = struct.unpack_from("!H", packet, 2)[0]
    if port not in (_VXLAN, _GENEVE):
        return None
    return packet[16 + (4 * (packet[8] & 0x3F) if port == _GENEVE else 0) :]


def _number(address: bytes) -> int:
    """The lab host with this address. A lab's IPv6 addresses end in the digits of the IPv4 one (2001:db8::11)."""
    last = ip_address(address)
    return int(str(last).rpartition(":" if last.version == 6 else ".")[2]) - 10
