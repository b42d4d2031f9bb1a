"""The detour on which a frame's checksum is completed: one device of kind ifb, without checksum offload, for all taps of the host."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from array import array
from pathlib import Path

from vnetd.adapters.rtnl import ACK, Rtnl, attribute
from vnetd.model.judge import DETOUR as NAME

# rtnetlink(7), linux/if_link.h, linux/ethtool.h.
_NEW_LINK, _DELETE_LINK = 16, 17
_EXCLUSIVE, _CREATE = 0x200, 0x400
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_IFLA_NAME, _IFLA_INFO, _INFO_KIND = 3, 18, 1
_UP = 1
_SIOCETHTOOL, _SIOCGIFFLAGS = 0x8946, 0x8913
_GET_TX_CHECKSUM, _SET_TX_CHECKSUM = 0x16, 0x17
_REQUEST = struct.Struct("16sP16x")


class Detour:
    """The device; ``index`` is what it was when last looked for, 0 for none that is in order."""

    def __init__(self, rtnl: Rtnl) -> None:
        self._rtnl = rtnl
        self.index = 0

    def find(self) -> int:
        """The index of the device, if it is there, up, an ifb, and completes checksums."""
        try:
            index = socket.if_nametoindex(NAME)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                right = _is_up(probe) and not _offload(probe, _GET_TX_CHECKSUM)
        except OSError:
            return 0
        return index if right else 0

    def make(self) -> int:
        """Have the device in order; its index. Raises OSError."""
        if not self.find():
            kind = attribute(_IFLA_INFO, attribute(_INFO_KIND, b"ifb"))
            body = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_NAME, NAME.encode() + b"\0") + kind
            with contextlib.suppress(FileExistsError):
                self._rtnl.ask(_NEW_LINK, ACK | _CREATE | _EXCLUSIVE, body)
            # Nobody speaks there but the frames that are sent on.
            with contextlib.suppress(OSError):
                (Path("/proc/sys/net/ipv6/conf") / NAME / "disable_ipv6").write_text("1", encoding="ascii")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                _offload(probe, _SET_TX_CHECKSUM)
            self._rtnl.ask(_NEW_LINK, ACK, _LINK.pack(0, 0, socket.if_nametoindex(NAME), _UP, _UP))
        self.index = self.find()
        if not self.index:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        return self.index

    def drop(self) -> None:
        """Take the device away. Raises OSError."""
        self.index = 0
        self._rtnl.ask(_DELETE_LINK, ACK, _LINK.pack(0, 0, socket.if_nametoindex(NAME), 0, 0))


def _is_up(probe: socket.socket) -> bool:
    request = struct.pack("16sH22x", NAME.encode(), 0)
    return bool(struct.unpack_from("16xH", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))[0] & _UP)


def _offload(probe: socket.socket, command: int) -> int:
    """Ask whether the device leaves checksums to somebody else, or turn that off."""
    value = array("I", [command, 0])  # ethtool_value
    fcntl.ioctl(probe, _SIOCETHTOOL, _REQUEST.pack(NAME.encode(), value.buffer_info()[0]))
    return value[1]
