"""Taps that are held with virtio's header, inside a lab host: one process that takes and answers JSON lines.

It imports nothing but the standard library and what stands beside it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from answering import serve

from differential.tap import OFFLOADS, Header, Tap


class Agent:
    """The open ends by their names."""

    def __init__(self) -> None:
        self.taps: dict[str, Tap] = {}

    def open(self, name: str, tap: str, takes: bool = False) -> dict[str, Any]:
        """A tap with virtio's header; ``takes`` is whether its guest takes frames whose checksum and segments are still to be made."""
        self.taps[name] = Tap(tap, offloads=OFFLOADS if takes else 0)
        return {}

    def send(self, name: str, frame: str, header: list[int]) -> dict[str, Any]:
        try:
            self.taps[name].send(bytes.fromhex(frame), Header(*header))
        except OSError as error:
            return {"error": str(error)}
        return {"error": ""}

    def wait(self, name: str, mark: str, seconds: float) -> dict[str, Any]:
        """All frames that come until one with this mark does or the time is over, with their headers."""
        end, found, marked = time.monotonic() + seconds, [], bytes.fromhex(mark)
        while time.monotonic() < end:
            new = self.taps[name].receive()
            found += [(header.hex(), frame.hex()) for header, frame in new]
            if any(marked in frame for _, frame in new):
                return {"seen": found, "missing": False}
            time.sleep(0.005)
        return {"seen": found, "missing": True}


if __name__ == "__main__":
    serve(Agent())
