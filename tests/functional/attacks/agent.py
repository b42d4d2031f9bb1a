"""The guests' end of a host's taps: one process inside each lab host, which takes and answers JSON lines.

It opens taps as QEMU does, and packet sockets on the bridges' own devices; a frame is
written to a tap as its guest would send it, and what arrives is kept until asked for.
It imports nothing but the standard library and what stands beside it, so that it starts at once.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from answering import serve

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
ETH_P_ALL = 0x0003
SO_RCVBUFFORCE = 33
OUTGOING = 4
"""PACKET_OUTGOING: what the host itself sends through the device is not what reached it."""


class Agent:
    """The open ends, and what arrived at them since the last question."""

    def __init__(self) -> None:
        self.taps: dict[str, int] = {}
        self.devices: dict[str, str] = {}
        self.sockets: dict[str, socket.socket] = {}
        self.udp: socket.socket | None = None
        self.hear: dict[str, socket.socket] = {}
        self.poll = select.poll()
        self.names: dict[int, str] = {}
        self.seen: list[tuple[str, bytes]] = []

    def open(self, name: str, tap: str) -> dict[str, Any]:
        """A tap, made and held as QEMU holds it."""
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI))
        self.taps[name] = end
        self.devices[name] = tap
        self._watch(name, end)
        return {"mac": _mac(tap)}

    def listen(self, name: str, device: str) -> dict[str, Any]:
        """A packet socket on a device of the host's."""
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL))
        link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        link.bind((device, ETH_P_ALL))
        self.sockets[name] = link
        self._watch(name, link.fileno())
        return {"mac": _mac(device)}

    def server(self, port: int) -> dict[str, Any]:
        """A UDP socket of the host's own stack, as a service of the host would have."""
        self.udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.udp.bind(("::", port))
        return {}

    def served(self) -> dict[str, Any]:
        """How many datagrams the host's own stack was given."""
        return {"count": _emptied(self.udp) if self.udp is not None else 0}

    def ears(self, ports: list[int], protocol: int) -> dict[str, Any]:
        """Sockets of the host's own stack for these UDP ports and this IP protocol, as whoever ends tunnels has."""
        for port in ports:
            self.hear[str(port)] = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self.hear[str(port)].bind(("::", port))
        for family in (socket.AF_INET, socket.AF_INET6):
            self.hear[family.name] = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        return {}

    def heard(self) -> dict[str, Any]:
        """How many packets each of those sockets was given since the last question."""
        return {"counts": {name: count for name, one in self.hear.items() if (count := _emptied(one))}}

    def deafen(self) -> dict[str, Any]:
        for one in self.hear.values():
            one.close()
        self.hear = {}
        return {}

    def send(self, name: str, frames: list[str]) -> dict[str, Any]:
        errors = []
        for frame in frames:
            try:
                self._write(name, bytes.fromhex(frame))
            except OSError as error:
                errors.append(f"{len(frame) // 2} bytes: {error}")
        return {"errors": errors}

    def rest(self, seconds: float) -> dict[str, Any]:
        """Until nothing that was sent is still to be decided by the host's switch. What the kernel's cache has no answer for goes up to
        ovs-vswitchd, whose answer comes later than the frames behind it that have one."""
        end, switch = time.monotonic() + seconds, _Switch()
        while time.monotonic() < end:
            if not switch.busy():
                # One of its threads may have waited for another in that moment.
                time.sleep(0.0005)
                if not switch.busy():
                    return {"rests": True}
            time.sleep(0.0005)
        return {"rests": False}

    def forget(self) -> dict[str, Any]:
        """The switch forgets what it has decided, and decides anew about each frame to come."""
        return {"answer": _Switch().command("revalidator/purge")}

    def until(self, mark: str, of: str, at: list[str], seconds: float) -> dict[str, Any]:
        """All that has arrived but frames with ``of`` in them, once the one with this mark is at each of ``at`` or the time is over."""
        wanted, marked, common = set(at), bytes.fromhex(mark), bytes.fromhex(of)
        end = time.monotonic() + seconds
        while wanted and time.monotonic() < end:
            start = len(self.seen)
            self._read(max(end - time.monotonic(), 0))
            wanted -= {name for name, frame in self.seen[start:] if marked in frame}
        self._read(0)
        found, self.seen = self.seen, []
        return {"missing": sorted(wanted), "seen": [(name, frame.hex()) for name, frame in found if common not in frame]}

    def burst(self, name: str, frame: str, count: int) -> dict[str, Any]:
        """Many copies of a frame, each numbered in its last four bytes, as fast as the switch takes them and no faster."""
        body, reader = bytes.fromhex(frame), _Reader(self.devices[name])
        start = time.monotonic()
        for number in range(count):
            self._write(name, body[:-4] + number.to_bytes(4, "big"))
            if number % 20 == 19:
                reader.wait()
                self._read(0)
        return {"seconds": time.monotonic() - start}

    def stream(self, name: str, frames: list[str], seconds: float, pause: float) -> dict[str, Any]:
        """These frames again and again, all of them after each pause; how many times."""
        bodies, end, rounds = [bytes.fromhex(frame) for frame in frames], time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for body in bodies:
                self._write(name, body)
            rounds += 1
            time.sleep(pause)
        return {"rounds": rounds}

    def tally(self, mark: str, seconds: float) -> dict[str, Any]:
        """How many frames with this mark arrive at each port, ending when none has come for so long."""
        marked: bytes = bytes.fromhex(mark)
        counts: dict[str, int] = {}
        last = time.monotonic()
        while True:
            self._read(0.05)
            for name, frame in self.seen:
                if marked in frame:
                    counts[name] = counts.get(name, 0) + 1
                    last = time.monotonic()
            self.seen = []
            if time.monotonic() > last + seconds:
                return {"counts": counts}

    def watch(self, marks: list[str], seconds: float, idle: float) -> dict[str, Any]:
        """How many frames with each of these marks arrive, until none has for so long or the time is over; not before the first."""
        wanted, counts = [bytes.fromhex(mark) for mark in marks], [0] * len(marks)
        end, last = time.monotonic() + seconds, float("inf")
        while time.monotonic() < min(end, last + idle):
            self._read(0.05)
            for _, frame in self.seen:
                for number, mark in enumerate(wanted):
                    if mark in frame:
                        counts[number] += 1
                        last = time.monotonic()
            self.seen = []
        return {"counts": counts}

    def _write(self, name: str, frame: bytes) -> None:
        if name in self.taps:
            os.write(self.taps[name], frame)
        else:
            self.sockets[name].send(frame)

    def _watch(self, name: str, end: int) -> None:
        self.names[end] = name
        self.poll.register(end, select.POLLIN)

    def _read(self, seconds: float) -> bool:
        """Whatever has arrived or arrives first; False if nothing did."""
        ready = [end for end, _ in self.poll.poll(seconds * 1000)]
        for end in ready:
            name = self.names[end]
            while (frame := self._take(name, end)) is not None:
                if frame:
                    self.seen.append((name, frame))
        return bool(ready)

    def _take(self, name: str, end: int) -> bytes | None:
        """The next frame, b"" for one that does not count, None when there is no more."""
        try:
            if name in self.taps:
                return os.read(end, 65536)
            frame, address = self.sockets[name].recvfrom(65536)
        except BlockingIOError:
            return None
        except OSError:
            # A tap that is down for a moment, as while its MTU is set, has nothing to say.
            return None
        return b"" if address[2] == OUTGOING else frame


