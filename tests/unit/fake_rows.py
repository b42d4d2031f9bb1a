"""OVSDB in plain Python: rows with state, which refuse what the real ones refuse.

It also judges: a step that would delete or change what vnetd does not own raises
Trespass, which no code of vnetd's catches.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lines import FlowKey

from vnetd.errors import WorldError
from vnetd.model.network import Vlan, VlanMode
from vnetd.model.state import FakeBridge as VlanBridge
from vnetd.model.state import Group, Meter, Port, Role, Rows, SeenBridge, SeenMember, SeenPort, Shape
from vnetd.rowplan import AGEING, DropBridge, DropPort, PutBridge, PutPort, RowStep, SweepShapes


class Trespass(AssertionError):
    """vnetd was about to delete or take something that it does not own."""


@dataclass
class FakeBridge:
    """A bridge. One that nobody configured switches as any switch does (fail_mode=standalone)."""

    owner: str = ""
    datapath: str = "system"
    fail_mode: str = "standalone"
    flows: dict[FlowKey, str] = field(default_factory=dict)
    meters: dict[int, Meter] = field(default_factory=dict)
    last_number: int = 0
    groups: dict[int, Group] = field(default_factory=dict)
    fragments: str = "normal"
    sealed: bool = False
    ageing: str = ""


@dataclass
class FakePort:
    """A Port row with its Interface row, or with those of a bond. ``mark`` is vnetd's, None on everybody else's."""

    bridge: str
    mark: Role | None = None
    type: str = ""
    options: tuple[tuple[str, str], ...] = ()
    vlan: Vlan | None = None
    ids: dict[str, str] = field(default_factory=dict)
    mtu: int | None = None
    policing: int = 0
    qos: int | None = None
    ofport: int = -1
    error: str = ""
    members: tuple[str, ...] = ()
    bond: tuple[tuple[str, str], ...] = ()
    bfd: tuple[tuple[str, str], ...] = ()
    numbers: dict[str, int] = field(default_factory=dict)
    """The OpenFlow number of each member, -1 where the switch could not make it."""
    fake: int | None = None
    """The VLAN of the bridge that this port makes a bridge of its own."""

    @property
    def by_hand(self) -> bool:
        """Whether neither vnetd nor libvirt made it."""
        return self.mark is None and "vm-id" not in self.ids


@dataclass
class FakeQos:
    """A QoS row and its queue, with the tap that libvirt has marked it with; ``ours`` when vnetd's mark is on it.

    ``leaf`` is how many frames may wait under the limit, where somebody has said so to the kernel.
    """

    tap: str
    shape: Shape
    ours: bool
    leaf: int | None = None


@dataclass
class FakeRows:
    """OVSDB, and what ovs-vswitchd makes of its rows."""

    links: dict[str, bool] = field(default_factory=dict)
    bridges: dict[str, FakeBridge] = field(default_factory=dict)
    ports: dict[str, FakePort] = field(default_factory=dict)
    qos: dict[int, FakeQos] = field(default_factory=dict)
    vlan_limit: int | None = None
    acted: bool = True
    """Whether ovs-vswitchd has acted on the rows."""
    quiet: dict[str, str] = field(default_factory=dict)
    """How far the kernel keeps out of a link by itself, where it does."""
    broken: set[str] = field(default_factory=set)
    """Devices that are there and that the switch cannot open."""
    reuse_numbers: bool = False
    """Whether a free port number is handed out again at once, and not the one that was free longest."""
    fuse: int | None = None
    """How many changes succeed before one is refused."""
    dead: set[str] = field(default_factory=set)
    """Addresses whose hosts answer nobody."""
    refusing: set[str] = field(default_factory=set)
    """Bridges whose meters and flows the switch refuses for ever."""
    changes: list[str] = field(default_factory=list)
    """Everything that vnetd has changed, in order."""

    def rows(self) -> Rows:
        bridges = {
            name: SeenBridge(name, row.owner, row.datapath, row.fail_mode, (), row.sealed, row.ageing) for name, row in self.bridges.items()
        }
        ports = {name: self._seen(name, row) for name, row in self.ports.items()}
        fakes = {name: VlanBridge(row.bridge, row.fake) for name, row in self.ports.items() if row.fake is not None}
        return Rows(bridges, ports, len(self._strays()), fakes, self.vlan_limit, self.acted)

    def apply(self, steps: Sequence[RowStep]) -> None:
        """One transaction: all of it or nothing."""
        state = ("links", "bridges", "ports", "qos", "quiet")
        before = copy.deepcopy({name: getattr(self, name) for name in state})
        try:
            self._burn("rows")
            for step in steps:
                self._row_step(step)
            self._refuse_twins()
        except BaseException:
            for name, value in before.items():
                setattr(self, name, value)
            raise
        self.changes.extend(map(str, steps))

    def _seen(self, name: str, row: FakePort) -> SeenPort:
        port = Port(
            name=name,
            bridge=row.bridge,
            role=row.mark or Role.GUEST,
            type=row.type,
            options=row.options,
            vlan=row.vlan,
            ids=tuple(sorted(row.ids.items())),
            mtu=row.mtu,
            shape=self.qos[row.qos].shape if row.qos is not None else None,
            policing=row.policing,
            members=row.members,
            bond=row.bond,
            bfd=row.bfd,
        )
        if not row.members:
            return SeenPort(port, row.mark is not None, row.ofport, row.error, (), *self._watched(row))
        members = tuple(SeenMember(one, row.numbers.get(one, -1)) for one in row.members)
        return SeenPort(port, row.mark is not None, None, row.error, members)

    def _watched(self, row: FakePort) -> tuple[str, str]:
        """What ovs-vswitchd says of the peer of a tunnel."""
        if dict(row.bfd).get("enable") != "true":
            return "", ""
        alive = dict(row.options).get("remote_ip") not in self.dead
        return ("up", "No Diagnostic") if alive else ("down", "Control Detection Time Expired")

    def _row_step(self, step: RowStep) -> None:
        match step:
            case PutBridge():
                self._put_bridge(step)
            case DropBridge(name):
                self._drop_bridge(name)
            case PutPort(port):
                self._put_port(port)
            case DropPort(name):
                if self.ports[name].by_hand:
                    raise Trespass(f"port {name} was put by hand, and vnetd deletes it")
                self._remove_port(name)
            case SweepShapes():
                for key in self._strays():
                    del self.qos[key]

    def _put_bridge(self, step: PutBridge) -> None:
        wanted = step.bridge
        row = self.bridges.get(wanted.name)
        if row is not None and not row.owner:
            raise Trespass(f"bridge {wanted.name} was put by hand, and vnetd takes it")
        if wanted.name in self.ports:
            raise Trespass(f"bridge {wanted.name} is a port of somebody's, and vnetd makes a bridge of that name")
        if row is None:
            row = self.bridges[wanted.name] = FakeBridge(datapath=wanted.datapath)
        elif (row.fail_mode, row.datapath) != ("secure", wanted.datapath):
            # Open vSwitch forgets all flows of a bridge whose mode or datapath changes.
            row.flows, row.meters = {}, {}
        row.owner, row.datapath, row.fail_mode = wanted.owner, wanted.datapath, "secure"
        if wanted.sealed:
            row.sealed, row.ageing = True, AGEING

    def _drop_bridge(self, name: str) -> None:
        strangers = [port for port, row in self.ports.items() if row.bridge == name and row.by_hand]
        if not self.bridges[name].owner or strangers:
            raise Trespass(f"bridge {name} is not vnetd's alone ({strangers}), and vnetd deletes it")
        self.hand_delete_bridge(name)

    def _put_port(self, port: Port) -> None:
        if port.bridge not in self.bridges:
            raise WorldError(f"OVSDB refused the change: no bridge {port.bridge} for port {port.name}")
        if not self.bridges[port.bridge].owner and port.role is not Role.PATCH:
            raise Trespass(f"bridge {port.bridge} was put by hand, and vnetd puts port {port.name} there")
        if port.name in self.bridges:
            raise Trespass(f"port {port.name} is its bridge's own, and vnetd takes it")
        row = self.ports.get(port.name)
        if row is not None and row.by_hand:
            raise Trespass(f"port {port.name} was put by hand, and vnetd takes it")
        if row is not None and row.bridge != port.bridge:
            self._remove_port(port.name)
            row = None
        row = row or FakePort(port.bridge)
        row.mark, row.type, row.options, row.vlan, row.mtu = port.role, port.type, port.options, port.vlan, port.mtu
        row.members, row.bond, row.bfd = port.members, port.bond, port.bfd
        row.ids.update(port.ids)
        if port.role is Role.GUEST:
            row.policing = 0
            self._put_shape(port.name, row, port.shape)
        self.ports[port.name] = row
        self._number(port.name)

    def _put_shape(self, tap: str, row: FakePort, shape: Shape | None) -> None:
        if shape is None:
            if row.qos is not None and self.qos[row.qos].ours:
                del self.qos[row.qos]
            row.qos = None
        elif row.qos is not None:
            self.qos[row.qos].shape = shape
        else:
            used = {other.qos for other in self.ports.values()}
            self.qos = {key: qos for key, qos in self.qos.items() if qos.tap != tap or key in used}
            row.qos = self._new_qos("", shape, ours=True)

    def _new_qos(self, tap: str, shape: Shape, ours: bool) -> int:
        key = max(self.qos, default=0) + 1
        self.qos[key] = FakeQos(tap, shape, ours)
        return key

    def _remove_port(self, name: str) -> None:
        row = self.ports.pop(name)
        if row.qos is not None:
            self.qos.pop(row.qos, None)

    def limit_of(self, port: str) -> FakeQos | None:
        """The QoS row that a port uses."""
        row = self.ports.get(port)
        return self.qos[row.qos] if row is not None and row.qos is not None else None

    def _strays(self) -> list[int]:
        used = {row.qos for row in self.ports.values()}
        return [key for key, row in self.qos.items() if row.ours and key not in used]

    def _refuse_twins(self) -> None:
        """The name of an interface is unique in OVSDB, when the transaction ends."""
        names = Counter(name for port, row in self.ports.items() for name in row.members or (port,))
        if twins := [name for name, count in names.items() if count > 1]:
            raise WorldError(f"OVSDB refused the change: constraint violation: two interfaces called {twins[0]}")

    def _number(self, name: str) -> None:
        """What ovs-vswitchd does about a row: give each interface a number, or say why it has none."""
        row = self.ports[name]
        if not row.members:
            row.numbers = {}
            row.ofport, row.error = self._numbered(row, name, row.ofport)
            return
        found = {member: self._numbered(row, member, row.numbers.get(member, -1)) for member in row.members}
        row.ofport, row.numbers = -1, {member: number for member, (number, _) in found.items()}
        row.error = "; ".join(f"{member}: {error}" for member, (_, error) in found.items() if error)

    def _numbered(self, row: FakePort, interface: str, number: int) -> tuple[int, str]:
        if row.type == "" and (interface not in self.links or interface in self.broken):
            reason = "Device or resource busy" if interface in self.links else "No such device"
            return -1, f"could not open network device {interface} ({reason})"
        if number > 0:
            return number, ""
        bridge = self.bridges[row.bridge]
        taken = {one for other in self.ports.values() if other.bridge == row.bridge for one in (other.ofport, *other.numbers.values())}
        first = 1 if self.reuse_numbers else bridge.last_number + 1
        number = next(number for number in range(first, 65280) if number not in taken)
        bridge.last_number = max(bridge.last_number, number)
        if row.members:
            row.numbers[interface] = number
        return number, ""

    def device_changes(self, interface: str) -> None:
        """Something has happened to a device, which a port may have waited for."""
        for name, row in self.ports.items():
            if interface in (row.members or (name,)):
                self._number(name)

    def _burn(self, bridge: str) -> None:
        if bridge in self.refusing:
            raise WorldError(f"the switch refused: no more on {bridge}")
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.fuse = None
                raise WorldError("the switch refused: the fuse has blown")

    # What libvirt does.

    def libvirt_add_port(
        self, tap: str, bridge: str, ids: Mapping[str, str], tag: int | None = None, shape: Shape | None = None, policing: int = 0
    ) -> None:
        """As libvirt plugs a tap: it deletes the port first, and writes a tag but no vlan_mode."""
        self.libvirt_del_port(tap)
        parent = self.ports.get(bridge)
        if parent is not None and parent.fake is not None:
            # ovs-vsctl puts it on the parent, in the fake bridge's VLAN unless told otherwise.
            bridge, tag = parent.bridge, tag or parent.fake
        row = FakePort(bridge, ids={**ids, "iface-status": "active"}, policing=policing)
        if tag is not None:
            # This is how the adapter reads a tag whose mode is left out: it differs from all that vnetd writes.
            row.vlan = Vlan(VlanMode.TRUNK, tag, (-1,))
        if shape is not None:
            row.qos = self._new_qos(tap, shape, ours=False)
        self.ports[tap] = row
        self._number(tap)

    def libvirt_del_port(self, tap: str) -> None:
        """libvirt finds QoS rows by the tap that they are marked with, and deletes them too."""
        self.ports.pop(tap, None)
        self.qos = {key: row for key, row in self.qos.items() if row.tap != tap}

    # What people do by hand.

    def hand_port(self, name: str, bridge: str, kind: str = "internal") -> None:
        self.ports[name] = FakePort(bridge, type=kind)
        self._number(name)

    def hand_bond(self, name: str, bridge: str, *members: str) -> None:
        self.ports[name] = FakePort(bridge, members=tuple(sorted(members)), bond=(("bond_mode", ""), ("lacp", "")))
        self._number(name)

    def hand_fake_bridge(self, name: str, parent: str, tag: int) -> None:
        """ovs-vsctl add-br NAME PARENT VLAN."""
        self.ports[name] = FakePort(parent, type="internal", vlan=Vlan(VlanMode.TRUNK, tag, (-1,)), fake=tag)
        self._number(name)

    def hand_delete_bridge(self, name: str) -> None:
        for port in [port for port, row in self.ports.items() if row.bridge == name]:
            self._remove_port(port)
        del self.bridges[name]
        self.quiet.pop(name, None)

    def hand_delete_port(self, name: str) -> None:
        """ovs-vsctl del-port leaves the QoS row behind."""
        del self.ports[name]

    def _port_text(self, name: str) -> str:
        seen = self._seen(name, self.ports[name])
        limit = self.limit_of(name)
        queue = f", queue of {limit.leaf}" if seen.live and limit and limit.leaf else ""
        state = f"quiet: {self.quiet.get(name)}{queue if seen.live else ', dead'}"
        return f"port {name}: {'vnetd' if seen.marked else 'libvirt'}, {seen.port}, {state}"

    def _lent(self) -> Iterator[str]:
        """What vnetd has on bridges that are not its own."""
        for name, row in sorted(self.ports.items()):
            if row.mark is not None and not self.bridges[row.bridge].owner:
                yield self._port_text(name)
