"""What tc has on guests' taps, and the MTUs of links: netlink, by the small socket of ``rtnl``.

Strategy: one dump tells the qdiscs of all links. The kernel dumps classes and filters of
one link at a time only, so these are asked for only where a qdisc may have any, at 20
microseconds each. A library that decodes every attribute takes a millisecond for each.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address

from vnetd.adapters.rtnl import DUMP, TC, TC_ROOT, TCA_OPTIONS, Rtnl, attributes_of, classes, kind_of, qdiscs, untold
from vnetd.model.names import IpAddress
from vnetd.model.shaping import TICK, HtbClass, Mtus, SeenTap

# rtnetlink(7), linux/rtnetlink.h, linux/pkt_sched.h; everything is in the machine's own byte order.
_NEW_LINK, _GET_LINK = 16, 18
_NEW_ADDRESS, _GET_ADDRESS = 20, 22
_NEW_FILTER, _GET_FILTER = 44, 46
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, link
_IFLA_NAME, _IFLA_MTU, _IFA_ADDRESS, _IFA_LOCAL = 3, 4, 1, 2
_HTB_PARMS, _HTB_RATE64, _HTB_CEIL64 = 1, 6, 7
_HTB = struct.Struct("=8xI8xIIIIII")  # tc_htb_opt: the rates of two tc_ratespec, buffer, cbuffer, quantum, level, prio
_CLSACT = 0xFFFF0000
_DIRECTIONS = {0xFFFFFFF2: "ingress", 0xFFFFFFF3: "egress"}
"""The two parents of filters of a clsact; those of an ingress qdisc stand below its handle."""

_BPF_PROGRAM = 5
_DROP_ALL = struct.pack("=HBBI", 6, 0, 0, 2)  # BPF_RET | BPF_K, TC_ACT_SHOT: how ``quiet`` keeps frames from the host's own stack

_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.EINVAL, errno.ENOENT})
"""A link, or its qdisc, that went between two questions."""


class Shaping:
    """Reads; changes nothing."""

    def __init__(self) -> None:
        self._rtnl = Rtnl()

    def close(self) -> None:
        self._rtnl.close()

    def taps(self, wanted: Mapping[str, int]) -> dict[str, SeenTap]:
        """What tc has on each of these links (names with their indexes); one that has gone is left out. Raises WorldError."""
        names = {index: name for name, index in wanted.items() if index}
        found: dict[int, list[tuple[int, int, str]]] = {}
        try:
            for index, handle, parent, attributes in qdiscs(self._rtnl):
                if index in names:
                    found.setdefault(index, []).append((handle, parent, kind_of(attributes)))
        except OSError as error:
            raise untold(error) from None
        return {name: self._tap(index, found.get(index, ())) for index, name in names.items() if index in found}

    def mtus(self) -> Mtus:
        """The MTUs of all links and the links of all addresses. Raises WorldError."""
        names: dict[int, str] = {}
        found: dict[str, int] = {}
        for kind, body in self._dump(_GET_LINK, _LINK.pack(0, 0, 0, 0, 0)):
            values = attributes_of(body[_LINK.size :])
            if kind == _NEW_LINK and _IFLA_NAME in values and _IFLA_MTU in values:
                name = values[_IFLA_NAME].rstrip(b"\0").decode(errors="replace")
                names[_LINK.unpack_from(body)[2]] = name
                found[name] = struct.unpack("=I", values[_IFLA_MTU])[0]
        homes: dict[IpAddress, str] = {}
        for kind, body in self._dump(_GET_ADDRESS, _ADDRESS.pack(0, 0, 0, 0, 0)):
            family, _, _, _, index = _ADDRESS.unpack_from(body)
            values = attributes_of(body[_ADDRESS.size :])
            data = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
            if kind == _NEW_ADDRESS and family in (socket.AF_INET, socket.AF_INET6) and data and index in names:
                homes[ip_address(data)] = names[index]
        return Mtus(found, homes)

    def _dump(self, kind: int, body: bytes) -> list[tuple[int, bytes]]:
        try:
            return self._rtnl.ask(kind, DUMP, body)
        except OSError as error:
            raise untold(error) from None

    def _tap(self, index: int, seen: Collection[tuple[int, int, str]]) -> SeenTap:
        root = next((kind for _, parent, kind in seen if parent == TC_ROOT), "")
        aside = {handle: kind for handle, _, kind in seen if kind in ("ingress", "clsact")}
        filters: list[str] = []
        with suppress(OSError):
            for handle, kind in aside.items():
                parents = _DIRECTIONS if kind == "clsact" else {handle: "ingress"}
                for parent, direction in parents.items():
                    filters += (f"{one} on {direction}" for one in self._filters(index, parent))
        return SeenTap(
            root=root,
            others=tuple(sorted(kind for handle, parent, kind in seen if parent != TC_ROOT and handle not in aside)),
            classes=dict(self._classes(index)) if root == "htb" else {},
            filters=tuple(sorted(set(filters))),
        )

    def _classes(self, index: int) -> Iterator[tuple[int, HtbClass]]:
        try:
            found = list(classes(self._rtnl, index))
        except OSError as error:
            if error.errno in _GONE:
                return
            raise untold(error) from None
        for handle, options in found:
            if len(options.get(_HTB_PARMS, b"")) >= _HTB.size:
                yield handle & 0xFFFF, decode_class(options)

    def _filters(self, index: int, parent: int) -> Iterator[str]:
        """The kinds of filters there that are not vnetd's own, nor what Open vSwitch offloads to a NIC."""
        for kind, body in self._rtnl.ask(_GET_FILTER, DUMP, TC.pack(0, index, 0, parent, 0)):
            _, _, handle, _, info = TC.unpack_from(body)
            attributes = attributes_of(body[TC.size :])
            name = kind_of(attributes)
            if kind != _NEW_FILTER or handle == 0 or name == "flower":
                continue  # A handle of 0 stands for the head of a list of filters.
            options = attributes_of(attributes.get(TCA_OPTIONS, b""))
            ours = name == "bpf" and info >> 16 == 1 and options.get(_BPF_PROGRAM) == _DROP_ALL
            if not ours:
                yield name


def decode_class(options: Mapping[int, bytes]) -> HtbClass:
    """The class in the attributes of its TCA_OPTIONS; rates from 4 GiB/s on stand in attributes of their own."""
    rate, ceil, buffer, *_ = _HTB.unpack_from(options[_HTB_PARMS])
    rate, ceil = (
        struct.unpack("=Q", options[wide])[0] if wide in options else plain for wide, plain in ((_HTB_RATE64, rate), (_HTB_CEIL64, ceil))
    )
    return HtbClass(rate, ceil, buffer * TICK * rate)
