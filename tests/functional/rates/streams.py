"""Streams of iperf3 between stations, several at a time, measured where they arrive.

A limit is on Ethernet frames, from the destination's address to the end of the payload:
Open vSwitch's meters and linux-htb both count these. iperf3 tells of the payload alone,
so that a stream's ``frames`` are that and the headers of each frame. The first second,
in which a meter lets pass what it has saved up, does not count.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from world import World

from rates.stations import HOST, Station

SECONDS, LONG_SECONDS = 3, 12
ABOVE = 1.05
"""How much of a limit may get through at most."""
OVER = 1.3
"""How much more than the limit a UDP stream sends."""

_ETHERNET, _IP_UDP, _IP_TCP = 14, 28, 52
"""TCP with time stamps (RFC 7323), as Linux has it."""


@dataclass(frozen=True, slots=True)
class Stream:
    """From a station to another, over UDP at ``offered`` Mbit/s or, where that is None, over TCP."""

    sender: Station
    receiver: Station
    offered: float | None = None
    payload: int | None = None
    """Bytes in a datagram; otherwise nearly as many as there is room for."""
    rhythm: int = 1000
    """Microseconds from one batch of datagrams to the next."""

    @property
    def length(self) -> int:
        return self.payload or self.receiver.mtu - 100

    def command(self, seconds: int) -> str:
        udp = f"-u -b {self.offered * 1e6:.0f} -l {self.length} --pacing-timer {self.rhythm}" if self.offered else ""
        return f"{self.sender.inside} timeout 60 iperf3 -c {self.receiver.ip} -t {seconds} -O 1 {udp}"

    @property
    def expansion(self) -> float:
        """Bytes in frames for each byte of payload."""
        if self.offered:
            return (self.length + _IP_UDP + _ETHERNET) / self.length
        return (self.receiver.mtu + _ETHERNET) / (self.receiver.mtu - _IP_TCP)


@dataclass(frozen=True, slots=True)
class Flowed:
    """What arrived of a stream, in Mbit/s."""

    goodput: float
    frames: float


def flow(world: World, *streams: Stream, seconds: int = SECONDS) -> list[Flowed]:
    """Run all of them at once; what arrived of each. No two may have the same receiver."""
    servers = [_start(world, f"{one.receiver.inside} timeout 60 iperf3 -s -1 -J") for one in streams]
    listening = " && ".join(f"{one.receiver.inside} ss -Hltn 'sport = :5201' | grep -q ." for one in streams)
    world.until(lambda: world.attempt(HOST, listening).returncode == 0, 10, "iperf3 listens")
    clients = [_start(world, one.command(seconds)) for one in streams]
    for client in clients:
        _finish(client)
    return [_measured(one, json.loads(_finish(server)), seconds) for one, server in zip(streams, servers, strict=True)]


def flow_within(world: World, fits: Callable[[Sequence[Flowed]], bool], *streams: Stream) -> list[Flowed]:
    """The same; what does not fit a limit is measured once more, for longer.

    After a stream has stalled, a meter lets pass a quarter of a second's worth that it
    has saved up meanwhile, which is much in three seconds, and little in twelve.
    """
    found = flow(world, *streams)
    return found if fits(found) else flow(world, *streams, seconds=LONG_SECONDS)


def _start(world: World, command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        world.lab.command(HOST, ["sh", "-c", f"exec {command}"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 0, f"{output}{errors}"
    return output


def _measured(stream: Stream, told: dict[str, Any], seconds: int) -> Flowed:
    """From the receiver's whole seconds: its last one may be a piece, with what was still in a queue."""
    parts = [one["sum"] for one in told["intervals"] if not one["sum"]["omitted"] and one["sum"]["seconds"] > 0.9]
    assert len(parts) >= seconds - 1, told
    goodput = sum(part["bytes"] for part in parts) * 8 / sum(part["seconds"] for part in parts) / 1e6
    return Flowed(goodput, goodput * stream.expansion)


def offered(limit: float, share: float = 1.0) -> float:
    """What UDP must offer to be held by a limit."""
    return limit * OVER * share


def total(flowed: Sequence[Flowed]) -> float:
    return sum(one.frames for one in flowed)
