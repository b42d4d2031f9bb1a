"""What a port's <bandwidth> says is what gets through, in each direction: never more, and not much less.

A meter holds what a guest sends, and drops what is too much, so that TCP is held to no least there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from dataplane import chosen
from world import World

from rates.stations import Station, station, wired
from rates.streams import ABOVE, Flowed, Stream, flow, flow_within, offered

NETWORK = "rates"
BELOW = 0.90
"""How much of a limit must get through: by UDP, and to the guest by TCP too."""
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A station with a limit (kilobytes/s in the XML, so that 125 is 1 Mbit/s) and one without, which it talks to."""

    limit: int
    held: Station
    free: Station

    def streams(self, outbound: bool, udp: bool) -> Stream:
        ends = (self.held, self.free) if outbound else (self.free, self.held)
        return Stream(*ends, offered(self.limit) if udp else None)


def _pair(limit: int, mtu: int = 1500, peak: bool = False) -> Pair:
    rate = limit * 125
    inbound = f"<inbound average='{rate // 2}' peak='{rate}'/>" if peak else f"<inbound average='{rate}'/>"
    held = station(f"held{limit}", NETWORK, bandwidth=f"{inbound}<outbound average='{rate}'/>", mtu=mtu)
    return Pair(limit, held, station(f"free{limit}", NETWORK, mtu=mtu))


SLOW = tuple(_pair(limit, peak=number == 2) for number, limit in enumerate(chosen().limits))
"""All at the same time: together they are no work for the machine."""
FAST = _pair(chosen().fast_limit, mtu=9000)
UNLIMITED = Pair(FAST.limit, station("one", NETWORK, mtu=9000), station("other", NETWORK, mtu=9000))


@pytest.fixture(scope="module")
def paired(rates: World) -> Iterator[World]:
    with wired(rates, NETWORK, *(one for pair in (*SLOW, FAST, UNLIMITED) for one in (pair.held, pair.free))):
        yield rates


def test_five_rates_in_both_directions_by_udp_and_tcp(paired: World) -> None:
    lines = [f"{'limit':>6} {'':>9} {'':>4} {'goodput':>8} {'frames':>8} {'of limit':>9}   (Mbit/s; frames are what the limit is on)"]
    wrong = []
    for udp in (True, False):
        for outbound in (True, False):
            # What overflows a limit toward a guest is queued in the kernel, and that queue is measured best without others beside it.
            for pairs in (SLOW, (FAST,)) if outbound or not udp else ((pair,) for pair in (*SLOW, FAST)):
                for pair, flowed, right in _measured(paired, pairs, outbound, udp):
                    lines.append(_line(pair, outbound, udp, flowed))
                    wrong += [] if right else lines[-1:]
    most = _most(paired)
    lines.append(f"{'none':>6} {'':>9} {'UDP':>4} {most.goodput:8.2f} {most.frames:8.2f}")
    if most.frames < FAST.limit:
        lines.append(f"this machine carries less than {FAST.limit} Mbit/s, so that row is held against what it does carry")
    print("\n" + "\n".join(lines))
    assert not wrong, "\n".join(["not what the XML says:", *wrong])


def _measured(world: World, pairs: Sequence[Pair], outbound: bool, udp: bool) -> list[tuple[Pair, Flowed, bool]]:
    """What arrived at each pair, and whether that is right.

    Too little may be the machine's fault that others use,
    too: it is measured again, and held against what passes without a limit.
    """
    for _ in range(ATTEMPTS):
        found = flow_within(world, lambda found: all(_bounded(pairs, found)), *(pair.streams(outbound, udp) for pair in pairs))
        high = _bounded(pairs, found)
        low = [(outbound and not udp) or flowed.frames >= BELOW * pair.limit for pair, flowed in zip(pairs, found, strict=True)]
        if not all(low) and pairs == (FAST,):
            low = [found[0].frames >= BELOW * min(FAST.limit, _most(world).frames)]
        if all(low) or not all(high):
            break
    return [(pair, flowed, one and other) for pair, flowed, one, other in zip(pairs, found, high, low, strict=True)]


def _bounded(pairs: Sequence[Pair], found: Sequence[Flowed]) -> list[bool]:
    """Whether each is right as far as too much goes."""
    return [flowed.frames <= ABOVE * pair.limit for pair, flowed in zip(pairs, found, strict=True)]


def _most(world: World) -> Flowed:
    """What passes without a limit, of as much as is sent to the fastest pair."""
    return flow(world, UNLIMITED.streams(outbound=True, udp=True))[0]


def _line(pair: Pair, outbound: bool, udp: bool, flowed: Flowed) -> str:
    direction = "outbound" if outbound else "inbound"
    share = flowed.frames / pair.limit
    return f"{pair.limit:>6} {direction:>9} {'UDP' if udp else 'TCP':>4} {flowed.goodput:8.2f} {flowed.frames:8.2f} {share:9.2f}"
