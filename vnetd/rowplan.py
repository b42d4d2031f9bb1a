"""The rows of OVSDB: desired less observed, as the steps of one transaction.

What leaves goes before what comes. Nothing is dropped that vnetd or libvirt did not
make, and nothing of a network is dropped while sources are missing
(``Desired.complete``), unless it was just said to be gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vnetd.intent import bond_names, joint_names, patch_names
from vnetd.model.network import Vlan, VlanMode
from vnetd.model.state import Bridge, Desired, Observed, Port, Role, Rows, SeenBridge, SeenPort
from vnetd.pipeline import NOWHERE

FAIL_MODE = "secure"
"""A bridge without flows passes nothing (ovs-vswitchd.conf.db(5)). Set at birth: a change empties the flow table."""

SEALED = Vlan(VlanMode.TRUNK, None, (NOWHERE,))
"""How the own port of a sealed bridge is kept out of what NORMAL floods."""

AGEING = "15"
"""Seconds for which a sealed bridge remembers who is where, the least that Open vSwitch takes: with two ways through it, one frame
from a MAC is as good as a memory, and whoever has moved to another host is held to be behind the patch for as long."""


@dataclass(frozen=True, slots=True)
class PutBridge:
    bridge: Bridge
    new: bool

    def __str__(self) -> str:
        return f"{'+' if self.new else '~'} bridge {self.bridge.name} ({self.bridge.datapath}, fail_mode={FAIL_MODE})"


@dataclass(frozen=True, slots=True)
class DropBridge:
    name: str

    def __str__(self) -> str:
        return f"- bridge {self.name}"


@dataclass(frozen=True, slots=True)
class PutPort:
    port: Port
    changed: tuple[str, ...]

    def __str__(self) -> str:
        port = self.port
        more = f", {port.vlan}" if port.vlan else ""
        if port.role is Role.TUNNEL:
            more = f", {port.type} to {dict(port.options)['remote_ip']}"
        if port.role is Role.BOND:
            more = f" of {', '.join(port.members)}, {_columns(port)}"
        if self.changed:
            return f"~ port {port.name} on {port.bridge}: {', '.join(self.changed)}"
        return f"+ port {port.name} on {port.bridge} ({port.role}{more})"


def _columns(port: Port) -> str:
    return ", ".join(f"{column}={value}" for column, value in port.bond)


@dataclass(frozen=True, slots=True)
class DropPort:
    name: str
    bridge: str
    role: Role = Role.GUEST

    def __str__(self) -> str:
        return f"- port {self.name} on {self.bridge}"


@dataclass(frozen=True, slots=True)
class SweepShapes:
    """QoS and Queue rows of vnetd's that no port uses: OVSDB keeps them until they are deleted."""

    count: int

    def __str__(self) -> str:
        return f"- {self.count} QoS row{'s' if self.count > 1 else ''} that no port uses"


RowStep = PutBridge | DropBridge | PutPort | DropPort | SweepShapes


def prunable(desired: Desired, owner: str) -> bool:
    return desired.complete or owner in desired.gone_networks


def foreign_ports(rows: Rows, bridge: str) -> list[str]:
    """Ports of a bridge that neither vnetd nor libvirt made. The other end of a user's own patch is one too."""
    return sorted(name for name, seen in rows.ports.items() if seen.port.bridge == bridge and not seen.marked and not seen.libvirts)


