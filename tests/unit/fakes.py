"""A host made of plain Python: OVSDB, the switch and the kernel, and what libvirt and people do to them.

Strategy: the fake has state, numbers ports and refuses changes as the real ones do,
so a test says what happened to the host, makes a pass, and looks at the host again.
It prints as text with names for numbers, so that two hosts can be held together to
the letter. It also judges: a step that would delete or change what vnetd does not
own raises Trespass, which no code of vnetd's catches.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lines import COUNTED, HEARD, LEARNED, FlowKey, cookie_of, is_learned, is_vnetds, key_of, meter_name, named

from vnetd.drops import FlowCount
from vnetd.errors import WorldError
from vnetd.model.names import IpAddress, Mac
from vnetd.model.network import Vlan, VlanMode
from vnetd.model.state import Host, Link, Meter, Port, Role, Rows, SeenBridge, SeenPort, Shape, Table
from vnetd.plan import ChangeFlows, ChangeMeters, DropBridge, DropPort, PutBridge, PutPort, RowStep, SweepShapes, flow_key
from vnetd.reconcile import Rim

_PORT = re.compile(r"(?:in_port=|output:)(-?\d+)")
_REGISTER = re.compile(r"reg1=0x([0-9a-f]+)|set_field:0x([0-9a-f]+)->reg1")
_METER = re.compile(r"meter:(\d+)")
_GOTO = re.compile(r"goto_table:(\d+)")
_LEARN = re.compile(r"learn\([^()]*\)")


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
    fragments: str = "normal"


@dataclass
class FakePort:
    """A Port row with its one Interface row. ``mark`` is vnetd's, None on everybody else's."""

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

    @property
    def by_hand(self) -> bool:
        """Whether neither vnetd nor libvirt made it."""
        return self.mark is None and "vm-id" not in self.ids


@dataclass
class FakeQos:
    """A QoS row and its queue, with the tap that it is marked with; ``ours`` when vnetd's mark is on it too."""

    tap: str
    shape: Shape
    ours: bool


