"""A port's limits on what it sends to everybody, and a port that nobody claims."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dataplane import chosen
from scapy.layers.inet6 import ICMPv6ND_NS
from scapy.packet import Raw

from attacks.cast import PORTS
from attacks.frames import ARP, BROADCAST, IPV4, arp, ether, group6, ip4, ip6, solicited, udp
from attacks.judge import drops_now
from attacks.stage import Stage

MANY, LIMIT = chosen().burst, 1000
"""The frames of a burst, and the packets/s that a port may send by default, of each kind."""
Burst = Callable[[str], tuple[bytes, bytes]]
"""For a port of this name: a frame and its mark."""


def broadcast(nick: str) -> tuple[bytes, bytes]:
    """A frame to everybody and its mark; the burst puts a number at its end."""
    port, mark = PORTS[nick], b"burst-" + nick.encode() + b"-all"
    packet = ip4("255.255.255.255", udp(), src=port.ip) / Raw(mark + bytes(8))
    return ether(BROADCAST, packet, src=port.mac, kind=IPV4), mark


def request(nick: str) -> tuple[bytes, bytes]:
    port, mark = PORTS[nick], b"burst-" + nick.encode() + b"-arp"
    return ether(BROADCAST, arp(1, sha=port.mac, spa=port.ip) + mark + bytes(8), src=port.mac, kind=ARP), mark


def solicitation(nick: str) -> tuple[bytes, bytes]:
    port, mark = PORTS[nick], b"burst-" + nick.encode() + b"-nd6"
    target = "2001:db8:1::77"
    packet = bytes(ip6(solicited(target), ICMPv6ND_NS(tgt=target), src=port.ip6, hlim=255))
    return ether(group6(solicited(target)), packet + mark + bytes(8), src=port.mac, kind=0x86DD), mark


@pytest.mark.parametrize(
    ("make", "reasons"),
    [(broadcast, {"flood limit"}), (request, {"ARP and ND limit", "flood limit"}), (solicitation, {"ARP and ND limit", "flood limit"})],
)
def test_a_burst_is_cut_down_to_the_limit_and_every_frame_is_accounted_for(stage: Stage, make: Burst, reasons: set[str]) -> None:
    stage.introduce()
    before = drops_now(stage, {"L"})
    frame, mark = make("L")
    arrived, seconds = stage.burst("L", frame, mark, MANY)
    growth = drops_now(stage, {"L"}) - before
    assert {reason for _, reason in growth} <= reasons, growth
    assert growth["L", min(reasons)] > 0, growth
    for victim in ("V1", "S1"):
        # A meter of Open vSwitch holds what it lets through in a second and its burst; then comes the limit for as long as this lasts.
        assert 0 < arrived.get(victim, 0) <= LIMIT * (seconds + 2) * 1.05 < MANY / 2, (arrived, seconds)
        assert arrived[victim] + growth.total() == MANY, (arrived, growth)
    assert 0 < arrived.get("V2", 0) <= arrived["V1"], arrived
    # The limit is the port's own: another one is heard at once.
    assert stage.sentinel("P")[1] == []


def test_without_a_limit_a_burst_arrives_whole(stage: Stage) -> None:
    stage.introduce()
    before = drops_now(stage, {"P"})
    frame, mark = broadcast("P")
    arrived, _ = stage.burst("P", frame, mark, MANY)
    assert arrived.get("V1", 0) == MANY, arrived
    assert not drops_now(stage, {"P"}) - before


def test_a_port_that_nobody_claims_says_nothing(stage: Stage) -> None:
    """A tap that somebody plugs into the bridge by hand; nothing that it sends can be followed by a sentinel of its own."""
    agent, host = stage.agents["hv1"], "hv1"
    agent.call("open", name="X", tap="atk-x")
    stage.world.on(host, "ip link set atk-x up; ovs-vsctl add-port br-arena atk-x tag=10")
    try:
        frames = [
            ether(BROADCAST, arp(1, sha="52:54:00:a7:00:58", spa="10.0.0.88"), src="52:54:00:a7:00:58", kind=ARP),
            ether(PORTS["V1"].mac, ip4(PORTS["V1"].ip, udp(), src=PORTS["P"].ip)),
            ether(PORTS["V2"].mac, ip4(PORTS["V2"].ip, udp(), src=PORTS["P"].ip)),
            ether(BROADCAST, ip4("255.255.255.255", udp(68, 67), src="0.0.0.0")),
        ]
        agent.call("send", name="X", frames=[frame.hex() for frame in frames])
        seen = stage.sentinel("P")[0]
        stage.world.until(lambda: "rx pkts=0" not in _received(stage), 3, "the switch has read what the port sent")
        seen += stage.sentinel("P")[0]
        assert not [(name, frame.hex()) for name, frame in seen if frame in frames]
    finally:
        stage.world.on(host, "ovs-vsctl del-port br-arena atk-x")


def _received(stage: Stage) -> str:
    return stage.world.on("hv1", "ovs-ofctl -O OpenFlow14 dump-ports br-arena atk-x").split("tx", 1)[0]
