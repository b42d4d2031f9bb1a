"""How long the queues under guests' limits may be in the userspace datapath, so that no guest takes another's traffic.

Open vSwitch sends to all links of the userspace datapath by one packet socket (af_packet_sock
in netdev-linux.c). A frame that waits in a limited link's queue is charged to that socket, and
once its send buffer is full the switch can send nothing to anybody. So the queues of all limited
links share a part of that buffer: the more links, the less each may hold. What a short queue
cannot smooth, a burst does (``vnetd.policy.shape``), which is charged to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

from vnetd.model.dataplane import USERSPACE
from vnetd.model.state import Desired, Observed, Role, Rows

LONGEST = 16
"""Frames of an MTU of 1500: a longer queue lets no more through, and the last frame in it waits longer."""

TOGETHER = 64
"""Such frames in the queues of all links: 144 of the 208 KiB that a socket has (net.core.wmem_default); the rest is for other links."""

_SMALL, _SMALL_MTU = 2304, 1600
"""Bytes that a frame is charged with (skb->truesize): a piece of memory of 2 KiB, as long as it fits there, and what describes it."""

_PAGE = 4096
"""Larger frames are charged whole pages: 8448 bytes for 4000, 13120 for 9000, as seen in ``ss -0 -m``."""


def limited_links(rows: Rows) -> list[str]:
    """The links whose queues count: those of ports with a limit that the switch has made."""
    return [
        name
        for name, seen in rows.ports.items()
        if seen.port.shape is not None and seen.live and not seen.members and _is_userspace(rows, seen.port.bridge)
    ]


def leaves_to_set(desired: Desired, observed: Observed) -> Iterator[tuple[str, int]]:
    """(link, frames) for each queue that has another length. A row that is not in force yet has none: its queue may be made anew."""
    limited = [port for port in desired.ports.values() if port.role is Role.GUEST and port.shape is not None]
    share = share_of(len(limited))
    for port in limited:
        leaf, seen = observed.leaves.get(port.name), observed.rows.ports.get(port.name)
        if leaf is None or seen is None or seen.port.shape != port.shape:
            continue
        wanted = frames(share, leaf.mtu)
        # While sources are missing there are more ports than are known, and a queue that is short already is right.
        if leaf.limit != wanted and (desired.complete or leaf.limit is None or leaf.limit > wanted):
            yield port.name, wanted


def share_of(links: int) -> int:
    """How many small frames each of so many links may hold. It is halved as they become more, so that few comings and goings change it."""
    share = LONGEST
    while share > 1 and share * links > TOGETHER:
        share //= 2
    return share


def frames(share: int, mtu: int) -> int:
    """How many frames of this MTU are charged as much as a share of small ones: one at least, or nothing would get through."""
    charge = _SMALL if mtu <= _SMALL_MTU else _PAGE * (mtu // _PAGE + 2) + 256
    return max(1, share * _SMALL // charge)


def _is_userspace(rows: Rows, bridge: str) -> bool:
    row = rows.bridges.get(bridge)
    return row is not None and bool(row.owner) and row.datapath == USERSPACE
