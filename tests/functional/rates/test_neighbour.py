"""A guest's limit is its own matter: what is sent beyond it takes nothing from the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from world import World

from rates.stations import station, wired
from rates.streams import Stream, flow

NETWORK = "apart"
HELD = station("held", NETWORK, bandwidth="<inbound average='1250'/><outbound average='1250'/>")
FLOODER, ONE, OTHER = (station(name, NETWORK) for name in ("flooder", "one", "other"))
PACE = 20.0
"""Mbit/s, of which a machine that is busy with something else still carries all."""


@pytest.fixture(scope="module")
def apart(rates: World) -> Iterator[World]:
    with wired(rates, NETWORK, HELD, FLOODER, ONE, OTHER):
        yield rates


SHARED_QUEUE = pytest.mark.xfail(
    strict=True,
    reason="the userspace data plane sends to all links by one packet socket, which the queue of one limited link can fill",
)


@pytest.mark.parametrize("outbound", [pytest.param(True, id="from it"), pytest.param(False, id="to it", marks=SHARED_QUEUE)])
def test_others_lose_nothing_when_a_limit_overflows(apart: World, outbound: bool) -> None:
    over = Stream(HELD, FLOODER, PACE) if outbound else Stream(FLOODER, HELD, PACE)
    held, free = flow(apart, over, Stream(ONE, OTHER, PACE))
    print(f"\nlimit of 10 Mbit/s: {held.frames:.2f}; beside it, of {PACE} Mbit/s: {free.goodput:.2f}")
    assert held.frames <= 10.5
    assert free.goodput >= 0.97 * PACE
