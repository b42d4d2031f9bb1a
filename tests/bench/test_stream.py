"""One TCP stream between guests of two hosts: through vnetd's tables, and through two NORMAL bridges that are joined by hand."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest
from labs import started_lab
from world import World

HOSTS = ("hv1", "hv2")
ROUNDS, ATTEMPTS, SECONDS, MTU = 6, 3, 2, 1400
LEAST = 0.95
NETWORK = """<network><name>{name}</name>
  <metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>
    <vnet:overlay type='{name}' segment='100'>
      <vnet:peer name='hv1' address='192.0.2.11'/><vnet:peer name='hv2' address='192.0.2.12'/>
    </vnet:overlay>
  </vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-{name}'/><virtualport type='openvswitch'/>
</network>"""
TAP = "<interface><mac address='{mac}'/><source network='{network}'/><mtu size='{mtu}'/></interface>"


@dataclass(frozen=True, slots=True)
class Way:
    """A pair of guests and what is between them."""

    name: str
    kind: str
    number: int
    by_hand: bool

    @property
    def bridge(self) -> str:
        return f"int-{self.kind}" if self.by_hand else f"br-{self.kind}"

    def address(self, host: str) -> str:
        return f"10.{self.number}.0.{host[2]}"

    def build(self, world: World) -> None:
        for host in HOSTS:
            if self.by_hand:
                self._join(world, host)
            else:
                world.start_xml(NETWORK.format(name=self.kind), host)
            self._plug(world, host)

    def _join(self, world: World, host: str) -> None:
        """The bridge with the guests, another with the tunnel, and a patch between them; learning and flooding are NORMAL's."""
        tunnels, far = f"tun-{self.kind}", f"192.0.2.1{3 - int(host[2])}"
        world.on(
            host,
            f"ovs-vsctl add-br {self.bridge} -- set bridge {self.bridge} datapath_type=netdev"
            f" -- add-br {tunnels} -- set bridge {tunnels} datapath_type=netdev"
            f" -- add-port {self.bridge} p-{self.kind} -- set interface p-{self.kind} type=patch options:peer=q-{self.kind}"
            f" -- add-port {tunnels} q-{self.kind} -- set interface q-{self.kind} type=patch options:peer=p-{self.kind}"
            f" -- add-port {tunnels} t-{self.kind} -- set interface t-{self.kind} type={self.kind} options:key={self.number}"
            f" options:local_ip=192.0.2.1{host[2]} options:remote_ip={far}",
        )

    def _plug(self, world: World, host: str) -> None:
        """A namespace and a veth pair. The userspace datapath takes frames as they are, so the sender does its checksums itself."""
        tap, mac, off = self.name, f"52:54:00:5e:{self.number:02x}:0{host[2]}", "tx off tso off gso off gro off > /dev/null"
        inside = f"ip netns exec {self.name}"
        world.on(host, "tee", f"/etc/vnetd/taps/{tap}.xml", stdin=TAP.format(mac=mac, network=self.kind, mtu=MTU))
        wire = f"ovs-vsctl add-port {self.bridge} {tap} && ip link set {tap} up" if self.by_hand else f"/etc/vnetd/ovs-ifup {tap}"
        world.on(
            host,
            f"set -e; ip netns add {self.name}; ip link add {tap} mtu {MTU} type veth"
            f" peer name eth0 address {mac} mtu {MTU} netns {self.name};"
            f"{inside} ip addr add {self.address(host)}/24 dev eth0; {inside} ip link set eth0 up;"
            f"{inside} ethtool -K eth0 {off}; ethtool -K {tap} {off}; {wire}",
        )

    def goodput(self, world: World) -> float:
        """Mbit/s of one stream, at the receiver, without the first second."""
        inside = ["ip", "netns", "exec", self.name, "timeout", "60", "iperf3"]
        server = subprocess.Popen(world.lab.command("hv2", [*inside, "-s", "-1", "-J"]), stdout=subprocess.PIPE, text=True)
        listening = f"ip netns exec {self.name} ss -Hltn 'sport = :5201' | grep -q ."
        world.until(lambda: world.attempt("hv2", listening).returncode == 0, 10, "iperf3 listens")
        world.on("hv1", *inside, "-c", self.address("hv2"), "-t", str(SECONDS), "-O", "1", "-J")
        output, _ = server.communicate(timeout=30)
        return float(json.loads(output)["end"]["sum_received"]["bits_per_second"]) / 1e6


@pytest.fixture(scope="module")
def hosts() -> Iterator[World]:
    with started_lab("s", len(HOSTS)) as world:
        yield world
        for host in HOSTS:
            world.assert_settled(host)


@pytest.mark.parametrize(("kind", "number"), [("gre", 1), ("vxlan", 2)])
def test_one_stream_beside_the_same_tunnel_made_by_hand(hosts: World, kind: str, number: int) -> None:
    """In turns, and each turn held against the one beside it, since others' work changes what is left of the machine twofold.

    Where that has made the turns too unlike, as many more count besides.
    """
    ours, theirs = Way(f"ours-{kind}", kind, number, by_hand=False), Way(f"hand-{kind}", kind, 10 + number, by_hand=True)
    for way in (ours, theirs):
        way.build(hosts)
        hosts.until(partial(_pings, hosts, way), 10, f"{way.name} carries pings")
    found: dict[Way, list[float]] = {ours: [], theirs: []}
    for _ in range(ATTEMPTS):
        for turn in range(ROUNDS):
            for way in (ours, theirs) if turn % 2 else (theirs, ours):
                found[way].append(way.goodput(hosts))
        ratio = statistics.median(mine / other for mine, other in zip(found[ours], found[theirs], strict=True))
        speeds = [statistics.median(found[way]) for way in (ours, theirs)]
        print(f"\n{kind}: one TCP stream through vnetd {speeds[0]:.0f} Mbit/s, by hand {speeds[1]:.0f}; ratio of neighbours {ratio:.3f}")
        if ratio >= LEAST:
            break
    assert ratio >= LEAST, found


def _pings(world: World, way: Way) -> bool:
    return world.attempt("hv1", f"ip netns exec {way.name} ping -c 1 -W 1 {way.address('hv2')}").returncode == 0
