"""rtnetlink(7) by a small socket: questions and answers, their attributes, and what tc has of qdiscs and classes.

A question here takes 20 microseconds, where a library that knows every attribute takes a
millisecond. Everything is in the machine's own byte order (linux/rtnetlink.h, linux/pkt_sched.h).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from vnetd.errors import Unavailable, WorldError

ACK, DUMP = 4, 0x300
TC = struct.Struct("=B3xiIII")
"""tcmsg: family, link, handle, parent, info."""

TCA_KIND, TCA_OPTIONS = 1, 2
TC_ROOT = 0xFFFFFFFF
"""The parent of a link's outermost qdisc, and of outermost classes."""

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_REQUEST = 1
_ERROR, _DONE = 2, 3
_NEW_QDISC, _GET_QDISC, _NEW_CLASS, _GET_CLASS = 36, 38, 40, 42


class Rtnl:
    """A rtnetlink socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(10)
        self._socket.bind((0, 0))
        self._sequence = 0

    @property
    def port_id(self) -> int:
        """The number by which the kernel knows this socket (netlink(7), nl_pid)."""
        return int(self._socket.getsockname()[0])

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
        """(type, body) of each message of the answer. Raises OSError with the kernel's error."""
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0) + body)
        found: list[tuple[int, bytes]] = []
        while True:
            try:
                data = self._socket.recv(1 << 17)
            except TimeoutError:
                raise Unavailable("the kernel does not answer by netlink") from None
            for answered, sequence, part, _ in messages(data):
                if sequence != self._sequence:
                    continue
                if answered == _DONE:
                    return found
                if answered == _ERROR:
                    if code := -struct.unpack_from("=i", part)[0]:
                        raise OSError(code, os.strerror(code))
                    return found
                found.append((answered, part))


def messages(data: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """(type, sequence, body, port) of each message in what was received at once; the port is that of whose request it is about."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, sequence, port = _HEADER.unpack_from(data, at)
        yield kind, sequence, data[at + _HEADER.size : at + length], port
        at += max(length + 3 & ~3, _HEADER.size)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute of a message."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes_of(data: bytes) -> dict[int, bytes]:
    """The attributes of a message by their number; of those that repeat, the last one."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        found[kind & 0x3FFF] = data[at + _ATTRIBUTE.size : at + length]
        at += max(length + 3 & ~3, _ATTRIBUTE.size)
    return found


def qdiscs(rtnl: Rtnl) -> Iterator[tuple[int, int, int, dict[int, bytes]]]:
    """(link, handle, parent, attributes) of all qdiscs of all links, by one dump. Raises OSError."""
    for kind, body in rtnl.ask(_GET_QDISC, DUMP, TC.pack(0, 0, 0, 0, 0)):
        if kind == _NEW_QDISC:
            _, index, handle, parent, _ = TC.unpack_from(body)
            yield index, handle, parent, attributes_of(body[TC.size :])


def classes(rtnl: Rtnl, index: int) -> Iterator[tuple[int, dict[int, bytes]]]:
    """(handle, options) of a link's classes; the kernel dumps those of one link at a time only. Raises OSError."""
    for kind, body in rtnl.ask(_GET_CLASS, DUMP, TC.pack(0, index, 0, 0, 0)):
        if kind == _NEW_CLASS:
            yield TC.unpack_from(body)[2], attributes_of(attributes_of(body[TC.size :]).get(TCA_OPTIONS, b""))


def untold(error: OSError) -> WorldError:
    """That the kernel did not answer a question about tc."""
    return WorldError(f"the kernel does not tell what tc does: {error.strerror}")


def kind_of(attributes: dict[int, bytes]) -> str:
    """What kind of qdisc, class or filter it is."""
    return attributes.get(TCA_KIND, b"").rstrip(b"\0").decode(errors="replace")
