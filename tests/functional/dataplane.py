"""The data planes of Open vSwitch that the tests run on, and all that differs between them.

A test asks the chosen one for what it needs to know; it never asks which one it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DataPlane:
    """What carries frames, and what a test may expect of it."""

    name: str
    """What --data-plane calls it."""
    datapath_type: str
    """Of bridges, as OVSDB and vnetd.toml have it."""
    offloads: bool
    """Whether guests keep checksum and segmentation offloads. The userspace one loses them: ping works then, and TCP silently not."""
    patience: float
    """How many times as long as on a quiet machine things may take. The kernel that tests bring with them starts a process in 15 ms,
    and handles a page fault in 0.1 ms; what is a promise about vnetd's speed is made on the other data plane."""
    fast_mbit: float
    """Mbit/s that a stream without a limit is sure to carry, and so the greatest limit that can be held against what passes."""
    caches: tuple[str, ...]
    """The states of the switch's cache in which the attack tables are played. One that decides by one parser and keeps the decision by
    another's key must be shown with the decision kept (warm) and without any (cold); where there is one parser it makes no difference."""
    underlay: str
    """The host's link with the underlay's address: tunnels of the userspace one end only at an address on a bridge of its own."""
    bridges: frozenset[str] = field(default_factory=frozenset)
    """Bridges that the lab itself needs on each host."""

    def underlay_again(self, *addresses: str) -> str:
        """What makes the underlay's bridge and a host's addresses on it again where OVSDB was lost; nothing where there is none."""
        made = [f"--may-exist add-br {one} -- set bridge {one} datapath_type={self.datapath_type}" for one in self.bridges]
        ports = [f"--may-exist add-port {one} eth0" for one in self.bridges]
        there = [f"ip addr replace {one}/{64 if ':' in one else 24} dev {self.underlay} {'nodad' * (':' in one)}" for one in addresses]
        return "; ".join([f"ovs-vsctl {' -- '.join([*made, *ports])}", *there, f"ip link set {self.underlay} up"])


USERSPACE = DataPlane(
    name="userspace",
    datapath_type="netdev",
    offloads=False,
    patience=1,
    fast_mbit=500,
    caches=("as it comes",),
    underlay="br-phy",
    bridges=frozenset({"br-phy"}),
)
"""Open vSwitch's own, which needs nothing of the kernel's: what a test machine always has."""

KERNEL = DataPlane(
    name="kernel",
    datapath_type="system",
    offloads=True,
    patience=4,
    fast_mbit=20,
    caches=("cold", "warm"),
    underlay="eth0",
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