class _Switch:
    """The host's ovs-vswitchd, seen from outside, and asked as ovs-appctl would."""

    FOLDER = "/run/openvswitch"
    GENERIC = "16"
    """NETLINK_GENERIC, by which the kernel asks ovs-vswitchd."""

    def __init__(self) -> None:
        with open(f"{self.FOLDER}/ovs-vswitchd.pid", encoding="ascii") as file:
            self._pid = file.read().strip()

    def busy(self) -> bool:
        """Whether frames wait for the kernel, wait for ovs-vswitchd, or are being decided by one of its threads."""
        waiting = any(int(words[11], 16) for words in map(str.split, _read("/proc/net/softnet_stat").splitlines()) if len(words) > 11)
        lines = [line.split() for line in _read("/proc/net/netlink").splitlines()[1:]]
        asked = any(words[1] == self.GENERIC and words[4] != "0" for words in lines)
        return waiting or asked or any(map(self._works, glob.glob(f"/proc/{self._pid}/task/*")))

    def _works(self, thread: str) -> bool:
        """Whether it is one of those that decide, and does not sleep. New ones take their place after each change of the switch's ports."""
        name, _, words = _read(f"{thread}/stat").partition("(")[2].rpartition(") ")
        return name.startswith("handler") and words[:1] in ("R", "D")

    def command(self, *words: str) -> str:
        """JSON-RPC, as in ovs-appctl(8): starting that would cost more than all it does."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.connect(f"{self.FOLDER}/ovs-vswitchd.{self._pid}.ctl")
        with link, link.makefile("rw", encoding="utf-8") as file:
            file.write(json.dumps({"id": 0, "method": words[0], "params": words[1:]}))
            file.flush()
            text = ""
            while True:
                text += file.read(1)
                try:
                    found = json.loads(text)
                except ValueError:
                    continue
                return str(found["result"])


def _read(path: str) -> str:
    """A file of the kernel's; nothing where a thread has just ended."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


class _Reader:
    """Whoever reads a device by packet sockets: here Open vSwitch. What their queues have no room for is lost."""

    def __init__(self, device: str) -> None:
        self._index = str(socket.if_nametoindex(device))

    def wait(self) -> None:
        """Until all of them have read what there was."""
        while any(self._queued()):
            time.sleep(0.0002)

    def _queued(self) -> list[int]:
        """packet(7): bytes in the queue of each packet socket of the device."""
        with open("/proc/net/packet", encoding="ascii") as file:
            lines = [line.split() for line in file][1:]
        return [int(words[6]) for words in lines if words[4] == self._index]


def _mac(device: str) -> str:
    with open(f"/sys/class/net/{device}/address", encoding="ascii") as file:
        return file.read().strip()


def _emptied(link: socket.socket) -> int:
    """How many packets there were in a socket, which has none after that."""
    count = 0
    while True:
        try:
            link.recv(65536)
        except BlockingIOError:
            return count
        count += 1


if __name__ == "__main__":
    serve(Agent())
