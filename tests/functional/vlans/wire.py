"""What a link carries, as tcpdump sees it: frames with all of their tags."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

from scapy.utils import RawPcapReader

START_SECONDS, ARRIVE_SECONDS = 10.0, 10.0


class Capture:
    """tcpdump's command (where it runs, and what it is to see) between entering and leaving, and what it saw."""

    def __init__(self, command: Sequence[str], file: Path) -> None:
        self._command = [*command, "-nU", "--immediate-mode", "-B", "16384", "-w", str(file)]
        self._file = file

    def __enter__(self) -> Capture:
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        assert self._process.stderr is not None
        heard, end = b"", time.monotonic() + START_SECONDS
        while b"listening on" not in heard:
            piece = self._process.stderr.readline()
            assert piece, f"tcpdump does not run: {heard.decode()}"
            assert time.monotonic() < end, "tcpdump does not start"
            heard += piece
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """End tcpdump, which then says how many frames it has lost."""
        # Entering a host takes a process of its own, which would end alone.
        os.killpg(self._process.pid, signal.SIGINT)
        _, errors = self._process.communicate(timeout=10)
        if kind is None:
            assert b"\n0 packets dropped by kernel" in errors, errors.decode()

    def until(self, mark: bytes) -> None:
        """Until tcpdump has written a frame with this mark: what was sent before it is there, too."""
        end = time.monotonic() + ARRIVE_SECONDS
        while mark not in self._file.read_bytes():
            assert time.monotonic() < end, f"{mark!r} is not on the wire"
            time.sleep(0.02)

    def frames(self) -> list[tuple[float, bytes]]:
        """All frames, and when they were seen."""
        with closing(RawPcapReader(str(self._file))) as reader:
            return [(about.sec + about.usec / 1e6, frame) for frame, about in reader]


def in_gre(frame: bytes) -> bytes | None:
    """The Ethernet frame inside a GRE packet (RFC 2784, RFC 2890), with its own tags; None where there is none."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 47:
        return None
    start = 14 + 4 * (frame[14] & 0xF)
    flags, kind = struct.unpack_from("!HH", frame, start)
    # Checksum, key and sequence number.
    optional = sum(4 for bit in (0x8000, 0x2000, 0x1000) if flags & bit)
    return frame[start + 4 + optional :] if kind == 0x6558 else None
