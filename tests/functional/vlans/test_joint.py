"""A network joined to one with an overlay: its ports hear what is for all, whatever the tunnel bridge has to ask about it."""

from __future__ import annotations

from collections import Counter

from world import World

from vlans.frames import BROADCAST, ether
from vlans.ports import HOSTS, SERVICE, Arena, Port
from vlans.stage import Outcome, staged
from vnetd.pipeline.catalogue import TunnelTable

MODES = {mode.name: mode for mode in SERVICE}
ACCESS, TUNNEL = MODES["access-100"], MODES["tunnel-all"]
SENDER = Port(ACCESS, "hv1", True, 1)
OVERLAY = Arena("by-gre", "gre", (SENDER, Port(ACCESS, "hv1", False, 2), Port(ACCESS, "hv2", False, 3)))
# Two of a dot1q-tunnel: the question for the size can cost the first one its copy, and the first one's being parsed again all after it.
GUESTS = tuple(enumerate((TUNNEL, TUNNEL, ACCESS)))
JOINED = Arena("by-joint", "joint", tuple(Port(mode, f"hv{host}", False, 10 * host + seat) for host in (1, 2) for seat, mode in GUESTS))
ROUNDS = 3
"""The first frame finds the switch's cache of decisions empty, the others find what was decided about it."""
LARGE = 1500
"""Bytes of payload. The MTU of the taps and of the underlay is the same, so that a port takes it, and with GRE around it no path does."""
MEASURE_SECONDS = 10


def test_every_port_of_a_joined_network_hears_a_broadcast_once() -> None:
    """A frame is parsed again for dot1q-tunnel ports, and the tunnel bridge asks for its size: neither may cost anybody a copy."""
    arenas = (OVERLAY, JOINED)
    small = [b"small frame %d." % number for number in range(ROUNDS)]
    large = [b"large frame %d." % number for number in range(ROUNDS)]
    with staged(arenas) as stage:
        world = stage.world
        _await_question(world)
        outcome = Outcome()
        for payload in (*small, *(mark.ljust(LARGE, b"\0") for mark in large)):
            stage.send(OVERLAY, SENDER, [ether(BROADCAST, SENDER.mac, (), payload)], outcome)
        heard = Counter((tap, mark) for tap, frame in outcome.seen for mark in (*small, *large) if mark in frame)
        faults = []
        for port in (*OVERLAY.ports, *JOINED.ports):
            for mark in (*small, *large):
                # What is too large for the tunnel goes to no other host, and on this one to everybody all the same.
                wanted = int(port is not SENDER and (mark in small or port.host == SENDER.host))
                if heard[port.tap, mark] != wanted:
                    faults.append(f"{port.tap}, {port.name}, hears {mark.decode()} {heard[port.tap, mark]} times, must be {wanted}")
        assert not faults, "\n".join(faults)
        # The joint is no tunnel: each large frame is counted once, however many copies of it were made on this host.
        world.on(SENDER.host, "ovs-appctl revalidator/wait")
        assert {row["reason"]: row["packets"] for row in world.drops(SENDER.host, SENDER.tap)} == {"too large for the tunnel": ROUNDS}


def _await_question(world: World) -> None:
    """Until each host knows the path to the other, and asks for the size of every flood: before that nothing is too large."""
    question = f"ovs-ofctl -O OpenFlow15 dump-flows br-tun table={TunnelTable.FLOOD:d} | grep check_pkt_larger"
    for host in HOSTS:
        world.until(lambda host=host: all(one["path_mtu"] for one in world.tunnels(host)), MEASURE_SECONDS, f"{host} knows the path")
        world.until(lambda host=host: not world.attempt(host, question).returncode, MEASURE_SECONDS, f"{host} asks for the size")
        # The ports have spoken before, and what was decided then must not be what becomes of the frames to come.
        world.on(host, "ovs-appctl revalidator/purge")
