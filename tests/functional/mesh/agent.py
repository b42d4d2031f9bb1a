"""The guests of one host: one process inside it that holds their taps, and sends and hears for them all the time.

Each guest sends rounds: a broadcast, and a frame to each of those it is told of, all
numbered. What is sent and heard is kept with its time until it is asked for. It imports
nothing but the standard library and what stands beside it, so that it starts at once.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from answering import answer

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
EXPERIMENT = b"\x88\xb5"
"""IEEE 802, table 4: an EtherType for local experiments."""
MARK = b"mesh"
BODY = struct.Struct("!HHI")
"""Who sends, to whom (0 is all), and the number of the round."""


class Agent:
    """Open taps, and what each is to send."""

    def __init__(self) -> None:
        self.taps: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.ids: dict[str, int] = {}
        self.frames: dict[str, list[tuple[int, bytes]]] = {}
        self.due: dict[str, float] = {}
        self.period = 0.0
        self.round = 0
        self.sent: list[tuple[int, int, int, float]] = []
        self.seen: list[tuple[int, int, int, int, float]] = []
        self.poll = select.poll()

    def open(self, tap: str, id: int) -> dict[str, Any]:  # noqa: A002 - it is called so in the frames.
        """Make and hold a tap as QEMU does."""
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI))
        self.taps[tap], self.names[end], self.ids[tap] = end, tap, id
        self.poll.register(end, select.POLLIN)
        return {}

    def close(self, tap: str) -> dict[str, Any]:
        """The guest is gone, and its tap with it."""
        end = self.taps.pop(tap)
        self.poll.unregister(end)
        os.close(end)
        self.frames.pop(tap, None)
        return {}

    def start(self, period: float, plan: dict[str, list[Any]]) -> dict[str, Any]:
        """From now on each tap of the plan sends a round in each period: [its MAC, [[whom, whose MAC], …]]."""
        self.period = period
        for tap, (mac, targets) in plan.items():
            heads = [(0, "ff:ff:ff:ff:ff:ff"), *targets]
            self.frames[tap] = [(whom, _bytes(to) + _bytes(mac) + EXPERIMENT + MARK) for whom, to in heads]
            # Guests that all speak in the same moment would be a burst, and no traffic.
            self.due[tap] = time.time() + period * (self.ids[tap] * 0.37 % 1)
        return {}

    def stop(self) -> dict[str, Any]:
        """No more rounds."""
        self.frames = {}
        return {}

    def send(self, tap: str, frame: str) -> dict[str, Any]:
        os.write(self.taps[tap], bytes.fromhex(frame))
        return {"time": time.time()}

    def take(self) -> dict[str, Any]:
        """What was sent and heard since the last time."""
        sent, seen, self.sent, self.seen = self.sent, self.seen, [], []
        return {"sent": sent, "seen": seen}

    def turn(self, seconds: float) -> None:
        """Hear what comes, and send what is due, for so long."""
        end = time.time() + seconds
        while (now := time.time()) < end:
            due = min((self.due[tap] for tap in self.frames), default=end)
            for handle, _ in self.poll.poll(1000 * max(min(due, end) - now, 0)):
                if handle == 0:
                    return
                self._hear(handle)
            for tap in self.frames:
                if self.due[tap] <= time.time():
                    self.due[tap] += self.period
                    self._speak(tap)

    def _speak(self, tap: str) -> None:
        self.round += 1
        for whom, head in self.frames[tap]:
            frame = head + BODY.pack(self.ids[tap], whom, self.round)
            self.sent.append((self.ids[tap], whom, self.round, time.time()))
            os.write(self.taps[tap], frame.ljust(60, b"\0"))

    def _hear(self, handle: int) -> None:
        name = self.names[handle]
        while True:
            try:
                frame = os.read(handle, 65536)
            except OSError:
                return
            if frame[12:18] == EXPERIMENT + MARK:
                self.seen.append((self.ids[name], *BODY.unpack_from(frame, 18), time.time()))


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def main() -> None:
    """Answer JSON lines, and between them let the guests talk."""
    agent = Agent()
    agent.poll.register(0, select.POLLIN)
    heard = b""
    while True:
        agent.turn(1.0)
        if not select.select([0], [], [], 0)[0]:
            continue
        piece = os.read(0, 65536)
        if not piece:
            return
        *lines, heard = (heard + piece).split(b"\n")
        for line in lines:
            answer(agent, line)


if __name__ == "__main__":
    main()
