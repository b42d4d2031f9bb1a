"""Probes of a path: ICMP echo requests of a given size that may not be fragmented (RFC 792; RFC 4443, 4.1).

One raw socket an address family. Linux's IP_PMTUDISC_PROBE sets DF and sends as much as the interface takes,
whatever the kernel remembers of the path (ip(7)). A filter in the kernel keeps other programs' pings out, and an answer
counts only with the secret of this process in it, which nobody off the path knows.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from vnetd.model.names import IpAddress

LOG = logging.getLogger("vnetd.echo")
IP_HEADER = {4: 20, 6: 40}
_HEAD = struct.Struct("!BBHHH8s")
"""Type, code, checksum, identifier and sequence number, and the secret at the beginning of the data."""
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_SNAP = 256
"""Bytes of a packet that are looked at: the longest IPv4 header, and ``_HEAD``."""

_SO_ATTACH_FILTER = 26
_TIMESTAMP = 35
"""SO_TIMESTAMPNS: a struct timespec in the machine's own form comes with each packet (socket(7))."""
_TIMESPEC = struct.Struct("@ll")
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1
_MTU_DISCOVER, _RECVERR, _PKTINFO = {4: 10, 6: 23}, {4: 11, 6: 25}, {4: 8, 6: 50}
_PMTUDISC_PROBE = 3
_LEVEL = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
_EXTENDED = struct.Struct("=IBBBBII")
"""sock_extended_err (ip(7)): errno, origin, type, code, padding, info (the MTU) and data."""
_FROM_ICMP = {4: 2, 6: 3}

# struct sock_filter: code, jump if true, jump if false, operand (Documentation/networking/filter.rst).
_LOAD_HALF, _LOAD_HALF_BEHIND, _HEADER_LENGTH, _EQUALS, _RETURN = 0x28, 0x48, 0xB1, 0x15, 0x06


class Refused(Exception):
    """The interface does not take a packet of this size."""


_AT_ONCE = 512
"""So many answers are read in one turn, or whoever sends them without end would keep the others from being asked."""


class Echo:
    """Echo requests and what comes back, in one address family. ``identifier`` marks them as this process's own."""

    def __init__(self, version: int, identifier: int, secret: bytes) -> None:
        """Raises OSError where the kernel has no such family, or does not let this process have a raw socket."""
        family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
        self._version, self._identifier, self._secret = version, identifier, secret
        self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
        try:
            self._filter()
            for option, value in ((_MTU_DISCOVER, _PMTUDISC_PROBE), (_RECVERR, 1)):
                self._socket.setsockopt(_LEVEL[version], option[version], value)
            self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, local: IpAddress, remote: str, size: int, sequence: int) -> None:
        """Send a request that is ``size`` bytes of IP packet. Raises Refused, and OSError for whatever else the kernel says."""
        head = self._head(sequence)
        source = struct.pack("=i4s4x", 0, local.packed) if self._version == 4 else struct.pack("=16si", local.packed, 0)
        parts = [head, bytes(max(size - IP_HEADER[self._version] - len(head), 0))]
        extra = [(_LEVEL[self._version], _PKTINFO[self._version], source)]
        try:
            self._socket.sendmsg(parts, extra, 0, (remote, 0))
            return
        except BlockingIOError:
            raise
        except OSError:
            pass  # It may be what ICMP said of an earlier probe, which the kernel tells once.
        try:
            self._socket.sendmsg(parts, extra, 0, (remote, 0))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise Refused from None

    def _head(self, sequence: int) -> bytes:
        fields = _REQUEST[self._version], 0, 0, self._identifier, sequence, self._secret
        head = _HEAD.pack(*fields)
        if self._version == 6:
            return head  # The kernel puts the checksum in (RFC 3542, 3.1).
        total = sum(struct.unpack("!8H", head))
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        return _HEAD.pack(*fields[:2], ~total & 0xFFFF, *fields[3:])

    def answers(self) -> Iterator[tuple[int, str, float]]:
        """(sequence number, remote, ``time.time()`` of its arrival or 0) of answers that have come, and not more than somebody may send."""
        for _ in range(_AT_ONCE):
            try:
                data, extra, _, address = self._socket.recvmsg(_SNAP, 128)
            except BlockingIOError:
                return
            except OSError as error:
                LOG.debug("ICMP: %s", error)  # That of a probe; what it says is in the error queue.
                continue
            at = (data[0] & 15) * 4 if self._version == 4 and data else 0
            if len(data) < at + _HEAD.size:
                continue
            kind, _, _, identifier, sequence, secret = _HEAD.unpack_from(data, at)
            if (kind, identifier, secret) == (_REPLY[self._version], self._identifier, self._secret):
                yield sequence, address[0], _arrival(extra)

    def errors(self) -> Iterator[tuple[int, str, int]]:
        """(sequence number, remote, MTU) of each request that was too large for somebody on the way."""
        for _ in range(_AT_ONCE):
            try:
                data, extra, _, address = self._socket.recvmsg(_SNAP, 512, socket.MSG_ERRQUEUE)
            except OSError:
                break
            for level, kind, value in extra:
                if level == _LEVEL[self._version] and kind == _RECVERR[self._version] and len(value) >= _EXTENDED.size:
                    code, origin, _, _, _, mtu, _ = _EXTENDED.unpack_from(value)
                    sequence = self._sequence_of(data)
                    if code == errno.EMSGSIZE and origin == _FROM_ICMP[self._version] and sequence is not None:
                        yield sequence, address[0], mtu
        # An error that stands without an entry in the queue would wake the poll for ever.
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _sequence_of(self, data: bytes) -> int | None:
        """The sequence number of this process's request that an ICMP error quotes; RFC 792 has it quote as little as eight bytes."""
        if len(data) < 8:
            return None
        kind, _, _, identifier, sequence, _ = _HEAD.unpack_from(data.ljust(_HEAD.size, b"\0"))
        if (kind, identifier) != (_REQUEST[self._version], self._identifier) or not self._secret.startswith(data[8 : _HEAD.size]):
            return None
        assert isinstance(sequence, int)
        return sequence

    def _filter(self) -> None:
        """Let nothing but answers to this identifier into the socket, and of these no more than is looked at."""
        if self._version == 4:
            self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _REPLY[4]) & 0xFFFFFFFF))
            # The packet begins with the IP header here, and with that of ICMP in IPv6.
            program = [(_HEADER_LENGTH, 0, 0, 0), (_LOAD_HALF_BEHIND, 0, 0, 4)]
        else:
            words = [0xFFFFFFFF] * 8
            words[_REPLY[6] // 32] &= ~(1 << _REPLY[6] % 32)
            self._socket.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))
            program = [(_LOAD_HALF, 0, 0, 4)]
        program += [(_EQUALS, 0, 1, self._identifier), (_RETURN, 0, 0, _SNAP), (_RETURN, 0, 0, 0)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
        with suppress(OSError):
            while True:  # What came before the filter did is not looked at.
                self._socket.recv(1)


def _arrival(extra: list[tuple[int, int, bytes]]) -> float:
    for level, kind, value in extra:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP) and len(value) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            return float(seconds + nanoseconds / 1e9)
    return 0.0
