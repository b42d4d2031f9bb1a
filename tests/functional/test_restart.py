"""ovs-vswitchd ends and comes back, in each of the ways it does, under traffic and under attack: who is cut off, and what gets through.

On which data plane the kernel goes on by itself is the lab's affair; that nothing forbidden passes, nobody is left waiting and all is as
before afterwards holds on each.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from labs import started_lab
from mesh.guests import Net
from world import World

NET = Net("again", "gre", 7, 1)
HOST, MTU = "hv1", 1400
CTL = "/usr/share/openvswitch/scripts/ovs-ctl --no-monitor --system-id=random"
WAYS = {
    "killed": "kill -9 $(cat /run/openvswitch/ovs-vswitchd.pid); sleep 0.3; /run/start-vswitchd",
    "stopped and started": f"{CTL} --no-ovsdb-server stop; sleep 1; {CTL} --no-ovsdb-server start",
    "restarted by ovs-ctl": f"{CTL} restart",
}
PINGS, PERIOD = 150, 0.1
CUT_SECONDS = 8
"""The longest that anybody may be cut off for, on a busy machine; how long it was is printed."""
EVIL = """import socket, time
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); tap.bind(("eth0", 0x88b5))
end = time.time() + 15
while time.time() < end:
    tap.send(bytes.fromhex("5254006f00025254006f0099") + b"\\x88\\xb6" + b"evil" * 12)
    time.sleep(0.02)
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of it: pings that were answered on this host and the other, and forged frames at the victim."""

    near: int
    far: int
    forged: int


@pytest.fixture(scope="module")
def lab() -> Iterator[World]:
    """Two stations on one host, and one on another."""
    with started_lab("r", 2, NET.xml((1, 2))) as world:
        for host, number in ((HOST, 1), (HOST, 2), ("hv2", 3)):
            _plug(world, host, number)
        world.on(HOST, "tee", "/run/evil.py", stdin=EVIL)
        world.wait_for_tunnels(HOST, "hv2", seconds=30)
        yield world


def _plug(world: World, host: str, number: int) -> None:
    """The userspace data plane takes frames as they are, without a checksum still to do."""
    name, mac, off = f"s{number}", f"52:54:00:6f:00:{number:02x}", "tx off tso off gso off gro off > /dev/null"
    xml = f"<interface type='network'><mac address='{mac}'/><source network='{NET.name}'/><mtu size='{MTU}'/></interface>"
    world.on(host, "tee", f"/etc/vnetd/taps/{name}.xml", stdin=xml)
    world.on(
        host,
        f"set -e; ip netns add {name}; ip link add {name} mtu {MTU} type veth peer name eth0 address {mac} mtu {MTU} netns {name};"
        f"ip -n {name} addr add 10.1.0.{number}/24 dev eth0; ip -n {name} link set eth0 up;"
        f"ip netns exec {name} ethtool -K eth0 {off}; ethtool -K {name} {off}; /etc/vnetd/ovs-ifup {name}",
    )


def _key(world: World) -> str:
    return world.on(HOST, "ovs-vsctl get Open_vSwitch . other_config").strip()


def _meanwhile(world: World, what: str) -> Heard:
    """Do it while two stations ping, and one of them sends frames with a MAC address that is not its own."""
    ping = f"ip netns exec s1 ping -i {PERIOD} -c {PINGS} -W 1 10.1.0"
    out = world.on(
        HOST,
        "ip netns exec s2 timeout 18 tcpdump -i eth0 -w /run/forged.pcap ether proto 0x88b6 2> /dev/null &"
        f"{ping}.2 > /run/near & {ping}.3 > /run/far & ip netns exec s1 python3 /run/evil.py &"
        f"sleep 2; ( {what} ) > /run/what 2>&1; wait; cat /run/near /run/far; tcpdump -r /run/forged.pcap 2> /dev/null | wc -l",
    )
    near, far = (int(count) for count in re.findall(r"(\d+) received", out))
    return Heard(near, far, int(out.split()[-1]))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_nothing_forbidden_passes_and_all_is_as_before(lab: World, way: str) -> None:
    before = lab.flows(HOST)
    heard = _meanwhile(lab, way)
    print(f"\n{PINGS - heard.near} of {PINGS} pings lost on the host, {PINGS - heard.far} to the other; {heard.forged} forged frames")
    assert heard.forged == 0
    assert PINGS - heard.near <= CUT_SECONDS / PERIOD
    lab.until(lambda: "flow-restore-wait" not in _key(lab), 15, "nobody waits any more")
    lab.wait_for_tunnels(HOST, "hv2", seconds=20)
    lab.until(lambda: lab.flows(HOST) == before, 20, "the flows are those of before")


def test_a_daemon_that_is_not_there_leaves_nobody_waiting(lab: World) -> None:
    lab.stop_daemon(HOST)
    try:
        lab.on(HOST, WAYS["killed"])
        assert "flow-restore-wait" not in _key(lab)
    finally:
        lab.on(HOST, "/run/start-vnetd")
    lab.until(lambda: lab.attempt(HOST, "ip netns exec s1 ping -c 1 -W 1 10.1.0.2").returncode == 0, 15, "it is as before")


def test_what_a_killed_daemon_left_is_taken_away_by_the_next(lab: World) -> None:
    lab.stop_daemon(HOST, "KILL")
    lab.on(HOST, "ovs-vsctl --no-wait set Open_vSwitch . other_config:flow-restore-wait=TRUE")
    lab.on(HOST, "/run/start-vnetd")
    assert "flow-restore-wait" not in _key(lab)


def test_the_wait_of_others_stays(lab: World) -> None:
    """ovs-ctl's, for one."""
    lab.on(HOST, "ovs-vsctl --no-wait set Open_vSwitch . other_config:flow-restore-wait=true")
    try:
        lab.restart_daemon(HOST)
        time.sleep(1)
        assert "flow-restore-wait" in _key(lab)
    finally:
        lab.on(HOST, "ovs-vsctl --no-wait remove Open_vSwitch . other_config flow-restore-wait")