@dataclass
class FakeHost:
    """One hypervisor: the three protocols of ``vnetd.reconcile`` in one object."""

    links: dict[str, bool] = field(default_factory=dict)
    addresses: set[IpAddress] = field(default_factory=set)
    default_route: set[str] = field(default_factory=set)
    local_address: IpAddress | None = None
    tunnel_bridge: str = "br-tun"
    bridges: dict[str, FakeBridge] = field(default_factory=dict)
    ports: dict[str, FakePort] = field(default_factory=dict)
    qos: dict[int, FakeQos] = field(default_factory=dict)
    quiet: dict[str, str] = field(default_factory=dict)
    """How far the kernel keeps out of a link by itself, where it does."""
    broken: set[str] = field(default_factory=set)
    """Devices that are there and that the switch cannot open."""
    reuse_numbers: bool = False
    """Whether a free port number is handed out again at once, and not the one that was free longest."""
    fuse: int | None = None
    """How many changes succeed before one is refused."""
    refusing: set[str] = field(default_factory=set)
    """Bridges whose meters and flows the switch refuses for ever."""
    changes: list[str] = field(default_factory=list)
    """Everything that vnetd has changed, in order."""
    known: dict[str, Table] = field(default_factory=dict)
    known_host: Host | None = None
    """What was read of the switch and the kernel, which is believed until somebody says ``forget``."""

    def rim(self) -> Rim:
        """This host as a pass sees it that believes nothing remembered."""
        self.forget()
        return Rim(self, self, self)

    def forget(self, bridge: str | None = None) -> None:
        """Read this bridge's table, or everything, anew when next asked."""
        if bridge is None:
            self.known, self.known_host = {}, None
        else:
            self.known.pop(bridge, None)

    # OVSDB.

    def rows(self) -> Rows:
        bridges = {name: SeenBridge(name, row.owner, row.datapath, row.fail_mode) for name, row in self.bridges.items()}
        ports = {name: self._seen(name, row) for name, row in self.ports.items()}
        return Rows(bridges, ports, len(self._strays()))

    def apply(self, steps: Sequence[RowStep]) -> None:
        before = copy.deepcopy((self.links, self.bridges, self.ports, self.qos, self.quiet))
        try:
            self._burn("rows")
            for step in steps:
                self._row_step(step)
        except BaseException:
            self.links, self.bridges, self.ports, self.qos, self.quiet = before
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
        )
        return SeenPort(port, row.mark is not None, row.ofport, row.error)

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
        if row is None:
            row = self.bridges[wanted.name] = FakeBridge(datapath=wanted.datapath)
        elif (row.fail_mode, row.datapath) != ("secure", wanted.datapath):
            # Open vSwitch forgets all flows of a bridge whose mode or datapath changes.
            row.flows, row.meters = {}, {}
        row.owner, row.datapath, row.fail_mode = wanted.owner, wanted.datapath, "secure"

    def _drop_bridge(self, name: str) -> None:
        strangers = [port for port, row in self.ports.items() if row.bridge == name and row.by_hand]
        if not self.bridges[name].owner or strangers:
            raise Trespass(f"bridge {name} is not vnetd's alone ({strangers}), and vnetd deletes it")
        self.hand_delete_bridge(name)

    def _put_port(self, port: Port) -> None:
        if port.bridge not in self.bridges:
            raise WorldError(f"OVSDB refused the change: no bridge {port.bridge} for port {port.name}")
        row = self.ports.get(port.name)
        if row is not None and row.by_hand:
            raise Trespass(f"port {port.name} was put by hand, and vnetd takes it")
        if row is not None and row.bridge != port.bridge:
            self._remove_port(port.name)
            row = None
        row = row or FakePort(port.bridge)
        row.mark, row.type, row.options, row.vlan, row.mtu = port.role, port.type, port.options, port.vlan, port.mtu
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
            row.qos = self._new_qos(tap, shape, ours=True)

    def _new_qos(self, tap: str, shape: Shape, ours: bool) -> int:
        key = max(self.qos, default=0) + 1
        self.qos[key] = FakeQos(tap, shape, ours)
        return key

    def _remove_port(self, name: str) -> None:
        row = self.ports.pop(name)
        if row.qos is not None:
            self.qos.pop(row.qos, None)

    def _strays(self) -> list[int]:
        used = {row.qos for row in self.ports.values()}
        return [key for key, row in self.qos.items() if row.ours and key not in used]

    def _number(self, name: str) -> None:
        """What ovs-vswitchd does about a row: give the port a number, or say why it has none."""
        row = self.ports[name]
        if row.type == "" and (name not in self.links or name in self.broken):
            reason = "Device or resource busy" if name in self.links else "No such device"
            row.ofport, row.error = -1, f"could not open network device {name} ({reason})"
        elif row.ofport < 1:
            bridge = self.bridges[row.bridge]
            taken = {other.ofport for other in self.ports.values() if other.bridge == row.bridge}
            first = 1 if self.reuse_numbers else bridge.last_number + 1
            row.ofport = next(number for number in range(first, 65280) if number not in taken)
            row.error, bridge.last_number = "", max(bridge.last_number, row.ofport)

    # The switch.

    def table(self, bridge: str) -> Table:
        if bridge not in self.known:
            row = self.bridges.get(bridge)
            self.known[bridge] = Table(frozenset(row.flows.values()), dict(row.meters), row.fragments) if row else Table()
        return self.known[bridge]

    def change_flows(self, step: ChangeFlows) -> None:
        """One bundle: all of it or nothing."""
        known = self.known.pop(step.bridge, None)
        self._burn(step.bridge)
        bridge = self.bridges[step.bridge]
        flows = dict(bridge.flows)
        for line in step.remove:
            if not is_vnetds(line):
                raise Trespass(f"the flow {line!r} was put by hand, and vnetd deletes it")
            _refuse_loose_key(flow_key(line))
            old = flows.get(key_of(line))
            # Strict deletion names the cookie too, so that a flow that somebody has just put there stays.
            if old is not None and cookie_of(old) == cookie_of(line):
                del flows[key_of(line)]
        for line in step.add_lines:
            self._refuse_unknown(step.bridge, line)
            flows[key_of(line)] = line
        bridge.flows = flows
        self.changes.extend(step.lines())
        if known is not None:
            added = {key_of(line) for line in step.add_lines}
            kept = {line for line in known.flows if line not in step.remove and key_of(line) not in added}
            self.known[step.bridge] = replace(known, flows=frozenset(kept.union(step.add_lines)))

    def match_fragments(self, bridge: str) -> None:
        self.forget(bridge)
        self._burn(bridge)
        self.bridges[bridge].fragments = "nx-match"
        self.changes.append(f"fragments on {bridge}")

    def put_meters(self, step: ChangeMeters) -> None:
        self.forget(step.bridge)
        meters = self.bridges[step.bridge].meters
        for numbered, there in ((step.put, False), (step.change, True)):
            for number, meter in numbered:
                self._burn(step.bridge)
                if (number in meters) != there:
                    raise WorldError(f"the switch refused: {'UNKNOWN_METER' if there else 'METER_EXISTS'} {number}")
                meters[number] = meter
        self.changes.extend(line for line in step.lines() if not line.startswith("-"))

    def drop_meters(self, step: ChangeMeters) -> None:
        self.forget(step.bridge)
        bridge = self.bridges[step.bridge]
        self.changes.extend(line for line in step.lines() if line.startswith("-"))
        for number in step.drop:
            self._burn(step.bridge)
            bridge.meters.pop(number, None)
            # A meter takes the flows that use it along.
            for key, line in list(bridge.flows.items()):
                if str(number) in _METER.findall(line):
                    if not is_vnetds(line):
                        raise Trespass(f"the flow {line!r} was put by hand, and goes with the meter that vnetd deletes")
                    del bridge.flows[key]

    def counters(self, bridge: str) -> list[FlowCount]:
        """Nothing has been counted; that a flow was made to count something is on its own line."""
        found = []
        for line in self.bridges[bridge].flows.values():
            port = re.search(r"in_port=(\d+)", line)
            register = re.search(r"reg1=0x([0-9a-f]+)", line)
            number = int(port[1]) if port else int(register[1], 16) if register else None
            found.append(FlowCount(int(cookie_of(line), 16), number, 0, 0))
        return found

    def meter_drops(self, bridge: str) -> dict[int, tuple[int, int]]:
        return dict.fromkeys(self.bridges[bridge].meters, (0, 0))

    def _refuse_unknown(self, bridge: str, line: str) -> None:
        """What ovs-ofctl and the switch would not take: a port or meter that is not there, or a way back."""
        numbers = {row.ofport for row in self.ports.values() if row.bridge == bridge and row.ofport > 0}
        named_ports = {int(one) for one in _PORT.findall(_LEARN.sub("", line))}
        # The switch would take any number in a register, and vnetd must not write one that is nobody's.
        named_ports |= {int(one or other, 16) for one, other in _REGISTER.findall(line)} - {0xFFFE}
        if "<" in line or not named_ports <= numbers:
            raise WorldError(f"the switch refused: {line!r} names an unknown port")
        if not {int(one) for one in _METER.findall(line)} <= set(self.bridges[bridge].meters):
            raise WorldError(f"the switch refused: {line!r} names an unknown meter")
        if any(int(one) <= key_of(line)[0] for one in _GOTO.findall(line)):
            raise WorldError(f"the switch refused: {line!r} goes back")

    def _burn(self, bridge: str) -> None:
        if bridge in self.refusing:
            raise WorldError(f"the switch refused: no more on {bridge}")
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.fuse = None
                raise WorldError("the switch refused: the fuse has blown")

    # The kernel.

    def host(self) -> Host:
        names = {**self.links, **dict.fromkeys(self.bridges, False)}
        if self.known_host is None:
            self.known_host = Host(
                addresses=frozenset(self.addresses),
                default_route=frozenset(self.default_route),
                tunnel_bridge=self.tunnel_bridge,
                local_address=self.local_address,
            )
        return replace(self.known_host, links={name: Link(up, quiet=self.quiet.get(name, "")) for name, up in names.items()})

    def set_up(self, name: str) -> None:
        self._burn("links")
        self.links[name] = True
        self.changes.append(f"link {name} up")

    def make_quiet(self, name: str, level: str) -> None:
        self._burn("links")
        self.quiet[name] = str(level)
        self.changes.append(f"link {name} quiet")

    # What happens to a host.

    def link_comes(self, name: str, up: bool = True) -> None:
        """A device appears; a port row that has waited for it gets its number."""
        self.links[name] = up
        if name in self.ports:
            self._number(name)

    def link_goes(self, name: str) -> None:
        self.links.pop(name, None)
        self.quiet.pop(name, None)
        if name in self.ports:
            self._number(name)

    def link_breaks(self, name: str) -> None:
        """The switch cannot open the device any more, or, when this is said again, it can."""
        self.broken ^= {name}
        if name in self.ports:
            self._number(name)

    def vswitchd_restart(self, order: Sequence[str] = ()) -> None:
        """All flows and meters are gone; the ports named in ``order`` come up first and so may get other numbers."""
        for bridge in self.bridges.values():
            bridge.flows, bridge.meters, bridge.fragments = {}, {}, "normal"
        if order:
            for bridge in self.bridges.values():
                bridge.last_number = 0
            for row in self.ports.values():
                row.ofport = -1
            for name in sorted(self.ports, key=lambda one: (order.index(one) if one in order else len(order), one)):
                self._number(name)

    def ovsdb_lost(self) -> None:
        """OVSDB's file is gone, and with it all bridges, other people's too."""
        self.quiet = {name: level for name, level in self.quiet.items() if name not in self.bridges}
        self.bridges, self.ports, self.qos = {}, {}, {}

    def learn(self, patch: str, tunnel: str, mac: str) -> None:
        """A frame from ``mac`` came out of ``tunnel``, and the switch remembers it."""
        bridge, numbers = self.bridges[self.tunnel_bridge], self.rows().numbers(self.tunnel_bridge)
        line = f"{LEARNED},in_port={numbers[patch]},vlan_tci=0x000a/0x0fff,dl_dst={mac} actions=output:{numbers[tunnel]}"
        bridge.flows[key_of(line)] = line

    def hear(self, port: str, mac: str, tag: int = 10) -> None:
        """A frame from ``mac`` came in by a port of a network's bridge, and the switch remembers it."""
        row = self.ports[port]
        begin = HEARD.format(kind=34 if row.mark is Role.GUEST else 32)
        line = f"{begin},vlan_tci=0x{tag:04x}/0x0fff,dl_dst={mac} actions=load:0x{row.ofport:x}->NXM_NX_REG1[0..15]"
        self.bridges[row.bridge].flows[key_of(line)] = line

    def refuse(self, port: str, reason: int) -> None:
        """A frame of the port dropped for this reason, and the switch counts such from now on."""
        row = self.ports[port]
        line = f"{COUNTED.format(reason=reason)},reg1=0x{row.ofport:x}/0xffff,reg2=0x{reason:x}/0xff actions=drop"
        self.bridges[row.bridge].flows[key_of(line)] = line

    def libvirt_add_port(
        self, tap: str, bridge: str, ids: Mapping[str, str], tag: int | None = None, shape: Shape | None = None, policing: int = 0
    ) -> None:
        """As libvirt plugs a tap: it deletes the port first, and writes a tag but no vlan_mode."""
        self.libvirt_del_port(tap)
        row = FakePort(bridge, ids={**ids, "iface-status": "active"}, policing=policing)
        if tag is not None:
            # This is how the adapter reads a tag whose mode is left out: it differs from all that vnetd writes.
            row.vlan = Vlan(VlanMode.TRUNK, tag, (-1,))
        if shape is not None:
            row.qos = self._new_qos(tap, shape, ours=False)
        self.ports[tap] = row
        self._number(tap)

    def libvirt_del_port(self, tap: str) -> None:
        """libvirt finds QoS rows by the tap that they are marked with, whoever made them, and deletes them too."""
        self.ports.pop(tap, None)
        self.qos = {key: row for key, row in self.qos.items() if row.tap != tap}

    # What people do by hand.

    def hand_bridge(self, name: str) -> None:
        self.bridges[name] = FakeBridge()
        self.hand_flow(name, "priority=0 actions=NORMAL")

    def hand_port(self, name: str, bridge: str, kind: str = "internal") -> None:
        self.ports[name] = FakePort(bridge, type=kind)
        self._number(name)

    def hand_flow(self, bridge: str, line: str) -> None:
        self.bridges[bridge].flows[key_of(line)] = line

    def hand_delete_bridge(self, name: str) -> None:
        for port in [port for port, row in self.ports.items() if row.bridge == name]:
            self._remove_port(port)
        del self.bridges[name]
        self.quiet.pop(name, None)

    def hand_delete_port(self, name: str) -> None:
        """ovs-vsctl del-port leaves the QoS row behind."""
        del self.ports[name]

    # Reading it.

    def text(self, without: Collection[str] = ()) -> str:
        """All that is vnetd's, with names for numbers; ``without`` are bridges and ports to leave out."""
        lines = []
        for name, row in sorted(self.bridges.items()):
            if row.owner and name not in without:
                lines.append(
                    f"bridge {name}: of {row.owner}, {row.datapath}, {row.fail_mode}, {row.fragments}, quiet: {self.quiet.get(name)}"
                )
                lines.extend(f"  {line}" for line in self._bridge_lines(name, without))
        lines.extend(f"QoS row {self.qos[key].shape} that no port uses" for key in self._strays())
        return "\n".join(lines)

    def text_by_hand(self) -> dict[str, str]:
        """What people put there, by the bridge it is in."""
        found = {}
        for name, bridge in self.bridges.items():
            ports = [f"{port} {row}" for port, row in sorted(self.ports.items()) if row.bridge == name and row.by_hand]
            flows = sorted(line for line in bridge.flows.values() if not is_vnetds(line))
            found[name] = "\n".join([*ports, *flows, "" if bridge.owner else f"{bridge.datapath} {bridge.fail_mode}"])
        return found

    def flows(self, bridge: str) -> list[str]:
        """The bridge's flows with names for numbers, sorted as they are met: by table, then by priority."""
        names = {number: name for name, number in self.rows().numbers(bridge).items()}
        found = [(table, -priority, named(line, names)) for (table, priority, _), line in self.bridges[bridge].flows.items()]
        return [line for _, _, line in sorted(found)]

    def learned(self) -> list[tuple[str, str]]:
        """(patch, tunnel) of every learned flow."""
        lines = self.flows(self.tunnel_bridge) if self.tunnel_bridge in self.bridges else []
        learned = [line for line in lines if line.startswith(LEARNED)]
        return [(line.partition("in_port=")[2].partition(",")[0], line.partition("output:")[2]) for line in learned]

    def _bridge_lines(self, bridge: str, without: Collection[str]) -> Iterator[str]:
        for name, row in sorted(self.ports.items()):
            if row.bridge == bridge and not row.by_hand and name not in without:
                seen = self._seen(name, row)
                state = f"quiet: {self.quiet.get(name)}{'' if seen.live else ', dead'}"
                yield f"port {name}: {'vnetd' if seen.marked else 'libvirt'}, {seen.port}, {state}"
        numbers = {number: name for name, number in self.rows().numbers(bridge).items()}
        yield from sorted(f"meter {meter_name(number, numbers)}: {meter}" for number, meter in self.bridges[bridge].meters.items())
        yield from (line for line in self.flows(bridge) if is_vnetds(line) and not is_learned(line))


