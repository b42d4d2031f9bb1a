"""What the attacks and the matrix take as "the switch has nothing left to decide", on a bare bridge without vnetd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attacks.remote import Agent
from dataplane import chosen
from labkit.hypervisor import Lab
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from world import World

pytestmark = pytest.mark.kernel("elsewhere nothing goes up to ovs-vswitchd and comes back")

ROUNDS = 200
HEAD = Ether(dst="52:54:00:00:00:02", src="52:54:00:00:00:01") / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2)
AGAIN = "push_mpls:0x8847,pop_mpls:0x0800"
"""After which what is inside must be parsed again."""
STAGES = (
    "in_port=from,actions=resubmit(,1);table=1,actions=output:to",
    f"in_port=from,ip,actions={AGAIN},resubmit(,1);table=1,ip,nw_dst=10.0.0.2,actions={AGAIN},resubmit(,2);"
    "table=2,ip,nw_src=10.0.0.1,actions=output:to",
)
"""Decided at once, and in three parts, each of which goes up by itself."""


@pytest.fixture
def bare(fresh_lab: Lab) -> Iterator[tuple[World, Agent]]:
    """A bridge of the test's own with two taps."""
    with fresh_lab.locked():
        fresh_lab.up(1, daemon=False)
    world, agent = World(fresh_lab), Agent(fresh_lab, "hv1")
    world.on("hv1", f"ovs-vsctl add-br bare -- set bridge bare datapath_type={chosen().datapath_type} fail_mode=secure")
    for tap in ("from", "to"):
        agent.call("open", name=tap, tap=tap)
        world.on("hv1", f"ip link set {tap} up; ovs-vsctl add-port bare {tap}")
    yield world, agent
    agent.end()


@pytest.mark.parametrize("flows", STAGES, ids=["one part", "three parts"])
def test_a_frame_that_goes_up_has_arrived_when_the_switch_rests(bare: tuple[World, Agent], flows: str) -> None:
    """With an empty cache each frame goes up. Nobody waits for it but by asking whether there is rest."""
    world, agent = bare
    for flow in flows.split(";"):
        world.on("hv1", "ovs-ofctl", "-O", "OpenFlow14", "--names", "add-flow", "bare", flow)
    late = []
    for number in range(ROUNDS):
        agent.call("forget")
        frame = bytes(HEAD / Raw(number.to_bytes(20))).hex()
        agent.call("send", name="from", frames=[frame])
        assert agent.call("rest", seconds=10)["rests"]
        seen = agent.call("until", mark=b"never".hex(), of=b"never".hex(), at=[], seconds=0)["seen"]
        if ["to", frame] not in seen:
            late.append(number)
    assert not late, f"{len(late)} of {ROUNDS} frames came only after that: {late[:20]}"
