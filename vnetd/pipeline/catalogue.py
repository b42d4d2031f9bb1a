"""The tables and cookies of both pipelines, in the order that a frame meets them.

A network's bridge:

    CLASSIFY   0  by port: a guest's frame to GUARD, a carrier's to FORWARD, an unknown port's nowhere
    GUARD     10  a guest's MAC and VLAN; what is not listed drops, counted by reason
    NESTED    11  an access port's frame must not hide a second tag
    FORWARD   60  Open vSwitch's own switching (NORMAL): learning, VLANs, flooding

The tunnel bridge, one per host:

    CLASSIFY   0  by port: a network's patch gets its segment, a tunnel goes to SEGMENT
    SEGMENT   20  (peer, segment) to its network: learn where the sender is, hand the frame to the patch and to nothing else
    UNICAST   30  what was learned: (network, VLAN, MAC) to the tunnel it was seen behind; broadcast and strangers go on
    FLOOD     40  one copy to each of the network's peers

What comes from a tunnel reaches only SEGMENT, whose flows lead only to patches, so
no frame ever goes from tunnel to tunnel and the mesh has no loops.
"""

from __future__ import annotations

from enum import IntEnum

_BASE = 0x766E6574 << 32
"""The upper half of every cookie of vnetd's: "vnet" in ASCII."""


class Table(IntEnum):
    """Table numbers; the gaps leave room between purposes."""

    CLASSIFY = 0
    GUARD = 10
    NESTED = 11
    SEGMENT = 20
    UNICAST = 30
    FLOOD = 40
    FORWARD = 60


class Cookie(IntEnum):
    """A flow's kind. Kinds never change their number: another cookie makes every flow be replaced."""

    CLASSIFY = _BASE | 0x01
    UNWIRED = _BASE | 0x02
    GUARD = _BASE | 0x10
    FOREIGN_MAC = _BASE | 0x11
    FOREIGN_VLAN = _BASE | 0x12
    NESTED_TAG = _BASE | 0x13
    FORWARD = _BASE | 0x20
    SEGMENT = _BASE | 0x30
    UNICAST = _BASE | 0x31
    LEARNED = _BASE | 0x32
    FLOOD = _BASE | 0x33


REASONS = {
    Cookie.UNWIRED: "port without policy",
    Cookie.FOREIGN_MAC: "foreign source MAC",
    Cookie.FOREIGN_VLAN: "VLAN not allowed",
    Cookie.NESTED_TAG: "second VLAN tag",
}
"""Why a frame was dropped, by the cookie of the flow that counted it."""

_OURS = f"cookie=0x{_BASE >> 32:x}"
_LEARNED = f"cookie=0x{Cookie.LEARNED:x},"


def is_ours(line: str) -> bool:
    """Whether a line of ``ovs-ofctl dump-flows`` is a flow of vnetd's."""
    return line.startswith(_OURS) and line.find(",") == len(_OURS) + 8


def is_learned(line: str) -> bool:
    """Whether the switch made the flow itself, by a learn action of vnetd's."""
    return line.startswith(_LEARNED)
