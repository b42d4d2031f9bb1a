"""What the kernel can have is found out by trying: objects that nothing uses, asked for and taken away again.

Strategy: whether a module is loaded, built in or could be loaded is the kernel's own
affair, and its files are out of the daemon's sight; a request that cannot succeed, or
does no harm, makes the kernel load what there is and say so if there is nothing.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping

from vnetd.adapters.rtnl import ACK, TC, TCA_KIND, TCA_OPTIONS, Rtnl, attribute
from vnetd.model.dataplane import LINK_COSTS

_CREATE, _EXCLUSIVE = 0x400, 0x200
_NEW_LINK, _NEW_QDISC, _DELETE_QDISC, _NEW_FILTER, _DELETE_FILTER, _NEW_ACTION, _DELETE_ACTION = 16, 36, 37, 44, 45, 48, 49
_LINK = struct.Struct("=BxHiII")  # ifinfomsg (rtnetlink(7))
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_NO_NAME = b"no/name\0"
"""No link can be called so: the kernel looks for the kind first, and then refuses."""

_CLSACT = (0xFFFF0000, 0xFFFFFFF1)  # the qdisc's handle and parent
_INGRESS = 0xFFFFFFF2  # the filter's parent
_LAST_OF_ALL = 0xFFFE << 16 | socket.htons(3)  # preference, every protocol
_BPF_LENGTH, _BPF_PROGRAM = 4, 5
_MATCH_NOTHING = struct.pack("=HBBI", 6, 0, 0, 0)  # BPF_RET | BPF_K, 0

# linux/pkt_cls.h, tc_act/tc_gact.h, tc_csum.h and tc_mirred.h.
_TAB, _ACT_KIND, _ACT_OPTIONS, _ACT_INDEX = 1, 1, 2, 3
_NUMBER = 0x766E6574
_COMMON = struct.pack("=IIiii", _NUMBER, 0, 0, 0, 0)  # tc_gen: index, capability, TC_ACT_OK, two counts
_ACTIONS = {
    "act_gact": (b"gact\0", attribute(2, _COMMON)),
    "act_csum": (b"csum\0", attribute(1, _COMMON + struct.pack("=I", 1))),
    # It must name a link, and lo is the first of every host.
    "act_mirred": (b"mirred\0", attribute(2, _COMMON + struct.pack("=iI", 1, 1))),
}


def kernel_links(rtnl: Rtnl) -> dict[str, bool]:
    """Which kinds of link for tunnels the kernel has; those are left out about which it does not say."""
    return _known({kind: _has_link(rtnl, kind) for kind in LINK_COSTS})


def kernel_tc(rtnl: Rtnl, bridge: str) -> dict[str, bool]:
    """Which parts of tc the kernel has. A qdisc and a filter that matches nothing are on the bridge's own link for a moment."""
    found: dict[str, bool | None] = {kind: _has_action(rtnl, *_ACTIONS[kind]) for kind in _ACTIONS}
    try:
        index = socket.if_nametoindex(bridge)
    except OSError:
        return _known(found)
    qdisc = TC.pack(0, index, *_CLSACT, 0)
    made = _try(rtnl, _NEW_QDISC, _CREATE | _EXCLUSIVE, qdisc + attribute(TCA_KIND, b"clsact\0"))
    found["clsact"] = _there(made)
    if found["clsact"]:
        found["cls_bpf"] = _has_filter(rtnl, index)
    if made == 0:
        _try(rtnl, _DELETE_QDISC, 0, qdisc)
    return _known(found)


def _known(found: Mapping[str, bool | None]) -> dict[str, bool]:
    return {kind: there for kind, there in found.items() if there is not None}


def _has_link(rtnl: Rtnl, kind: str) -> bool | None:
    info = attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, kind.encode() + b"\0"))
    error = _try(rtnl, _NEW_LINK, _CREATE | _EXCLUSIVE, _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, _NO_NAME) + info)
    return None if error == errno.EPERM else error != errno.EOPNOTSUPP


def _has_action(rtnl: Rtnl, kind: bytes, options: bytes) -> bool | None:
    one = attribute(_ACT_KIND, kind)
    error = _try(rtnl, _NEW_ACTION, _CREATE | _EXCLUSIVE, _actions(one + attribute(_ACT_OPTIONS, options)))
    if error == 0:
        _try(rtnl, _DELETE_ACTION, 0, _actions(one + attribute(_ACT_INDEX, struct.pack("=I", _NUMBER))))
    return _there(error)


def _actions(one: bytes) -> bytes:
    """tcamsg (family and padding), and a table with one action."""
    return bytes(4) + attribute(_TAB, attribute(1, one))


def _has_filter(rtnl: Rtnl, index: int) -> bool | None:
    head, kind = TC.pack(0, index, 1, _INGRESS, _LAST_OF_ALL), attribute(TCA_KIND, b"bpf\0")
    program = attribute(_BPF_LENGTH, struct.pack("=H", 1)) + attribute(_BPF_PROGRAM, _MATCH_NOTHING)
    error = _try(rtnl, _NEW_FILTER, _CREATE | _EXCLUSIVE, head + kind + attribute(TCA_OPTIONS, program))
    if error == 0:
        _try(rtnl, _DELETE_FILTER, 0, head + kind)
    return _there(error)


def _there(error: int) -> bool | None:
    """Whether the kernel has what it was asked to make; what else it may object to says nothing."""
    return True if error in (0, errno.EEXIST) else False if error == errno.ENOENT else None


def _try(rtnl: Rtnl, kind: int, flags: int, body: bytes) -> int:
    """Ask for it; returns the kernel's error, 0 for none."""
    try:
        rtnl.ask(kind, ACK | flags, body)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
