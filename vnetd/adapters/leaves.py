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

from vnetd.adapters.quiet import Rtnl, attribute, attributes_of
from vnetd.errors import WorldError
from vnetd.model.shaping import Leaf

# rtnetlink(7), linux/rtnetlink.h, linux/pkt_sched.h; everything is in the machine's own byte order.
_ACK, _DUMP, _NEW_QDISC, _GET_QDISC, _NEW_CLASS, _GET_CLASS = 4, 0x300, 36, 38, 40, 42
_TC = struct.Struct("=B3xiIII")  # tcmsg: family, link, handle, parent, info
_TCA_KIND, _TCA_OPTIONS = 1, 2
_HTB_PARMS, _HTB_SIZE = 1, 44  # tc_htb_opt
_BUFFERS = struct.Struct("=II")  # its buffer and cbuffer: how long the burst takes at the rate and at the ceiling
_BUFFERS_AT = 24
_ROOT = 0xFFFFFFFF
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
        for kind, body in self._qdiscs():
            _, index, _, parent, _ = _TC.unpack_from(body)
            if kind != _NEW_QDISC or index not in indexes or parent not in (_ROOT, QUEUE_0):
                continue
            attributes = attributes_of(body[_TC.size :])
            qdisc = attributes.get(_TCA_KIND, b"").rstrip(b"\0")
            if parent == _ROOT and qdisc == b"htb":
                limited.add(index)
            elif parent == QUEUE_0 and qdisc == b"pfifo" and self._lends(index):
                lengths[index] = struct.unpack_from("=I", attributes[_TCA_OPTIONS])[0]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            return {indexes[one]: Leaf(lengths.get(one), _mtu(probe, indexes[one])) for one in limited}

    def lend(self, index: int) -> None:
        """Let 1:fffe have the burst of 1:1; at the ceiling of that both take as long. Raises OSError."""
        classes = self._classes(index)
        if QUEUE_0 in classes and _AROUND in classes:
            _, buffer = _BUFFERS.unpack_from(classes[QUEUE_0], _BUFFERS_AT)
            parms = bytearray(classes[_AROUND])
            _BUFFERS.pack_into(parms, _BUFFERS_AT, buffer, buffer)
            options = attribute(_TCA_OPTIONS, attribute(_HTB_PARMS, bytes(parms)))
            self._rtnl.ask(_NEW_CLASS, _ACK, _TC.pack(0, index, _AROUND, _ROOT, 0) + attribute(_TCA_KIND, b"htb\0") + options)

    def _lends(self, index: int) -> bool:
        with suppress(OSError):
            classes = self._classes(index)
            if QUEUE_0 in classes and _AROUND in classes:
                lent: int = _BUFFERS.unpack_from(classes[_AROUND], _BUFFERS_AT)[0]
                own: int = _BUFFERS.unpack_from(classes[QUEUE_0], _BUFFERS_AT)[1]
                return lent >= own
        return True

    def _classes(self, index: int) -> dict[int, bytes]:
        """The tc_htb_opt of each class of a link."""
        found = {}
        for kind, body in self._rtnl.ask(_GET_CLASS, _DUMP, _TC.pack(0, index, 0, 0, 0)):
            parms = attributes_of(attributes_of(body[_TC.size :]).get(_TCA_OPTIONS, b"")).get(_HTB_PARMS, b"")
            if kind == _NEW_CLASS and len(parms) >= _HTB_SIZE:
                found[_TC.unpack_from(body)[2]] = parms
        return found

    def _qdiscs(self) -> list[tuple[int, bytes]]:
        try:
            return self._rtnl.ask(_GET_QDISC, _DUMP, _TC.pack(0, 0, 0, 0, 0))
        except OSError as error:
            raise WorldError(f"the kernel does not tell what tc does: {error.strerror}") from None


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
