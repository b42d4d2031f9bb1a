"""Five hypervisors in one overlay: a broadcast is seen exactly once by each guest, and nothing circles."""

from __future__ import annotations

import re
import time

from labkit.guest import GuestSpec
from labkit.hypervisor import Lab
from world import World

HOSTS = [f"hv{number}" for number in range(1, 6)]


def test_one_broadcast_is_seen_exactly_once_by_each_guest(fresh_lab: Lab) -> None:
    with fresh_lab.locked():
        fresh_lab.up(5)
    world = World(fresh_lab)
    world.start_network("overlay-gre.xml", *HOSTS)
    for number, host in enumerate(HOSTS, 1):
        world.guest(host, GuestSpec(f"g{number}", "blue", "vlan-10", addresses=[f"10.0.0.{number}/24"]), wait=False)
    world.wait_up(*(f"g{number}" for number in range(1, 6)))
    for number in range(2, 6):
        # Each pair of underlay neighbours is resolved first: the userspace datapath drops the frame that asks for one.
        assert world.pings("g1", f"10.0.0.{number}")
    for host in HOSTS:
        world.on(host, f"timeout 25 tcpdump -lnei {_tap(world, host)} 'arp host 10.0.0.200' > /run/seen.txt 2>/dev/null & sleep 0.3")
    before = _gre_frames(world)
    # An ARP request for a stranger: nobody answers, so each one is a broadcast and nothing else is sent.
    world.inside("g1", "arping -c 5 -w 6 -I eth0 10.0.0.200")
    sent = _seen(world, "hv1")
    assert sent >= 5, "the guest sent no broadcast"
    world.until(lambda: _seen(world, "hv2") >= sent, 5, "the broadcasts arrive")
    time.sleep(2)  # A loop would multiply them now.
    assert {host: _seen(world, host) for host in HOSTS[1:]} == dict.fromkeys(HOSTS[1:], sent)
    assert _gre_frames(world) - before < sent * 4 + 40, "frames circle on the underlay"


def _tap(world: World, host: str) -> str:
    return str(world.status(host)["ports"][0]["tap"])


def _seen(world: World, host: str) -> int:
    return world.on(host, "cat /run/seen.txt").count("ff:ff:ff:ff:ff:ff")


def _gre_frames(world: World) -> int:
    """Frames that came to any host's networks by tunnels. What the tunnels' own counters say holds BFD, too."""
    dumps = (world.on(host, "ovs-ofctl -O OpenFlow14 dump-flows br-tun table=20") for host in HOSTS)
    return sum(int(count) for dump in dumps for count in re.findall(r"n_packets=(\d+)", dump))
