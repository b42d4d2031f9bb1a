"""Rows of OVSDB as values: what a port, a bond, a VLAN and a shape are, whoever wrote them.

What vnetd writes reads back as exactly the value that was written; what it would never
write reads as a value that differs from all of those, and is therefore written over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vnetd.model.network import Vlan, VlanMode
from vnetd.model.state import ROLE, Port, Role, SeenMember, SeenPort, Shape

QINQ_TYPE = "qinq-ethtype"
"""Port.other_config: the EtherType of the tag that a dot1q-tunnel port's frames get, 802.1ad or 802.1q."""

RESTORE_WAIT = "flow-restore-wait"
"""Open_vSwitch.other_config: whether an ovs-vswitchd that starts leaves the kernel's flows as they are until this is taken away."""

BOND_COLUMNS = ("bond_mode", "lacp")

POLICING_OFF = 1
"""The ingress_policing_burst of an interface without policing, where it says nothing to Open vSwitch: libvirt writes 0 when it
takes an outbound limit away (virsh domiftune --outbound 0), which nobody would notice if 0 stood there already."""


class SeenPorts:
    """Values of port rows, kept until the port's row, an interface's of it or its queues' changes: reading a row costs 0.15 ms."""

    def __init__(self) -> None:
        self._ports: dict[Any, tuple[SeenPort, int | None]] = {}
        self._depends: dict[Any, Any] = {}

    def forget(self, uuid: Any) -> None:
        """The row with this UUID has changed."""
        self._ports.pop(self._depends.get(uuid, uuid), None)

    def port(self, row: Any, bridge: str) -> tuple[SeenPort, int | None]:
        """The value of a Port row and, where it is a fake bridge, its VLAN."""
        found = self._ports.get(row.uuid)
        if found is None or found[0].port.bridge != bridge:
            fake = (first(row.tag) or 0) if row.fake_bridge else None
            found = self._ports[row.uuid] = seen_port(row, bridge), fake
            for part in _parts(row):
                self._depends[part.uuid] = row.uuid
        return found

    def keep(self, uuids: set[Any]) -> None:
        """Drop what belongs to rows that are gone."""
        if len(self._ports) > len(uuids):
            self._ports = {uuid: seen for uuid, seen in self._ports.items() if uuid in uuids}
            self._depends = {part: uuid for part, uuid in self._depends.items() if uuid in uuids}


def _parts(row: Any) -> Iterator[Any]:
    yield from row.interfaces
    for qos in row.qos:
        yield qos
        yield from qos.queues.values()


def first(column: Sequence[Any]) -> Any:
    """The value of a column that holds one or none."""
    return column[0] if column else None


def seen_port(row: Any, bridge: str) -> SeenPort:
    """A Port row with its interfaces' rows. A port whose one interface has another name is a bond of one NIC."""
    interfaces = sorted(row.interfaces, key=lambda one: str(one.name))
    alone = len(interfaces) == 1 and interfaces[0].name == row.name
    mark = row.external_ids.get(ROLE)
    port = Port(
        name=row.name,
        bridge=bridge,
        role=Role(mark) if mark in set(Role) else Role.GUEST,
        type=next((one.type for one in interfaces if one.type not in ("", "system")), ""),
        options=tuple(sorted({item for one in interfaces for item in one.options.items()})),
        vlan=vlan_of(row),
        ids=tuple(sorted({item for one in interfaces for item in one.external_ids.items()})),
        mtu=next((first(one.mtu_request) for one in interfaces if one.mtu_request), None),
        shape=_shape(row.qos),
        policing=max(map(_policing, interfaces)),
        members=() if alone else tuple(one.name for one in interfaces),
        bfd=tuple(sorted(interfaces[0].bfd.items())) if mark == Role.TUNNEL else (),
        bond=() if alone else tuple((column, first(getattr(row, column)) or "") for column in BOND_COLUMNS),
    )
    if alone:
        one = interfaces[0]
        state, why, heard = (one.bfd_status.get(key, "") for key in ("state", "diagnostic", "remote_diagnostic"))
        error = first(one.error) or ""
        return SeenPort(port, mark in set(Role), first(one.ofport), error, bfd_state=state, bfd_why=why, bfd_heard=heard)
    members = tuple(SeenMember(one.name, first(one.ofport), first(one.error) or "", first(one.lacp_current)) for one in interfaces)
    error = "; ".join(f"{one.name}: {one.error}" for one in members if one.error)
    return SeenPort(port, mark in set(Role), None, error, members)


def _policing(interface: Any) -> int:
    """Its policing rate; below zero where libvirt has turned policing off since vnetd did."""
    rate: int = interface.ingress_policing_rate
    return rate if rate or interface.ingress_policing_burst == POLICING_OFF else -1


def vlan_of(row: Any) -> Vlan | None:
    """The VLAN columns of a Port row."""
    tag, mode = first(row.tag), first(row.vlan_mode)
    if mode is None and tag is None and not row.trunks and not row.cvlans:
        return None
    # A mode that vnetd never writes, or none, differs from every desired value and is therefore written over.
    known = VlanMode(mode) if mode in set(VlanMode) else VlanMode.TRUNK
    tpid = 0x88A8 if known is VlanMode.DOT1Q_TUNNEL and row.other_config.get(QINQ_TYPE) != "802.1q" else 0x8100
    return Vlan(known, tag, tuple(sorted(row.trunks)) if mode else (-1,), tuple(sorted(row.cvlans)), tpid)


def put_vlan(row: Any, vlan: Vlan | None) -> None:
    """Write the VLAN columns of a Port row; ``vlan_of`` reads the same back."""
    row.vlan_mode = [str(vlan.mode)] if vlan else []
    row.tag = [vlan.tag] if vlan and vlan.tag is not None else []
    row.trunks = list(vlan.trunks) if vlan else []
    row.cvlans = list(vlan.customers) if vlan else []
    if vlan and vlan.mode is VlanMode.DOT1Q_TUNNEL and vlan.tpid == 0x8100:
        row.setkey("other_config", QINQ_TYPE, "802.1q")
    elif QINQ_TYPE in getattr(row, "other_config", {}):
        row.delkey("other_config", QINQ_TYPE)


def vlan_limit(settings: Mapping[str, str]) -> int | None:
    """vlan-limit of Open_vSwitch.other_config; what is no number counts for nothing to Open vSwitch either."""
    try:
        return int(settings["vlan-limit"])
    except (KeyError, ValueError):
        return None


def is_waiting(settings: Mapping[str, str]) -> bool:
    """Whether an ovs-vswitchd that starts waits for its flows: flow-restore-wait of Open_vSwitch.other_config, as it reads it."""
    return settings.get(RESTORE_WAIT, "").lower() == "true"


def _shape(qos: Sequence[Any]) -> Shape | None:
    if not qos:
        return None
    row = qos[0]
    queue = row.queues.get(0)
    if row.type != "linux-htb" or queue is None or dict(queue.other_config) != dict(row.other_config):
        return Shape(-1, -1)
    numbers = {key: int(value) for key, value in row.other_config.items() if value.isdecimal()}
    return Shape(numbers.get("min-rate", -1), numbers.get("max-rate", -1), numbers.get("burst"))
