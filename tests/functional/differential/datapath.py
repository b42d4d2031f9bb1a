"""A data plane of the kernel's without any ovs-vswitchd: whoever opens it hears of each frame, and with what key it is kept.

The kernel asks userspace what to do with a frame that no cached decision matches, and sends along the key
that the decision will be kept under. No decision is ever given here, so the cache stays empty and every frame
is asked about; the question waits when the write of the frame returns.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

GENERIC, CONTROL = 16, 0x10
REQUEST, ACK = 0x1, 0x4
NEW, DEL = 1, 2
NETDEV = 1
"""OVS_VPORT_TYPE_NETDEV."""
PACKET, KEY = 1, 2
"""OVS_PACKET_ATTR_…: the frame as ovs-vswitchd gets it, and the kernel's key."""
ATTRIBUTE_MASK = 0x3FFF
SO_RCVBUFFORCE = 33


def attribute(kind: int, content: bytes) -> bytes:
    """A Netlink attribute, padded."""
    return struct.pack("=HH", len(content) + 4, kind) + content + bytes(-len(content) % 4)


def attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, content) of all attributes in here, in their order."""
    at = 0
    while at + 4 <= len(content):
        size, kind = struct.unpack_from("=HH", content, at)
        if size < 4:
            return
        yield kind & ATTRIBUTE_MASK, content[at + 4 : at + size]
        at += size + 3 & ~3


class Refused(Exception):
    """The kernel does not do what it is asked."""


class Datapath:
    """A data plane with this name, and its questions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self._socket.bind((0, 0))
        self._own = self._socket.getsockname()[0]
        self._families = {family: self._family(family) for family in ("ovs_datapath", "ovs_vport", "ovs_packet")}
        pid = struct.pack("=I", self._own)
        self._ask("ovs_datapath", NEW, 0, attribute(1, name.encode() + b"\0") + attribute(2, pid) + attribute(5, struct.pack("=I", 3)))
        self._index = socket.if_nametoindex(name)

    def add(self, device: str) -> None:
        """A device of the machine's becomes a port."""
        words = attribute(2, struct.pack("=I", NETDEV)) + attribute(3, device.encode() + b"\0")
        self._ask("ovs_vport", NEW, self._index, words + attribute(5, struct.pack("=I", self._own)))

    def questions(self) -> list[tuple[bytes, bytes]]:
        """(key's attributes, frame) of each question that waits."""
        found = []
        while True:
            try:
                data = self._socket.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            size, kind = struct.unpack_from("=IH", data)
            if kind == self._families["ovs_packet"]:
                words = dict(attributes(data[24:size]))
                found.append((words[KEY], words[PACKET]))

    def close(self) -> None:
        self._ask("ovs_datapath", DEL, self._index, b"")
        self._socket.close()

    def _family(self, name: str) -> int:
        answer = self._send(CONTROL, 3, attribute(2, name.encode() + b"\0"))
        return int(struct.unpack("=H", dict(attributes(answer[4:]))[1])[0])

    def _ask(self, family: str, command: int, index: int, content: bytes) -> bytes:
        return self._send(self._families[family], command, struct.pack("=i", index) + content)

    def _send(self, family: int, command: int, content: bytes) -> bytes:
        """The answer to a request, without Netlink's own header; questions that come in between are lost."""
        body = struct.pack("=BBH", command, 2 if family != CONTROL else 1, 0) + content
        self._socket.send(struct.pack("=IHHII", len(body) + 16, family, REQUEST | ACK, os.getpid() & 0xFFFF, self._own) + body)
        answer = b""
        while True:
            data = self._socket.recv(1 << 18)
            size, kind = struct.unpack_from("=IH", data)
            if kind == 2:
                error = struct.unpack_from("=i", data, 16)[0]
                if error:
                    raise Refused(os.strerror(-error))
                return answer
            if kind == family:
                answer = data[16:size]
