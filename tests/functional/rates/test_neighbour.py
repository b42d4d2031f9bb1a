"""A guest's limit is its own matter: what is sent beyond it takes nothing from the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest
from world import World

from rates.stations import HOST, station, wired
from rates.streams import ABOVE, Flowed, Stream, flow, flow_within
from vnetd.secondlook import AGAIN_SECONDS

pytestmark = pytest.mark.userspace("Open vSwitch sends to all links by one packet socket, which one queue could fill")

NETWORK = "apart"
MBIT = 10
LIMIT = f"<inbound average='{MBIT * 125}'/><outbound average='{MBIT * 125}'/>"
HELD = [station(f"held{number}", NETWORK, bandwidth=LIMIT) for number in range(4)]
"""Each has a port that its limit can overflow."""
FLOODERS = [station(f"flooder{number}", NETWORK) for number in range(4)]
ONE, OTHER = (station(name, NETWORK) for name in ("one", "other"))
PACE = 20.0
"""Mbit/s, of which a machine that is busy with something else still carries all."""


@pytest.fixture(scope="module")
def apart(rates: World) -> Iterator[World]:
    with wired(rates, NETWORK, *HELD, *FLOODERS, ONE, OTHER):
        yield rates


@pytest.mark.parametrize("many", [1, 4], ids=["one limit", "four limits"])
@pytest.mark.parametrize("outbound", [True, False], ids=["from them", "to them"])
def test_others_lose_nothing_when_limits_overflow(apart: World, outbound: bool, many: int) -> None:
    """Open vSwitch sends to all links by one packet socket, which a long queue under one limit would fill."""
    ends = zip(HELD, FLOODERS, strict=True) if outbound else zip(FLOODERS, HELD, strict=True)
    over = [Stream(*pair, PACE) for pair in ends][:many]

    def right(found: Sequence[Flowed]) -> bool:
        return all(one.frames <= ABOVE * MBIT for one in found[:-1]) and found[-1].goodput >= 0.97 * PACE

    *held, free = found = flow_within(apart, right, *over, Stream(ONE, OTHER, PACE))
    print(f"\nlimits of {MBIT} Mbit/s: {[round(one.frames, 2) for one in held]}; beside them, of {PACE} Mbit/s: {free.goodput:.2f}")
    assert right(found)


def test_tcp_passes_beside_limits_that_overflow(apart: World) -> None:
    """It got nothing at all beside one long queue."""
    over = [Stream(*pair, PACE) for pair in zip(FLOODERS, HELD, strict=True)]
    *_, free = flow(apart, *over, Stream(ONE, OTHER))
    print(f"\nTCP beside four limits that overflow: {free.goodput:.2f} Mbit/s")
    assert free.goodput >= PACE


QUEUE = "tc qdisc show dev held0 | grep -o 'pfifo .* parent 1:1 limit [0-9]*'"


def _queue(world: World) -> str:
    return world.attempt(HOST, QUEUE).stdout.rpartition(" ")[2].strip()


def _told(world: World, command: str) -> str:
    """What ``vnetctl plan`` says of what a command has broken; once more where a look of the daemon's for another reason came between."""
    for _ in range(3):
        world.on(HOST, command)
        told = world.attempt(HOST, "vnetctl", "plan").stdout
        if told != "nothing to do\n":
            break
        time.sleep(2 * AGAIN_SECONDS)
    return told


def test_a_queue_that_was_lost_comes_back(apart: World) -> None:
    """By the next look where somebody took it away by tc, and at once where Open vSwitch made the limit anew."""
    wanted = _queue(apart)
    assert wanted
    for command in ("tc qdisc del dev held0 parent 1:1", "tc qdisc replace dev held0 parent 1:1 pfifo limit 500"):
        assert _told(apart, command) == f"~ link held0: a queue of {wanted} under its limit\n"
        apart.on(HOST, "vnetctl", "apply")
        assert _queue(apart) == wanted
        apart.assert_settled(HOST)
    assert "held0" in _told(apart, "tc class change dev held0 parent 1: classid 1:fffe htb rate 10mbit burst 1600")
    apart.on(HOST, "vnetctl", "apply")
    apart.assert_settled(HOST)
    apart.on(HOST, "ovs-vsctl clear port held0 qos")
    apart.until(lambda: _queue(apart) == wanted, 5, "the queue is back under a limit that was taken away")
    apart.on(HOST, "kill $(cat /run/openvswitch/ovs-vswitchd.pid)")
    apart.until(lambda: apart.attempt(HOST, "pgrep -x ovs-vswitchd").returncode, 5, "ovs-vswitchd ends")
    apart.on(HOST, "tc qdisc del dev held0 root; /run/start-vswitchd")
    apart.until(lambda: _queue(apart) == wanted, 10, "the queue is back under a limit of a restarted switch")


AROUND = "tc class show dev held0 | sed -n 's/.* 1:fffe .* burst \\([^ ]*\\) .*/\\1/p'"


def test_a_queue_is_looked_after_when_open_vswitch_is_late(apart: World) -> None:
    """It acts on every link that comes or goes, also when vnetd's pass for it is over, and takes the burst from around the queue."""
    lent = apart.on(HOST, AROUND)
    switch = "$(cat /run/openvswitch/ovs-vswitchd.pid)"
    late = f"kill -STOP {switch}; ip link add late type veth peer name later; ip link del late; sleep 0.4; kill -CONT {switch}"
    taken = f"for i in $(seq 100); do [ $({AROUND}) = {lent.strip()} ] || exit 0; sleep 0.01; done; exit 1"
    assert apart.attempt(HOST, f"{late}; {taken}").returncode == 0, "Open vSwitch leaves the class as it is"
    apart.until(lambda: apart.on(HOST, AROUND) == lent, 5, "the burst is lent again")
    apart.assert_settled(HOST)