def drop_steps(desired: Desired, observed: Observed) -> tuple[list[RowStep], set[str]]:
    rows = observed.rows
    steps: list[RowStep] = []
    dropped: set[str] = set()
    orphaned: set[str] = set()
    for name, bridge in sorted(rows.bridges.items()):
        if bridge.owner and name not in desired.bridges and prunable(desired, bridge.owner):
            orphaned.add(name)
            if not foreign_ports(rows, name):
                dropped.add(name)
                steps.append(DropBridge(name))
    loose = {end for name in orphaned for end in _far_ends(name, rows)}
    wanted = {interface for port in desired.ports.values() for interface in port.members or (port.name,)}
    for name, seen in sorted(rows.ports.items()):
        bridge_row = rows.bridges.get(seen.port.bridge)
        if name in desired.ports or seen.port.bridge in dropped or bridge_row is None:
            continue
        if not bridge_row.owner:
            # On somebody else's bridge only the end of a patch that vnetd put there is vnetd's.
            unneeded = seen.marked and seen.port.role is Role.PATCH and (name in loose or desired.complete)
        elif seen.port.bridge in orphaned or name in loose:
            unneeded = seen.marked or seen.libvirts
        elif seen.marked and any(interface in wanted for interface, _ in seen.interfaces):
            # A NIC that goes into a bond, or out of it: Open vSwitch has one interface of a name.
            unneeded = True
        else:
            unneeded = _unneeded(desired, observed, name, seen)
        if unneeded:
            steps.append(DropPort(name, seen.port.bridge, seen.port.role))
    return steps, dropped


def _far_ends(bridge: str, rows: Rows) -> Iterator[str]:
    """The names that the other ends of a bridge's patches have, wherever they are."""
    yield patch_names(bridge)[0]
    yield bond_names(bridge).there
    yield from (joint_names(bridge, other)[1] for other in rows.bridges)


def _unneeded(desired: Desired, observed: Observed, name: str, seen: SeenPort) -> bool:
    if seen.port.role is Role.GUEST and (seen.marked or seen.libvirts):
        # A port that no source names yet may be a guest's that libvirt has just plugged: it stays,
        # and is silent, for as long as its tap is there.
        return name in desired.gone_taps or name not in observed.host.links
    return seen.marked and desired.complete


def bridge_puts(desired: Desired, rows: Rows) -> Iterator[RowStep]:
    for name, bridge in sorted(desired.bridges.items()):
        seen = rows.bridges.get(name)
        if seen is None:
            yield PutBridge(bridge, new=True)
            continue
        same = (seen.owner, seen.datapath, seen.fail_mode) == (bridge.owner, bridge.datapath, FAIL_MODE)
        if not same or not _speaks(seen) or (bridge.sealed and not (seen.sealed and seen.ageing == AGEING)):
            yield PutBridge(bridge, new=False)


def _speaks(seen: SeenBridge) -> bool:
    """Whether the bridge speaks the OpenFlow version in which vnetd changes flows."""
    return not seen.protocols or "OpenFlow14" in seen.protocols


def port_puts(desired: Desired, rows: Rows) -> Iterator[RowStep]:
    for name, port in sorted(desired.ports.items()):
        seen = rows.ports.get(name)
        if seen is None or seen.port.bridge != port.bridge:
            yield PutPort(port, ())
        elif changed := _differences(port, seen):
            yield PutPort(port, changed)


def _differences(port: Port, seen: SeenPort) -> tuple[str, ...]:
    """What on the row is not as it should be, in words."""
    row = seen.port
    found = []
    if not seen.marked or row.role is not port.role:
        found.append("take over")
    if row.type != port.type or row.options != port.options:
        found.append(f"{port.type or 'system'} {dict(port.options)}")
    if row.bfd != port.bfd:
        found.append(f"watched by BFD {dict(port.bfd)}")
    if row.members != port.members:
        found.append(f"NICs {', '.join(port.members)}" if port.members else "one interface")
    if row.bond != port.bond:
        found.append(_columns(port))
    if row.vlan != port.vlan:
        found.append(str(port.vlan or "no VLAN"))
    if not set(port.ids) <= set(row.ids):
        found.append("external_ids")
    if row.mtu != port.mtu:
        found.append(f"MTU {port.mtu or 'unset'}")
    if port.role is Role.GUEST and row.shape != port.shape:
        found.append(f"to the guest {port.shape.max_rate // 1000} kbit/s" if port.shape else "no limit to the guest")
    if port.role is Role.GUEST and row.policing != port.policing:
        found.append("the switch's meter instead of tc policing")
    return tuple(found)
