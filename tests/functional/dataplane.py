"""The data planes of Open vSwitch that the tests run on, and all that differs between them.

A test asks the chosen one for what it needs to know; it never asks which one it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataPlane:
    """What carries frames, and what a test may expect of it."""

    name: str
    """What --data-plane calls it, and the marker of a test that only it can pass."""
    datapath_type: str
    """Of bridges, as OVSDB and vnetd.toml have it."""
    underlay: str
    """The host's link with the underlay's address: tunnels of the userspace one end only at an address on a bridge of its own."""
    bridges: frozenset[str]
    """Bridges that the lab itself needs on each host for that."""
    patience: float
    """How many times as long as on a quiet machine things may take. The kernel that the tests bring with them starts a process in 15 ms,
    and handles a page fault in 0.1 ms. What vnetd promises of its own speed is shown on the other data plane."""
    settle_seconds: float
    """For how long after an event a pass may have something to do. The kernel's own links go when their owner ends, and Open vSwitch and
    the daemon hear of it one after the other; a tap that the userspace one reads by a packet socket is missed by both at once."""
    caches: tuple[str, ...]
    """The states of the switch's cache in which those attack tables are played that are about what is read in two ways; the others are
    played as it comes. A switch that decides by one parser and keeps the decision under another's key must be shown with a decision kept
    (warm) and without any (cold); where there is one parser, both are the same."""
    sums: bool
    """Whether a guest's TCP, UDP and ICMP get their right checksum on the way. The kernel's judge sees to that, lest a guest's checksum
    offload writes it elsewhere."""
    limits: tuple[int, ...]
    """Mbit/s of limits that are held against what passes, all at the same time; the third is a peak."""
    fast_limit: int
    """Mbit/s of one more that is held alone, and may be more than passes at all."""
    burst: int
    """Frames that are sent as fast as they go to overflow a port's limit of 1000/s: more than twice as many as that lets through until
    they are sent."""
    mesh: int
    """Hosts in a mesh where their number does not matter. Each is a libvirtd, a vnetd and a switch, which all wait for one processor."""

    def underlay_again(self, *addresses: str) -> str:
        """What makes the underlay's bridge and a host's addresses on it again where OVSDB was lost; nothing where there is none."""
        made = [f"--may-exist add-br {one} -- set bridge {one} datapath_type={self.datapath_type}" for one in self.bridges]
        ports = [f"--may-exist add-port {one} eth0" for one in self.bridges]
        there = [f"ip addr replace {one}/{64 if ':' in one else 24} dev {self.underlay} {'nodad' * (':' in one)}" for one in addresses]
        commands = [f"ovs-vsctl {' -- '.join([*made, *ports])}"] if made else []
        return "; ".join([*commands, *there, f"ip link set {self.underlay} up"])


USERSPACE = DataPlane(
    name="userspace",
    datapath_type="netdev",
    underlay="br-phy",
    bridges=frozenset({"br-phy"}),
    patience=1,
    settle_seconds=0,
    caches=("as it comes",),
    sums=False,
    limits=(1, 10, 50, 100),
    fast_limit=500,
    burst=6000,
    mesh=8,
)
"""Open vSwitch's own, which needs nothing of the kernel's: every test machine has it."""

KERNEL = DataPlane(
    name="kernel",
    datapath_type="system",
    underlay="eth0",
    bridges=frozenset(),
    patience=4,
    settle_seconds=5,
    caches=("cold", "warm"),
    sums=True,
    limits=(1, 5, 10, 20),
    fast_limit=100,
    burst=20000,
    mesh=3,
)
"""The kernel's module, which every hypervisor uses."""

PLANES = {plane.name: plane for plane in (USERSPACE, KERNEL)}
_chosen = [USERSPACE]


def choose(name: str) -> None:
    """Run the tests on this one, and let the lab know."""
    _chosen[0] = PLANES[name]
    os.environ["VNETD_LAB_DATAPATH"] = PLANES[name].datapath_type


def chosen() -> DataPlane:
    """The one that the tests run on."""
    return _chosen[0]
