"""OpenFlow 1.4 spoken to a bridge's management socket, for what ovs-ofctl needs a process each.

Strategy: every question is one batch of messages with a barrier behind it. The
switch answers in order, so when the barrier's reply is here, so is every answer and
every error, each with the number (xid) of the message that it is about. Sections are
those of the OpenFlow Switch Specification 1.4.0; every field is big-endian (7.1).
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from vnetd.errors import Unavailable, WorldError

TIMEOUT = 10.0
"""Seconds that a whole conversation may take."""

VERSION = 5
"""The wire's number for OpenFlow 1.4 (7.1.1)."""

# Message types (7.1.1, enum ofp_type).
_HELLO, _ERROR, _ECHO_REQUEST, _ECHO_REPLY = 0, 1, 2, 3
_BARRIER_REQUEST, _BARRIER_REPLY = 20, 21

# ofp_header (7.1.1): version, type, length, xid.
_HEADER = struct.Struct("!BBHI")
# ofp_hello_elem_versionbitmap (7.5.1): type 1, length 8, a bit for each version.
_VERSIONS = struct.Struct("!HHI")
# ofp_error_msg (7.5.4): type, code; the message that it is about follows.
_FAILURE = struct.Struct("!HH")
_HELLO_FAILED = 0


class NoSuchBridge(Unavailable):
    """The switch has no such bridge (yet), or does not run."""


class Refused(WorldError):
    """The switch answered a question with an error: (type, code) of 7.5.4."""

    def __init__(self, failure: tuple[int, int]) -> None:
        super().__init__(f"the switch refused it with error type {failure[0]}, code {failure[1]}")
        self.failure = failure


@dataclass
class _Answers:
    """What the switch said about each message of a batch, by xid; a part has the type of its message, too."""

    parts: list[tuple[int, int, bytes]] = field(default_factory=list)
    failures: dict[int, tuple[int, int]] = field(default_factory=dict)
    finished: bool = False


class Conversation:
    """One connection to a bridge's management socket, from hello to close, within ``seconds`` altogether."""

    def __init__(self, path: Path, seconds: float = TIMEOUT) -> None:
        self._path, self._seconds = path, seconds
        self._end = time.monotonic() + seconds
        self._next_xid = 1
        self._in, self._out = bytearray(), bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._poll = select.poll()

    def __enter__(self) -> Conversation:
        try:
            self._connect()
            self._greet()
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def tell(self, messages: Sequence[tuple[int, bytes]]) -> dict[int, tuple[int, int]]:
        """Send (type, body) in one go; returns (error type, code) of those that failed, by their place in ``messages``."""
        first = self._next_xid
        answers = self._ask(messages)
        return {xid - first: failure for xid, failure in answers.failures.items()}

    def ask(self, kind: int, body: bytes, reply: int) -> list[bytes]:
        """The bodies of all replies of this type to one message. Raises Refused when the switch answers with an error."""
        xid = self._next_xid
        answers = self._ask([(kind, body)])
        for failure in answers.failures.values():
            raise Refused(failure)
        return [part for answered, answer, part in answers.parts if (answered, answer) == (xid, reply)]

    def _connect(self) -> None:
        try:
            self._socket.settimeout(self._seconds)
            self._socket.connect(str(self._path))
            self._socket.setblocking(False)
        except FileNotFoundError:
            raise NoSuchBridge(f"ovs-vswitchd does not run, or has not made the bridge yet: there is no {self._path}") from None
        except PermissionError:
            raise WorldError(f"{self._path} may be opened by root only") from None
        except OSError as error:
            raise Unavailable(f"ovs-vswitchd does not answer at {self._path}: {error.strerror or error}") from None
        self._poll.register(self._socket, select.POLLIN)

    def _greet(self) -> None:
        """Exchange hellos (7.5.1): nothing else may be said before the other side's is here."""
        self._send(_HELLO, _VERSIONS.pack(1, _VERSIONS.size, 1 << VERSION))
        version, kind, _, body = self._receive()
        if kind != _HELLO:
            raise WorldError("the bridge does not speak OpenFlow 1.4")
        # Without a bitmap the header's version is the highest, and all lower ones are meant (6.3.1).
        speaks = version >= VERSION
        if len(body) >= _VERSIONS.size and body[:2] == b"\x00\x01":
            speaks = bool(_VERSIONS.unpack_from(body)[2] & 1 << VERSION)
        if not speaks:
            raise WorldError("the bridge does not speak OpenFlow 1.4")

    def _ask(self, messages: Sequence[tuple[int, bytes]]) -> _Answers:
        """Send messages and a barrier behind them (7.3.7), and take in everything up to the barrier's reply."""
        for kind, body in messages:
            self._send(kind, body)
        barrier = self._send(_BARRIER_REQUEST, b"")
        answers = _Answers()
        while not answers.finished:
            _, kind, xid, body = self._receive()
            if kind == _ECHO_REQUEST:
                self._send(_ECHO_REPLY, body, xid)
            elif kind == _BARRIER_REPLY and xid == barrier:
                answers.finished = True
            elif kind == _ERROR and len(body) >= _FAILURE.size:
                failure = _FAILURE.unpack_from(body)
                if failure[0] == _HELLO_FAILED:
                    raise WorldError("the bridge does not speak OpenFlow 1.4")
                answers.failures[xid] = failure
            else:
                answers.parts.append((xid, kind, body))
        return answers

    def _send(self, kind: int, body: bytes, xid: int | None = None) -> int:
        """Put a message behind those that wait to be sent; ``_receive`` sends while it waits."""
        if xid is None:
            xid, self._next_xid = self._next_xid, self._next_xid + 1
        self._out += _HEADER.pack(VERSION, kind, _HEADER.size + len(body), xid) + body
        return xid

    def _receive(self) -> tuple[int, int, int, bytes]:
        """(version, type, xid, body) of the next message."""
        while True:
            if len(self._in) >= _HEADER.size:
                version, kind, length, xid = _HEADER.unpack_from(self._in)
                if length < _HEADER.size:
                    raise Unavailable(f"what answers at {self._path} is not OpenFlow")
                if len(self._in) >= length:
                    body = bytes(self._in[_HEADER.size : length])
                    del self._in[:length]
                    return version, kind, xid, body
            self._exchange()

    def _exchange(self) -> None:
        """Wait until bytes can go out or come in. Both at once, for a switch whose errors nobody reads stops reading too."""
        self._poll.modify(self._socket, select.POLLIN | (select.POLLOUT if self._out else 0))
        left = self._end - time.monotonic()
        ready = self._poll.poll(left * 1000) if left > 0 else []
        if not ready:
            raise Unavailable(f"ovs-vswitchd did not answer within {self._seconds:g} s")
        try:
            if self._out and ready[0][1] & select.POLLOUT:
                del self._out[: self._socket.send(self._out)]
            if ready[0][1] & ~select.POLLOUT:
                self._take_in()
        except BlockingIOError:
            return
        except OSError as error:
            raise Unavailable(f"ovs-vswitchd hung up: {error.strerror or error}") from None

    def _take_in(self) -> None:
        received = self._socket.recv(1 << 16)
        if not received:
            raise Unavailable("ovs-vswitchd hung up: it restarts, or the bridge has just gone")
        self._in += received
