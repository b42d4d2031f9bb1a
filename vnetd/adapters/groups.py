"""Groups of one bridge (OpenFlow 1.4, 5.6), without a process: those with one bucket that leads to a table.

A restart of ovs-vswitchd loses groups, as it does flows, so they are read with the
flows and put before them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from vnetd.adapters.conversation import Conversation, Refused
from vnetd.errors import Unavailable, WorldError
from vnetd.model.state import Group, GroupKind

# Message types (7.1.1), the multipart type for descriptions of groups (7.3.5.9), commands and types of groups (7.3.4.3).
_GROUP_MOD, _MULTIPART_REQUEST, _MULTIPART_REPLY = 15, 18, 19
_GROUP_DESC = 7
_ADD, _MODIFY, _DELETE = 0, 1, 2
_NUMBERS = {GroupKind.SELECT: 1, GroupKind.INDIRECT: 2}
_KINDS = {number: kind for kind, number in _NUMBERS.items()}
_ANY = 0xFFFF_FFFF
_MOD = struct.Struct("!HBxI")
_DESC = struct.Struct("!HBxI")
_BUCKET = struct.Struct("!HHII4x")
_MULTIPART = struct.Struct("!HH4x")
_RESUBMIT_TABLE = struct.Struct("!HHIHHB3x")
"""Open vSwitch's own action (ovs-actions(7), resubmit): type, length, vendor, subtype, port, table."""


def read_groups(path: Path) -> dict[int, Group]:
    """The groups of the bridge with this management socket that are of the form of ``Group``, by number."""
    with Conversation(path) as switch:
        try:
            parts = switch.ask(_MULTIPART_REQUEST, _MULTIPART.pack(_GROUP_DESC, 0), _MULTIPART_REPLY)
        except Refused as error:
            raise WorldError(f"the switch does not tell its groups: error type {error.failure[0]}, code {error.failure[1]}") from None
    found = {}
    for entry in (entry for body in parts for entry in _entries(body[_MULTIPART.size :])):
        _, kind, number = _DESC.unpack_from(entry)
        group = Group(_KINDS[kind], entry[-4]) if kind in _KINDS else None
        if group is not None and entry[_DESC.size :] == _bucket(group):
            found[number] = group
    return found


def put_groups(path: Path, groups: Sequence[tuple[int, Group]]) -> None:
    """Make each group, or make it what it must be. Raises WorldError when the switch cannot have one."""
    if not groups:
        return
    with Conversation(path) as switch:
        refused = switch.tell([_mod(_ADD, number, group) for number, group in groups])
        # Such a one may be there, and be another's or what somebody has made of it.
        there = [groups[place] for place in refused]
        refused = switch.tell([_mod(_MODIFY, number, group) for number, group in there]) if there else {}
    for place, (kind, code) in refused.items():
        number, group = there[place]
        raise WorldError(f"the switch cannot have the group {number} ({group}): error type {kind}, code {code}")


def drop_groups(path: Path, numbers: Sequence[int]) -> None:
    """Delete groups, and with them the flows that name them; one that is gone is success. Raises WorldError."""
    if not numbers:
        return
    with Conversation(path) as switch:
        refused = switch.tell([(_GROUP_MOD, _MOD.pack(_DELETE, 0, number)) for number in numbers])
    for place, (kind, code) in refused.items():
        raise WorldError(f"the switch does not delete the group {numbers[place]}: error type {kind}, code {code}")


def _mod(command: int, number: int, group: Group) -> tuple[int, bytes]:
    return _GROUP_MOD, _MOD.pack(command, _NUMBERS[group.kind], number) + _bucket(group)


def _bucket(group: Group) -> bytes:
    """The one bucket. A select group chooses by weight, which must not be 0 there; elsewhere it must be (7.3.4.3)."""
    action = _RESUBMIT_TABLE.pack(0xFFFF, _RESUBMIT_TABLE.size, 0x2320, 14, 0xFFF8, group.table)
    weight = 1 if group.kind is GroupKind.SELECT else 0
    return _BUCKET.pack(_BUCKET.size + len(action), weight, _ANY, _ANY) + action


def _entries(body: bytes) -> list[bytes]:
    """Descriptions that say their own length, one behind the other."""
    found = []
    while body:
        length = _DESC.unpack_from(body)[0] if len(body) >= _DESC.size else 0
        if length < _DESC.size or length > len(body):
            raise Unavailable("ovs-vswitchd's answer about groups breaks off")
        found.append(body[:length])
        body = body[length:]
    return found
