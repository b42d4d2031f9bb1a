"""The queues under linux-htb limits, by one dump of all qdiscs.

Open vSwitch makes an htb with the class 1:1 for a port with a limit, and leaves the queue below it to
the kernel, which does not show it and lets it grow as long as the link's txqueuelen. A queue that somebody
puts there Open vSwitch leaves alone until it makes the htb anew. The limit's burst it gives to 1:1 alone and not
to 1:fffe around it, which lends what goes beyond the guaranteed rate: a short queue needs it there, too.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Collection
from contextlib import suppress

from vnetd.adapters.rtnl import ACK, TC, TC_ROOT, TCA_KIND, TCA_OPTIONS, Rtnl, attribute, classes, kind_of, qdiscs, untold
from vnetd.model.shaping import Leaf

# rtnetlink(7), linux/rtnetlink.h, linux/pkt_sched.h; everything is in the machine's own byte order.
_NEW_CLASS = 40
_HTB_PARMS, _HTB_SIZE = 1, 44  # tc_htb_opt
_HTB_RATES = (6, 7)  # TCA_HTB_RATE64 and TCA_HTB_CEIL64, of rates from 4 GiB/s on
_BUFFERS = struct.Struct("=II")  # its buffer and cbuffer: how long the burst takes at the rate and at the ceiling
_BUFFERS_AT = 24
QUEUE_0 = 0x00010001  # the class 1:1
_AROUND = 0x0001FFFE  # the class 1:fffe
_SIOCGIFMTU = 0x8921


class Leaves:
    """The queues of limited links."""

    def __init__(self) -> None:
        self._rtnl = Rtnl()

    def close(self) -> None:
        self._rtnl.close()

    def seen(self, names: Collection[str]) -> dict[str, Leaf]:
        """The queues of those of these links that have an htb; one under a class that lends no burst is none. Raises WorldError."""
        indexes = {index: name for name in names if (index := _index(name))}
        limited: set[int] = set()
        lengths: dict[int, int] = {}
        try:
            for index, _, parent, attributes in qdiscs(self._rtnl):
                if index in indexes and parent == TC_ROOT and kind_of(attributes) == "htb":
                    limited.add(index)
                elif index in indexes and parent == QUEUE_0 and kind_of(attributes) == "pfifo" and self._lends(index):
                    lengths[index] = struct.unpack_from("=I", attributes[TCA_OPTIONS])[0]
        except OSError as error:
            raise untold(error) from None
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            return {indexes[one]: Leaf(lengths.get(one), _mtu(probe, indexes[one])) for one in limited}

    def lend(self, index: int) -> None:
        """Let 1:fffe have the burst of 1:1; at the ceiling of that both take as long. Raises OSError."""
        found = self._classes(index)
        if QUEUE_0 in found and _AROUND in found:
            around = dict(found[_AROUND])
            parms = bytearray(around[_HTB_PARMS])
            _, buffer = _buffers(found[QUEUE_0])
            _BUFFERS.pack_into(parms, _BUFFERS_AT, buffer, buffer)
            around[_HTB_PARMS] = bytes(parms)
            options = b"".join(attribute(kind, around[kind]) for kind in (_HTB_PARMS, *_HTB_RATES) if kind in around)
            rule = attribute(TCA_KIND, b"htb\0") + attribute(TCA_OPTIONS, options)
            self._rtnl.ask(_NEW_CLASS, ACK, TC.pack(0, index, _AROUND, TC_ROOT, 0) + rule)

    def _lends(self, index: int) -> bool:
        """Whether 1:fffe has the burst of 1:1. Of a link that has just gone it does not matter."""
        with suppress(OSError):
            found = self._classes(index)
            if QUEUE_0 in found and _AROUND in found:
                return _buffers(found[_AROUND])[0] >= _buffers(found[QUEUE_0])[1]
        return True

    def _classes(self, index: int) -> dict[int, dict[int, bytes]]:
        """The options of each htb class of a link."""
        return {handle: options for handle, options in classes(self._rtnl, index) if len(options.get(_HTB_PARMS, b"")) >= _HTB_SIZE}


def _buffers(options: dict[int, bytes]) -> tuple[int, int]:
    buffer, cbuffer = _BUFFERS.unpack_from(options[_HTB_PARMS], _BUFFERS_AT)
    return buffer, cbuffer


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _mtu(probe: socket.socket, name: str) -> int:
    """The MTU of a link; of one that has gone meanwhile it does not matter."""
    try:
        return int(struct.unpack_from("16xi", fcntl.ioctl(probe, _SIOCGIFMTU, struct.pack("16sI20x", name.encode(), 0)))[0])
    except OSError:
        return 1500
