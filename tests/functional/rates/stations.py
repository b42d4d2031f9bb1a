"""Stations: namespaces with one link each, which ovs-ifup wires as it would a guest's tap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from world import World

HOST = "hv1"
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Station:
    """A namespace, and the link of the same name that leads to it."""

    name: str
    number: int
    network: str
    portgroup: str | None
    bandwidth: str
    """What its ``<bandwidth>`` holds."""
    ours: str
    """What its ``<vnet:interface>`` holds."""
    mtu: int

    @property
    def mac(self) -> str:
        return f"52:54:00:c0:00:{self.number:02x}"

    @property
    def ip(self) -> str:
        return f"10.0.0.{self.number}"

    @property
    def file(self) -> str:
        return f"/etc/vnetd/taps/{self.name}.xml"

    @property
    def inside(self) -> str:
        """What comes before a command that is to run in the station."""
        return f"ip netns exec {self.name}"

    def xml(self) -> str:
        """The file of the link. Broadcast is no matter here."""
        group = f" portgroup='{self.portgroup}'" if self.portgroup else ""
        bandwidth = f"<bandwidth>{self.bandwidth}</bandwidth>" if self.bandwidth else ""
        return f"""<interface type='network'><mac address='{self.mac}'/><source network='{self.network}'{group}/>
  <mtu size='{self.mtu}'/>{bandwidth}
  <vnet:interface xmlns:vnet='urn:vnetd:domain:1'><vnet:policy guard='mac'/>{self.ours}</vnet:interface>
</interface>"""


def station(name: str, network: str, portgroup: str | None = None, bandwidth: str = "", ours: str = "", mtu: int = 1500) -> Station:
    """A station with a number of its own."""
    return Station(name, next(_numbers), network, portgroup, bandwidth, ours, mtu)


@contextmanager
def wired(world: World, network: str, *stations: Station, ours: str = "", portgroups: str = "") -> Iterator[None]:
    """A network of this host with these stations; in the end nothing is left of it."""
    world.start_xml(network_xml(network, ours, portgroups), HOST)
    try:
        for one in stations:
            _plug(world, one)
        yield
        world.assert_settled(HOST)
    finally:
        for one in stations:
            world.attempt(HOST, f"/etc/vnetd/ovs-ifdown {one.name}; ip link del {one.name}; ip netns del {one.name}; rm {one.file}")
        world.on(HOST, f"virsh -q net-destroy {network} && virsh -q net-undefine {network}")


def _plug(world: World, one: Station) -> None:
    """The userspace datapath takes frames as they are, so that each sender does its checksums itself."""
    off = "tx off tso off gso off gro off > /dev/null"
    world.on(HOST, "tee", one.file, stdin=one.xml())
    world.on(
        HOST,
        f"set -e; ip netns add {one.name}; ip link add {one.name} mtu {one.mtu} type veth"
        f" peer name eth0 address {one.mac} mtu {one.mtu} netns {one.name};"
        f"{one.inside} ip addr add {one.ip}/24 dev eth0; {one.inside} ip link set eth0 up;"
        f"{one.inside} ethtool -K eth0 {off}; ethtool -K {one.name} {off}; /etc/vnetd/ovs-ifup {one.name}",
    )


def network_xml(name: str, ours: str = "", portgroups: str = "") -> str:
    """A network of one host."""
    return f"""<network><name>{name}</name>
  <metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>{ours}</vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-{name}'/><virtualport type='openvswitch'/>
  {portgroups}
</network>"""