def _refuse_loose_key(text: str) -> None:
    """ovs-ofctl's strict deletion takes a table, a priority and a match, and nothing else of a dumped line."""
    if found := re.search(r"(hard_timeout|idle_timeout|importance|send_flow_rem)", text):
        raise WorldError(f"the switch refused: ovs-ofctl: unknown keyword {found[1]}")


# Sources to write tests with.


def uuid_of(number: int) -> str:
    """A UUID that reads as its number."""
    return f"00000000-0000-4000-8000-{number:012d}"


def mac_of(number: int) -> Mac:
    return Mac(f"52:54:00:00:00:{number:02x}")


def network_xml(name: str, number: int, inside: str = "", metadata: str = "", ours: bool = True) -> bytes:
    """A libvirt network on bridge br-NAME. ``metadata`` stands inside ``<vnet:network>``, ``inside`` beside it."""
    mark = f"<metadata><v:network xmlns:v='urn:vnetd:network:1'>{metadata}</v:network></metadata>" if ours else ""
    return (
        f"<network><name>{name}</name><uuid>{uuid_of(number)}</uuid>{mark}<forward mode='bridge'/>"
        f"<bridge name='br-{name}'/><virtualport type='openvswitch'/>{inside}</network>"
    ).encode()


def nic_xml(number: int, network: str, tap: str = "", more: str = "", source: str = "") -> str:
    """A NIC of a running guest, or of one that has no tap yet."""
    target = f"<target dev='{tap}'/>" if tap else ""
    return (
        f"<interface type='network'><mac address='{mac_of(number)}'/><source network='{network}' {source}/>"
        f"<virtualport type='openvswitch'><parameters interfaceid='{uuid_of(number)}'/></virtualport>{target}{more}</interface>"
    )


def domain_xml(name: str, number: int, *nics: str) -> bytes:
    return f"<domain><name>{name}</name><uuid>{uuid_of(number)}</uuid><devices>{''.join(nics)}</devices></domain>".encode()


def port_xml(number: int, guest: str, guest_number: int, port_number: int) -> str:
    """libvirt's ``<networkport>`` for a NIC, which names no tap."""
    return (
        f"<networkport><uuid>{uuid_of(port_number)}</uuid><owner><name>{guest}</name><uuid>{uuid_of(guest_number)}</uuid></owner>"
        f"<mac address='{mac_of(number)}'/>"
        f"<virtualport type='openvswitch'><parameters interfaceid='{uuid_of(number)}'/></virtualport></networkport>"
    )


def hook_xml(network: bytes, port: str = "") -> bytes:
    return b"<hookData>" + network + port.encode() + b"</hookData>"
