"""How large a packet to a remote may be as far as this host knows: the MTU of the interface that its route leads to."""

from __future__ import annotations

import fcntl
import socket
import struct
import time

from vnetd.adapters.rtnl import ACK, Rtnl, attribute, attributes_of
from vnetd.errors import Unavailable
from vnetd.model.names import IpAddress

_GET_ROUTE = 26
_MESSAGE = struct.Struct("=BBBBBBBBI")
"""rtmsg: family, lengths of destination and source, and what a question leaves open; flags."""
_FIB_MATCH = 0x2000
"""Answer with the route as people wrote it: without what the kernel has learned of the path since."""
_DESTINATION, _SOURCE, _INTERFACE, _METRICS, _MULTIPATH = 1, 2, 4, 8, 9
_METRIC_MTU = 2
_HOP = struct.Struct("=HBBi")  # rtnexthop: length, flags, hops, interface
_SIOCGIFMTU = 0x8921
_LARGEST = 65535
"""bytes: the most that an IP packet's length can say (RFC 791, 3.1)."""


class Ceilings:
    """Asks the kernel's routing, by a socket of its own."""

    def __init__(self) -> None:
        self._rtnl = Rtnl()
        self._mtus: dict[int, int] = {}
        self._read_at = 0.0
        self._ioctl = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        self._rtnl.close()
        self._ioctl.close()

    def of(self, local: IpAddress, remote: IpAddress) -> int | None:
        """Bytes of the largest IP packet that can leave for ``remote``; None where there is no route now.

        The least of several routes' interfaces, and of what an administrator wrote on the route (ip-route(8), ``mtu``).
        """
        family = socket.AF_INET if remote.version == 4 else socket.AF_INET6
        question = _MESSAGE.pack(family, remote.max_prefixlen, local.max_prefixlen, 0, 0, 0, 0, 0, _FIB_MATCH)
        question += attribute(_DESTINATION, remote.packed) + attribute(_SOURCE, local.packed)
        try:
            answers = self._rtnl.ask(_GET_ROUTE, ACK, question)
            found = attributes_of(answers[0][1][_MESSAGE.size :]) if answers else {}
            sizes = [self._mtu(index) for index in _interfaces(found)]
        except (OSError, Unavailable):
            return None
        metrics = attributes_of(found.get(_METRICS, b""))
        if _METRIC_MTU in metrics:
            sizes.append(struct.unpack("=I", metrics[_METRIC_MTU])[0])
        return min(*sizes, _LARGEST) if sizes else None

    def _mtu(self, index: int) -> int:
        """That of an interface; many remotes share one, so it is believed for a second."""
        now = time.monotonic()
        if now - self._read_at > 1:
            self._mtus.clear()
            self._read_at = now
        if index not in self._mtus:
            request = struct.pack("16s24x", socket.if_indextoname(index).encode())
            self._mtus[index] = struct.unpack_from("=16xi", fcntl.ioctl(self._ioctl, _SIOCGIFMTU, request))[0]
        return self._mtus[index]


def _interfaces(route: dict[int, bytes]) -> list[int]:
    """The interfaces that a route leads to."""
    if _INTERFACE in route:
        return [struct.unpack("=i", route[_INTERFACE])[0]]
    hops, at, found = route.get(_MULTIPATH, b""), 0, []
    while at + _HOP.size <= len(hops):
        length, _, _, index = _HOP.unpack_from(hops, at)
        found.append(index)
        at += max(length + 3 & ~3, _HOP.size)
    return found
