"""A host made of plain Python: OVSDB, the switch and the kernel, and what libvirt and people do to them.

Strategy: the fake has state, numbers ports and refuses changes as the real ones do,
so a test says what happened to the host, makes a pass, and looks at the host again.
It prints as text with names for numbers, so that two hosts can be held together to
the letter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from fake_rows import FakeBridge, FakePort, FakeRows, Trespass
from fake_xml import domain_xml, hook_xml, mac_of, network_xml, nic_xml, port_xml, uuid_of
from lines import COUNTED, HEARD, LEARNED, cookie_of, is_learned, is_vnetds, key_of, meter_name, named

from vnetd.drops import FlowCount
from vnetd.errors import WorldError
from vnetd.model.dataplane import DataPlane
from vnetd.model.judge import DETOUR, Judge, JudgeCounts
from vnetd.model.names import IpAddress, IpInterface
from vnetd.model.shaping import Leaf
from vnetd.model.state import Host, Learned, Link, Role, Table
from vnetd.plan import ChangeFlows, ChangeGroups, ChangeMeters, flow_key
from vnetd.reconcile import Rim

__all__ = [
    "FakeBridge", "FakeHost", "FakePort", "Trespass", "domain_xml", "hook_xml", "mac_of", "network_xml", "nic_xml", "port_xml", "uuid_of",
]  # fmt: skip

_PORT = re.compile(r"(?:in_port=|output:)(-?\d+)")
_REGISTER = re.compile(r"reg1=0x([0-9a-f]+)|set_field:0x([0-9a-f]+)->reg1")
_METER = re.compile(r"meter:(\d+)")
_GROUP = re.compile(r"group:(\d+)")
_GOTO = re.compile(r"goto_table:(\d+)")
_LEARN = re.compile(r"learn\([^()]*\)")


@dataclass
class FakeHost(FakeRows):
    """One hypervisor: the three protocols of ``vnetd.reconcile`` in one object."""

    addresses: set[IpAddress] = field(default_factory=set)
    carried: dict[str, tuple[IpInterface, ...]] = field(default_factory=dict)
    default_route: set[str] = field(default_factory=set)
    local_address: IpAddress | None = None
    tunnel_bridge: str = "br-tun"
    datapath: str = "system"
    plane: DataPlane = field(default_factory=DataPlane)
    """What the data plane can do, once it has a bridge."""
    mtus: dict[str, int] = field(default_factory=dict)
    """The MTUs of links that have another than 1500."""
    found_out: Learned = field(default_factory=Learned)
    """What has been found out about peers, in the background: never remembered by who reads it."""
    judges: dict[str, Judge] = field(default_factory=dict)
    unjudgeable: set[str] = field(default_factory=set)
    """Links for which the kernel takes no judge."""
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

    # The switch.

    def dataplane(self, bridge: str, kind: str) -> DataPlane:
        assert bridge in self.bridges
        assert kind == self.datapath
        return self.plane

    def table(self, bridge: str) -> Table:
        if bridge not in self.known:
            row = self.bridges.get(bridge)
            self.known[bridge] = Table(frozenset(row.flows.values()), dict(row.meters), row.fragments, dict(row.groups)) if row else Table()
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
        numbers = set(self.rows().numbers(step.bridge).values())
        for line in step.add_lines:
            self._refuse_unknown(step.bridge, line, numbers)
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

    def put_groups(self, step: ChangeGroups) -> None:
        self.forget(step.bridge)
        if step.put:
            self._burn(step.bridge)
            self.bridges[step.bridge].groups.update(step.put)
            self.changes.extend(line for line in step.lines() if line.startswith("+"))

    def drop_groups(self, step: ChangeGroups) -> None:
        self.forget(step.bridge)
        bridge = self.bridges[step.bridge]
        for number in step.drop:
            self._burn(step.bridge)
            bridge.groups.pop(number, None)
            self.changes.append(f"- group {number} on {step.bridge}")
            # A group takes the flows that name it along; Open vSwitch 3.1 dies of one that names it twice.
            for key, line in list(bridge.flows.items()):
                if named := _GROUP.findall(line).count(str(number)):
                    if named > 1 or not is_vnetds(line):
                        raise Trespass(f"the flow {line!r} names the group {number}, which vnetd deletes")
                    del bridge.flows[key]

    def unlearn(self, bridge: str) -> None:
        self._burn(bridge)
        if bridge not in self.bridges:
            raise WorldError("the switch refused: no such bridge")
        self.changes.append(f"bridge {bridge} forgets")

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

    def _refuse_unknown(self, bridge: str, line: str, numbers: Set[int]) -> None:
        """What ovs-ofctl and the switch would not take: a port that is none of these or a meter that is not there, or a way back."""
        named_ports = {int(one) for one in _PORT.findall(_LEARN.sub("", line))}
        # The switch would take any number in a register, and vnetd must not write one that is nobody's.
        named_ports |= {int(one or other, 16) for one, other in _REGISTER.findall(line)} - {0xFFFE}
        if "<" in line or not named_ports <= numbers:
            raise WorldError(f"the switch refused: {line!r} names an unknown port")
        if not {int(one) for one in _METER.findall(line)} <= set(self.bridges[bridge].meters):
            raise WorldError(f"the switch refused: {line!r} names an unknown meter")
        if not {int(one) for one in _GROUP.findall(line)} <= set(self.bridges[bridge].groups):
            raise WorldError(f"the switch refused: {line!r} names an unknown group")
        if any(int(one) <= key_of(line)[0] for one in _GOTO.findall(line)):
            raise WorldError(f"the switch refused: {line!r} goes back")

    # The kernel.

    def host(self) -> Host:
        names = {**self.links, **dict.fromkeys(self.bridges, False)}
        if self.known_host is None:
            self.known_host = Host(
                addresses=frozenset(self.addresses),
                carried=dict(self.carried),
                default_route=frozenset(self.default_route),
                datapath=self.datapath,
                tunnel_bridge=self.tunnel_bridge,
                local_address=self.local_address,
            )
        judges = {name: judge.digest for name, judge in self.judges.items()}
        links = {name: Link(up, quiet=self.quiet.get(name, ""), judge=judges.get(name, "")) for name, up in names.items()}
        return replace(self.known_host, links=links, learned=self.found_out)

    def set_up(self, name: str) -> None:
        self._burn("links")
        self.links[name] = True
        self.changes.append(f"link {name} up")

    def make_quiet(self, name: str, level: str) -> None:
        self._burn("links")
        self.quiet[name] = str(level)
        self.changes.append(f"link {name} quiet")

    def put_judge(self, name: str, judge: Judge | None) -> None:
        self._burn("links")
        if name in self.unjudgeable:
            raise WorldError(f"what {name} sends cannot be judged in the kernel")
        if judge is None:
            self.judges.pop(name, None)
            if name == DETOUR:
                del self.links[name]
        elif name in self.links or name in self.bridges:
            self.judges[name] = judge
            self.links[DETOUR] = True
        self.changes.append(f"judge of {name}")

    def judge_counts(self, names: Collection[str]) -> JudgeCounts:
        return {}

    def leaves(self, names: Collection[str]) -> Mapping[str, Leaf]:
        limits = {name: limit for name in names if name in self.links and (limit := self.limit_of(name))}
        return {name: Leaf(limit.leaf, self.mtus.get(name, 1500)) for name, limit in limits.items()}

    def set_leaf(self, name: str, frames: int) -> None:
        self._burn("links")
        limit = self.limit_of(name)
        if limit is None:
            raise WorldError(f"no queue of {frames} can be set under its limit")
        limit.leaf = frames
        self.changes.append(f"queue of {frames} at {name}")

    # What happens to a host.

    def link_comes(self, name: str, up: bool = True) -> None:
        """A device appears; a port row that has waited for it gets its number."""
        self.links[name] = up
        self.device_changes(name)

    def link_goes(self, name: str) -> None:
        self.links.pop(name, None)
        self.quiet.pop(name, None)
        self.judges.pop(name, None)
        if limit := self.limit_of(name):
            limit.leaf = None
        self.device_changes(name)

    def link_breaks(self, name: str) -> None:
        """The switch cannot open the device any more, or, when this is said again, it can."""
        self.broken ^= {name}
        self.device_changes(name)

    def vswitchd_restart(self, order: Sequence[str] = ()) -> None:
        """All flows, meters and groups are gone; the ports named in ``order`` come up first and so may get other numbers."""
        for bridge in self.bridges.values():
            bridge.flows, bridge.meters, bridge.groups, bridge.fragments = {}, {}, {}, "normal"
        for limit in self.qos.values():
            limit.leaf = None
        if order:
            for bridge in self.bridges.values():
                bridge.last_number = 0
            for row in self.ports.values():
                row.ofport, row.numbers = -1, {}
            for name in sorted(self.ports, key=lambda one: (order.index(one) if one in order else len(order), one)):
                self._number(name)

    def ovsdb_lost(self) -> None:
        """OVSDB's file is gone, and with it all bridges, other people's too."""
        self.quiet = {name: level for name, level in self.quiet.items() if name not in self.bridges}
        self.judges = {name: judge for name, judge in self.judges.items() if name not in self.bridges}
        self.bridges, self.ports, self.qos = {}, {}, {}

    def learn(self, patch: str, tunnel: str, mac: str) -> None:
        """A frame from ``mac`` came out of ``tunnel``, and the switch remembers it."""
        bridge, numbers = self.bridges[self.tunnel_bridge], self.rows().numbers(self.tunnel_bridge)
        line = f"{LEARNED.format(patch=numbers[patch])},in_port={numbers[patch]},vlan_tci=0x000a/0x0fff,dl_dst={mac} actions="
        line += f"load:0x{numbers[tunnel]:x}->NXM_NX_REG1[0..15]"
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

    def refuse_toward_peers(self, patch: str, sender: int) -> None:
        """A frame too large for a tunnel, from the port that has this number on the bridge behind the patch, and the switch counts such."""
        number, bridge = self.ports[patch].ofport, self.bridges[self.ports[patch].bridge]
        line = f"{COUNTED.format(reason=0x54)},reg2=0x54/0xff,reg5=0x{sender:x}/0xffff,in_port={number} actions=drop"
        bridge.flows[key_of(line)] = line

    # What people do by hand.

    def hand_bridge(self, name: str) -> None:
        self.bridges[name] = FakeBridge()
        self.hand_flow(name, "priority=0 actions=NORMAL")

    def hand_flow(self, bridge: str, line: str) -> None:
        self.bridges[bridge].flows[key_of(line)] = line

    # Reading it.

    def text(self, without: Collection[str] = ()) -> str:
        """All that is vnetd's, with names for numbers; ``without`` are bridges and ports to leave out."""
        lines = []
        for name, row in sorted(self.bridges.items()):
            if row.owner and name not in without:
                mode = f"{row.fail_mode}, sealed" if row.sealed else row.fail_mode
                lines.append(f"bridge {name}: of {row.owner}, {row.datapath}, {mode}, {row.fragments}, quiet: {self.quiet.get(name)}")
                lines.extend(f"  {line}" for line in self._bridge_lines(name, without))
        judges = sorted((name, judge) for name, judge in self.judges.items() if name not in without)
        lines.extend(f"judge of {name}: {judge.words}, {judge.digest}" for name, judge in judges)
        lines.extend(self._lent())
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
        learned = [line for line in lines if key_of(line)[:2] == (30, 5)]
        return [(line.partition("in_port=")[2].partition(",")[0], line.partition("load:")[2].partition("->")[0]) for line in learned]

    def _bridge_lines(self, bridge: str, without: Collection[str]) -> Iterator[str]:
        for name, row in sorted(self.ports.items()):
            if row.bridge == bridge and not row.by_hand and name not in without:
                yield self._port_text(name)
        numbers = {number: name for name, number in self.rows().numbers(bridge).items()}
        yield from sorted(f"meter {meter_name(number, numbers)}: {meter}" for number, meter in self.bridges[bridge].meters.items())
        yield from sorted(f"group {number}: {group}" for number, group in self.bridges[bridge].groups.items())
        yield from (line for line in self.flows(bridge) if is_vnetds(line) and not is_learned(line))


def _refuse_loose_key(text: str) -> None:
    """ovs-ofctl's strict deletion takes a table, a priority and a match, and nothing else of a dumped line."""
    if found := re.search(r"(hard_timeout|idle_timeout|importance|send_flow_rem)", text):
        raise WorldError(f"the switch refused: ovs-ofctl: unknown keyword {found[1]}")
