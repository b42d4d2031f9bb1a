"""The group AGAIN: the way by which a frame is parsed anew inside the switch.

A group of type "select" chooses among its buckets by a hash of the packet, and for that Open
vSwitch sends the packet through its data plane once more, which looks at it afresh
(ofproto-dpif-xlate.c, xlate_select_group). With one bucket there is nothing to choose, and
the frame goes on in the table that the bucket names. A restart of ovs-vswitchd loses groups, as
it does flows, so it is looked at with the flows and put before them.
"""

from __future__ import annotations

import struct
from pathlib import Path

from vnetd.adapters.conversation import Conversation, Refused
from vnetd.errors import Unavailable, WorldError
from vnetd.pipeline import AGAIN, Table

# Message types (7.1.1), the multipart type for descriptions of groups (7.3.5.9), commands and the type of group (7.3.4.3).
_GROUP_MOD, _MULTIPART_REQUEST, _MULTIPART_REPLY = 15, 18, 19
_GROUP_DESC = 7
_ADD, _MODIFY = 0, 1
_SELECT = 1
_ANY = 0xFFFF_FFFF
_MOD = struct.Struct("!HBxI")
_DESC = struct.Struct("!HBxI")
_BUCKET = struct.Struct("!HHII4x")
_MULTIPART = struct.Struct("!HH4x")
_RESUBMIT_TABLE = struct.Struct("!HHIHHB3x")
"""Open vSwitch's own action (ovs-actions(7), resubmit): type, length, vendor, subtype, port, table."""


def has_again(path: Path) -> bool:
    """Whether the bridge with this management socket has the group as it must be."""
    with Conversation(path) as switch:
        try:
            parts = switch.ask(_MULTIPART_REQUEST, _MULTIPART.pack(_GROUP_DESC, 0), _MULTIPART_REPLY)
        except Refused as error:
            raise WorldError(f"the switch does not tell its groups: error type {error.failure[0]}, code {error.failure[1]}") from None
    return any(_is_again(entry) for body in parts for entry in _entries(body[_MULTIPART.size :]))


def put_again(path: Path) -> None:
    """Make the group, or make it what it must be. Raises WorldError when the switch cannot have it."""
    body = _MOD.pack(_ADD, _SELECT, AGAIN) + _bucket()
    with Conversation(path) as switch:
        if not switch.tell([(_GROUP_MOD, body)]):
            return
        # It may be there, and be another's or what somebody has made of it.
        refused = switch.tell([(_GROUP_MOD, _MOD.pack(_MODIFY, _SELECT, AGAIN) + _bucket())])
        if refused:
            kind, code = refused[0]
            raise WorldError(f"the switch cannot have the group {AGAIN} for dot1q-tunnel ports: error type {kind}, code {code}")


def _bucket() -> bytes:
    """The one bucket: on to CUSTOMER. The weight counts among buckets, and must not be 0 (7.3.4.3)."""
    action = _RESUBMIT_TABLE.pack(0xFFFF, _RESUBMIT_TABLE.size, 0x2320, 14, 0xFFF8, Table.CUSTOMER)
    return _BUCKET.pack(_BUCKET.size + len(action), 1, _ANY, _ANY) + action


def _is_again(entry: bytes) -> bool:
    _, kind, number = _DESC.unpack_from(entry)
    return (kind, number) == (_SELECT, AGAIN) and entry[_DESC.size :] == _bucket()


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
