"""Networks joined to one with an overlay: their ports hear what is for all, whatever the tunnel bridge has to ask about it."""

from __future__ import annotations

from collections import Counter

from world import World

from vlans.frames import BROADCAST, ether
from vlans.ports import HOSTS, SERVICE, Arena, Port
from vlans.stage import Outcome, Stage, staged
from vnetd.intent import joint_names
from vnetd.pipeline.catalogue import TunnelTable

MODES = {mode.name: mode for mode in SERVICE}
ACCESS, TUNNEL = MODES["access-100"], MODES["tunnel-all"]
SENDER = Port(ACCESS, "hv1", True, 1)
OVERLAY = Arena("by-gre", "gre", (SENDER, Port(ACCESS, "hv1", False, 2), Port(ACCESS, "hv2", False, 3)))
# Two of a dot1q-tunnel: the question for the size can cost the first one its copy, and the first one's being parsed again all after it.
GUESTS = tuple(enumerate((TUNNEL, TUNNEL, ACCESS)))
BETWEEN = Port(ACCESS, "hv1", True, 30)
JOINED = Arena(
    "by-joint", "joint", (*(Port(mode, f"hv{host}", False, 10 * host + seat) for host in (1, 2) for seat, mode in GUESTS), BETWEEN)
)
FAR = Arena("by-far", "far", tuple(Port(mode, "hv1", False, 40 + seat) for seat, mode in GUESTS))
"""Joined to the other side, by a patch whose name, a hash, comes after that of the one which leads to the overlay."""
ROUNDS = 3
"""The first frame finds the switch's cache of decisions empty, the others find what was decided about it."""
LARGE = 1500
"""Bytes of payload. The MTU of the taps and of the underlay is the same, so that a port takes it, and with GRE around it no path does."""
MEASURE_SECONDS = 10


def test_every_port_of_joined_networks_hears_a_broadcast_once() -> None:
    """A frame is parsed again for dot1q-tunnel ports, and the tunnel bridge asks for its size: neither may cost anybody a copy."""
    assert joint_names("br-by-joint", "br-by-gre")[0] < joint_names("br-by-joint", "br-by-far")[0]
    with staged((OVERLAY, JOINED, FAR)) as stage:
        world = stage.world
        _await_question(world)
        faults = [fault for arena, sender in ((OVERLAY, SENDER), (JOINED, BETWEEN)) for fault in _faults(stage, arena, sender)]
        assert not faults, "\n".join(faults)
        # The joint is no tunnel: each large frame is counted once, however many copies of it were made on this host.
        world.on(SENDER.host, "ovs-appctl revalidator/wait")
        assert {row["reason"]: row["packets"] for row in world.drops(SENDER.host, SENDER.tap)} == {"too large for the tunnel": ROUNDS}


def _faults(stage: Stage, arena: Arena, sender: Port) -> list[str]:
    """Who hears what one port sends to all once too seldom or too often."""
    small = [b"small frame %d of %s." % (number, sender.tap.encode()) for number in range(ROUNDS)]
    large = [b"large frame %d of %s." % (number, sender.tap.encode()) for number in range(ROUNDS)]
    outcome = Outcome()
    for payload in (*small, *(mark.ljust(LARGE, b"\0") for mark in large)):
        stage.send(arena, sender, [ether(BROADCAST, sender.mac, (), payload)], outcome)
    heard = Counter((tap, mark) for tap, frame in outcome.seen for mark in (*small, *large) if mark in frame)
    faults = []
    for port in (*OVERLAY.ports, *JOINED.ports, *FAR.ports):
        for mark in (*small, *large):
            # What is too large for the tunnel goes to no other host, and on this one to everybody all the same.
            wanted = int(port is not sender and (mark in small or port.host == sender.host))
            if heard[port.tap, mark] != wanted:
                faults.append(f"{port.tap}, {port.name}, hears {mark.decode()} {heard[port.tap, mark]} times, must be {wanted}")
    return faults


def _await_question(world: World) -> None:
    """Until each host knows the path to the other, and asks for the size of every flood: before that nothing is too large."""
    question = f"ovs-ofctl -O OpenFlow15 dump-flows br-tun table={TunnelTable.FLOOD:d} | grep check_pkt_larger"
    for host in HOSTS:
        world.until(lambda host=host: all(one["path_mtu"] for one in world.tunnels(host)), MEASURE_SECONDS, f"{host} knows the path")
        world.until(lambda host=host: not world.attempt(host, question).returncode, MEASURE_SECONDS, f"{host} asks for the size")
        # The ports have spoken before, and what was decided then must not be what becomes of the frames to come.
        world.on(host, "ovs-appctl revalidator/purge")
