"""What a switch makes of tags, written a second time: from IEEE 802.1Q and ovs-vswitchd.conf.db(5), not from vnetd's flows.

A frame inside the switch carries its VLAN as its outermost tag, as on a wire that
carries VLANs; no tag is the VLAN that has no number. ``admitted`` says what a frame
from a port is inside, ``shown`` what a port with guard='mac' gets of that. One rule is
stricter than Open vSwitch's own: where a VLAN's tag is taken off, none may come to
light behind it, or the frame would pose as one of another VLAN ("VLAN hopping").
Only a dot1q-tunnel port is there to show what is behind the tag.
"""

from __future__ import annotations

from dataclasses import dataclass

C_TAG, S_TAG = 0x8100, 0x88A8
"""The tags of IEEE 802.1Q: of a customer, and of a service provider (802.1ad)."""

Tags = tuple[tuple[int, int], ...]
"""(TPID, tag control information) of each tag, outermost first."""


def vid(tci: int) -> int:
    """The VLAN ID; the bits above it are the priority and whether the frame may be dropped first."""
    return tci & 0xFFF


@dataclass(frozen=True, slots=True)
class Mode:
    """What a port does with tags: its portgroup's VLANs, in the words of the XML."""

    name: str
    kind: str = "access"
    tag: int | None = None
    trunks: tuple[int, ...] = ()
    customers: tuple[int, ...] = ()
    tpid: int = S_TAG
    """Of the service tag."""

    @property
    def tunnel(self) -> bool:
        return self.kind == "dot1q-tunnel"

    @property
    def usual(self) -> list[Tags]:
        """A frame for each VLAN that the port is in, as its guest sends it."""
        if self.kind == "access":
            return [()]
        if self.tunnel:
            return [((C_TAG, self.customers[0]),) if self.customers else ()]
        return [((C_TAG, number),) for number in self.trunks]


def admitted(mode: Mode, tags: Tags) -> Tags | None:
    """The frame inside the switch, or None where the port may not send it."""
    if tags and vid(tags[0][1]) == 0:
        # A priority tag names no VLAN: the frame counts as untagged.
        tags = tags[1:]
    outer = vid(tags[0][1]) if tags else None
    if mode.kind == "access":
        return None if tags else _in_vlan(mode.tag)
    if mode.tunnel:
        passes = len(tags) < 2 and (not mode.customers or outer in mode.customers)
        return (*_in_vlan(mode.tag, mode.tpid), *tags) if passes else None
    if outer is None:
        return _in_vlan(mode.tag) if mode.kind != "trunk" else None
    return tags if outer in mode.trunks else None


def shown(mode: Mode, inside: Tags) -> Tags | None:
    """The frame as it leaves at the port, or None where the port is not in its VLAN."""
    outer, behind = (vid(inside[0][1]) if inside else None), inside[1:]
    if mode.kind == "access" or (mode.kind == "native-untagged" and outer == mode.tag):
        return () if outer == mode.tag and not behind else None
    if mode.tunnel:
        inner = vid(behind[0][1]) if behind else None
        passes = outer == mode.tag and len(behind) < 2 and (not mode.customers or inner in mode.customers)
        return behind if passes else None
    return inside if outer in mode.trunks else None


def _in_vlan(number: int | None, tpid: int = C_TAG) -> Tags:
    return ((tpid, number),) if number is not None else ()
