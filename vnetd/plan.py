"""Desired less observed, as steps: what to change, and in which order.

The order has one home, ``Plan``: rows first, in one OVSDB transaction, in which
what leaves goes before what comes (a tap that changes bridges has one name in
both); then how bridges handle fragments, and meters and groups that flows will name; then who judges at taps, since a port's flows
open it; then each bridge's flows in one bundle;
then meters that no flow names any more; then the kernel is told to keep out of taps
and bridges, and how long the queues under limits may be; links last, so that a tap comes
up when its policy is there. A port that the switch has not made yet has no number, so its
flows come out of the next plan, made after the rows were applied and read again.

Nothing is dropped that vnetd or libvirt did not make, and nothing of a network is
dropped while sources are missing (``Desired.complete``), unless it was just said
to be gone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vnetd.heard import Heard, Station
from vnetd.leaves import leaves_to_set
from vnetd.model.dataplane import USERSPACE
from vnetd.model.judge import DETOUR, Judge
from vnetd.model.network import Problem
from vnetd.model.state import (
    FRAGMENTS,
    Desired,
    Group,
    Meter,
    Observed,
    Quiet,
    Rows,
    Table,
)
from vnetd.pipeline import (
    LOCAL,
    OUR_GROUPS,
    Flow,
    MeterKind,
    bond_flows,
    by_lines,
    groups_of,
    is_learned,
    is_ours,
    meters_of,
    network_flows,
    referenced_ports,
    tunnel_flows,
    tunnel_groups,
)
from vnetd.rowplan import PutPort, RowStep, SweepShapes, bridge_puts, drop_steps, foreign_ports, port_puts, prunable

_METER = re.compile(r"meter:(\d+)")
_GROUP = re.compile(r"group:(\d+)")

QUIET_WORDS = {
    Quiet.BRIDGE: "no link-local address, no router advertisements",
    Quiet.PORT: "nothing for the host's own stack",
}

FlowPart = tuple[Flow | None, str]
"""One change by itself: (flow, its line) to add, (None, line) to remove."""


@dataclass(frozen=True, slots=True)
class ChangeFlows:
    """One bundle for one bridge. ``remove`` holds lines as the switch prints them."""

    bridge: str
    add: tuple[Flow, ...]
    add_lines: tuple[str, ...]
    remove: tuple[str, ...]

    def parts(self, unjudged: Collection[str] = ()) -> list[FlowPart]:
        """Each change by itself, removals first; without what opens these ports, or this bridge's own, to what nobody judges."""
        adds = ((flow, line) for flow, line in zip(self.add, self.add_lines, strict=True) if not self._opens(flow, unjudged))
        return [*((None, line) for line in self.remove), *adds]

    def _opens(self, flow: Flow, unjudged: Collection[str]) -> bool:
        """Whether the flow is for what one of these ports sends, or for what the bridge's own port gets, if that is among them."""
        return any(f"in_port=<{port}>" in flow.match for port in unjudged) or (self.bridge in unjudged and LOCAL in flow.actions)

    def only(self, parts: Sequence[FlowPart]) -> ChangeFlows:
        """A change of just these parts."""
        adds = [(flow, line) for flow, line in parts if flow is not None]
        remove = tuple(line for flow, line in parts if flow is None)
        return ChangeFlows(self.bridge, tuple(flow for flow, _ in adds), tuple(line for _, line in adds), remove)

    def lines(self) -> Iterator[str]:
        """One line for each flow, with port names where they are known."""
        yield from (f"- flow on {self.bridge}: {line}" for line in self.remove)
        yield from (f"+ flow on {self.bridge}: {flow.text()}" for flow in self.add)


@dataclass(frozen=True, slots=True)
class ChangeMeters:
    """Meters to set and meters to delete, of one bridge, by number."""

    bridge: str
    put: tuple[tuple[int, Meter], ...]
    change: tuple[tuple[int, Meter], ...]
    drop: tuple[int, ...]

    def lines(self) -> Iterator[str]:
        yield from (f"- meter {number} on {self.bridge}" for number in self.drop)
        yield from (f"+ meter {number} on {self.bridge}: {meter}" for number, meter in self.put)
        yield from (f"~ meter {number} on {self.bridge}: {meter}" for number, meter in self.change)


@dataclass(frozen=True, slots=True)
class ChangeGroups:
    """Groups to make, or to make what they must be, and groups to delete, of one bridge, by number."""

    bridge: str
    put: tuple[tuple[int, Group], ...]
    drop: tuple[int, ...]

    def lines(self) -> Iterator[str]:
        yield from (f"- group {number} on {self.bridge}" for number in self.drop)
        yield from (f"+ group {number} on {self.bridge}: {group}" for number, group in self.put)


@dataclass(frozen=True, slots=True)
class ChangeJudge:
    """The judge of one link to put, or to take away (None); ``was`` is whether one is there."""

    link: str
    judge: Judge | None
    was: bool

    def __str__(self) -> str:
        if self.judge is None:
            return f"- link {self.link}" if self.link == DETOUR else f"- judge of {self.link}"
        return f"{'~' if self.was else '+'} judge of {self.link}: {self.judge.words}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, in the order in which they are applied."""

    rows: tuple[RowStep, ...] = ()
    fragments: tuple[str, ...] = ()
    """Bridges whose flows would not see into the first fragment of a packet."""
    meters: tuple[ChangeMeters, ...] = ()
    groups: tuple[ChangeGroups, ...] = ()
    judges: tuple[ChangeJudge, ...] = ()
    flows: tuple[ChangeFlows, ...] = ()
    unlearn: tuple[str, ...] = ()
    """Bonds' bridges that must forget who is where, since somebody has left who may speak from elsewhere at once."""
    quiet: tuple[tuple[str, Quiet], ...] = ()
    leaves: tuple[tuple[str, int], ...] = ()
    """Limited links of the userspace datapath, with how many frames may wait there."""
    links: tuple[str, ...] = ()
    lost: frozenset[Station] = frozenset()
    """Who was behind a peer that is gone, by what was remembered of the tunnel bridge; no step of its own."""
    expected: tuple[str, ...] = ()
    """Ports to be added, whose flows can only be planned once the switch has numbered them."""

    def __bool__(self) -> bool:
        steps = (self.rows, self.fragments, self.meters, self.groups, self.judges, self.flows, self.quiet, self.leaves, self.links)
        return any(steps)

    def touches(self, port: str, bridge: str, number: int) -> bool:
        """Whether anything of this port is still to be changed, or any flow of its bridge that all ports need."""
        if any(step.link == port for step in self.judges):
            return True
        if any(isinstance(step, PutPort) and step.port.name == port for step in self.rows):
            return True
        for flows in (step for step in self.flows if step.bridge == bridge):
            if any(f"<{port}>" in str(flow) or f"<{port}:" in str(flow) or "<" not in flow.match for flow in flows.add):
                return True
            if any(number in referenced_ports(line) for line in flows.remove):
                return True
        meters = (pair for step in self.meters if step.bridge == bridge for pair in (*step.put, *step.change))
        return any(MeterKind.of(one)[0] == number for one, _ in meters)

    def _switched(self) -> dict[str, int]:
        """How many flows, meters and groups are to be changed, by bridge."""
        counts = {step.bridge: len(step.parts()) for step in self.flows}
        for step in self.meters:
            counts[step.bridge] = counts.get(step.bridge, 0) + len(step.put) + len(step.change) + len(step.drop)
        for groups in self.groups:
            counts[groups.bridge] = counts.get(groups.bridge, 0) + len(groups.put) + len(groups.drop)
        return counts

    def by_bridge(self) -> list[tuple[str, str]]:
        """(bridge, words) for what is still to do although it was done."""
        counts: dict[str, int] = {}
        for step in self.rows:
            where = step.port.bridge if isinstance(step, PutPort) else getattr(step, "bridge", getattr(step, "name", "all"))
            counts[str(where)] = counts.get(str(where), 0) + 1
        for bridge, number in self._switched().items():
            counts[bridge] = counts.get(bridge, 0) + number
        return [(bridge, f"{count} changes do not last; see vnetctl plan") for bridge, count in sorted(counts.items())]

    def lines(self) -> list[str]:
        """The plan to read, a line a step."""
        return [
            *map(str, self.rows),
            *(f"~ bridge {name}: fragments handled as {FRAGMENTS}" for name in self.fragments),
            *(line for step in self.meters for line in step.lines()),
            *(line for step in self.groups for line in step.lines()),
            *map(str, self.judges),
            *(line for step in self.flows for line in step.lines()),
            *(f"~ bridge {name}: forgets who was behind its patch" for name in self.unlearn),
            *(f"~ link {name}: {QUIET_WORDS[level]}" for name, level in self.quiet),
            *(f"~ link {name}: a queue of {frames} under its limit" for name, frames in self.leaves),
            *(f"~ link {name} up" for name in self.links),
            *(f"+ flows of {name}, once the switch has numbered it" for name in self.expected),
        ]


def make_plan(desired: Desired, observed: Observed, lost: frozenset[Station] = frozenset(), unjudged: frozenset[str] = frozenset()) -> Plan:
    """The steps that lead from ``observed`` to ``desired``; none when they agree. ``lost``: what an earlier plan of the pass found so.

    ``unjudged`` are ports for which the kernel took no judge: they get no flows, and lose those that they have. A bridge among them is
    one whose own port guests do not reach.
    """
    heard = Heard(desired, observed, lost)
    drops, dropped = drop_steps(desired, observed)
    puts = [*bridge_puts(desired, observed.rows), *port_puts(desired, observed.rows)]
    sweep = [SweepShapes(observed.rows.stray_shapes)] if observed.rows.stray_shapes else []
    flows, meters = _tables(desired, observed, heard, dropped, unjudged)
    judges = tuple(_judges(desired, observed))
    quiet = tuple(sorted(_links_to_quiet(desired, observed)))
    leaves = tuple(sorted(leaves_to_set(desired, observed)))
    links = tuple(sorted(_links_to_set_up(desired, observed)))
    expected = tuple(step.port.name for step in puts if isinstance(step, PutPort) and not step.changed)
    fragments = tuple(sorted(name for name, table in observed.tables.items() if table.fragments != FRAGMENTS and name not in dropped))
    groups = tuple(_groups(desired, observed, dropped))
    bonds = sorted(set(desired.bond_bridges) & set(observed.rows.bridges) - set(observed.silent))
    unlearn = tuple(bonds) if any(_somebody_left(desired, observed, step) for step in flows) else ()
    return Plan((*drops, *puts, *sweep), fragments, meters, groups, judges, flows, unlearn, quiet, leaves, links, heard.lost, expected)


def _somebody_left(desired: Desired, observed: Observed, step: ChangeFlows) -> bool:
    """Whether flows go of a port that has gone, or goes. Which bond its guest was heard by is not asked: bridges may be joined."""
    numbers = observed.rows.numbers(step.bridge)
    stay = {number for name, number in numbers.items() if name in desired.ports and desired.ports[name].bridge == step.bridge}
    return any(referenced_ports(line) - stay for line in step.remove)


def _judges(desired: Desired, observed: Observed) -> Iterator[ChangeJudge]:
    """Links without the judge that they should have; and links with one of vnetd's that should have none."""
    for name, link in sorted(observed.host.links.items()):
        judge = desired.judges.get(name)
        if judge is not None and link.judge != judge.digest:
            yield ChangeJudge(name, judge, bool(link.judge))
        elif judge is None and link.judge and (desired.complete or name in desired.ports or name in desired.bridges):
            yield ChangeJudge(name, None, True)
    if DETOUR in observed.host.links and not desired.judges and desired.complete:
        yield ChangeJudge(DETOUR, None, True)


def _links_to_quiet(desired: Desired, observed: Observed) -> Iterator[tuple[str, Quiet]]:
    """Links of bridges and guests at which the kernel would still speak or listen by itself."""
    for name, level in desired.quiet.items():
        link = observed.host.links.get(name)
        if link is not None and not link.is_quiet(level):
            yield name, level


def _links_to_set_up(desired: Desired, observed: Observed) -> Iterator[str]:
    """Links that are down although their port is there: earlier, a tap would lose its guest's first frames."""
    live = {name for seen in observed.rows.ports.values() for name, number in seen.interfaces if number is not None and number > 0}
    for name in desired.links_up & live:
        link = observed.host.links.get(name)
        if link is not None and not link.up:
            yield name


def kept_bridges(desired: Desired, rows: Rows) -> list[Problem]:
    """Bridges of vnetd's that nothing needs and that stay because somebody put a port of their own in."""
    problems = []
    for seen in rows.bridges.values():
        if not seen.owner or seen.name in desired.bridges or not prunable(desired, seen.owner):
            continue
        if foreign := foreign_ports(rows, seen.name):
            problems.append(
                Problem("bridge", seen.name, f"it is no longer needed but kept for {', '.join(foreign)}, which vnetd did not add")
            )
    return problems


def foreign_flows(observed: Observed) -> list[Problem]:
    """Flows that somebody else put into vnetd's bridges: never removed, always said."""
    problems = []
    for bridge, table in observed.tables.items():
        strange = sorted(line for line in table.flows if not is_ours(line))
        if strange:
            more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
            text = f"it has a flow that vnetd did not make: {strange[0]}{more}; see ovs-ofctl del-flows"
            problems.append(Problem("bridge", bridge, text))
    return problems


def _tables(
    desired: Desired, observed: Observed, heard: Heard, dropped: set[str], unjudged: frozenset[str]
) -> tuple[tuple[ChangeFlows, ...], tuple[ChangeMeters, ...]]:
    flow_steps, meter_steps = [], []
    for name, seen in sorted(observed.rows.bridges.items()):
        if not seen.owner or name in dropped or name in observed.silent:
            continue
        table = observed.tables.get(name, Table())
        numbers = observed.rows.numbers(name)
        if name in desired.bridges:
            judged = {port: number for port, number in numbers.items() if port not in unjudged}
            wanted = by_lines(_flows(desired, name, judged, name not in unjudged), numbers)
        elif prunable(desired, seen.owner):
            wanted = {}
        else:
            continue
        kept = _kept_flows(desired, heard, name, numbers, table)
        wanted = _beside(wanted, kept)
        if step := _flow_step(name, wanted, Table(table.flows - kept, table.meters)):
            flow_steps.append(step)
        if meter_step := _meter_step(name, meters_of(desired.wirings.get(name), numbers), table, desired.complete):
            meter_steps.append(meter_step)
    return tuple(flow_steps), tuple(meter_steps)


def _groups(desired: Desired, observed: Observed, dropped: set[str]) -> Iterator[ChangeGroups]:
    """Groups that flows name and that are not there, or not as they must be; and those that no flow needs any more."""
    for name, table in sorted(observed.tables.items()):
        wanted = _wanted_groups(desired, name)
        put = tuple((number, group) for number, group in sorted(wanted.items()) if table.groups.get(number) != group)
        # A group that somebody's own flow names is theirs: OpenFlow deletes the flows of a deleted group with it.
        named = {int(number) for line in table.flows if not is_ours(line) for number in _GROUP.findall(line)}
        drop = tuple(sorted(OUR_GROUPS & set(table.groups) - set(wanted) - named)) if desired.complete else ()
        if (put or drop) and name not in dropped:
            yield ChangeGroups(name, put, drop)


def _wanted_groups(desired: Desired, bridge: str) -> dict[int, Group]:
    if bridge not in desired.bridges:
        return {}
    return tunnel_groups() if bridge == desired.tunnel_bridge else groups_of(desired.wirings.get(bridge))


def _flows(desired: Desired, bridge: str, numbers: Mapping[str, int], host: bool = True) -> list[Flow]:
    """All flows of a bridge; without ``host`` its guests do not reach the host, whatever their network says."""
    if bridge == desired.tunnel_bridge:
        wires = {name: facts.wire for name, facts in desired.tunnels.items()}
        apart = desired.bridges[bridge].datapath != USERSPACE
        hidden = any(wiring.hidden_tags for wiring in desired.wirings.values())
        return tunnel_flows(desired.segments, numbers, wires, tags_apart=apart, hidden_tags=hidden)
    if bridge in desired.bond_bridges:
        members = [member for port in desired.ports.values() if port.bridge == bridge for member in port.members]
        return bond_flows(desired.bond_bridges[bridge], members, numbers)
    wiring = desired.wirings[bridge]
    return network_flows(replace(wiring, host=wiring.host and host), numbers)


def _kept_flows(desired: Desired, heard: Heard, bridge: str, numbers: Mapping[str, int], table: Table) -> set[str]:
    """Flows of vnetd's that no plan wants and that stay: what the switch has learned and, while sources are missing, what may be theirs."""
    kept = heard.kept(bridge, numbers)
    if not desired.complete and bridge in desired.bridges and bridge not in desired.bond_bridges:
        # A bond's members, too, have numbers; their bridge's flows are all of one network, and were dealt with above.
        unclaimed = {number for name, number in numbers.items() if name not in desired.ports and name not in desired.gone_taps}
        kept |= {line for line in table.flows if referenced_ports(line) & unclaimed}
    return kept


def _beside(wanted: Mapping[str, Flow], kept: set[str]) -> dict[str, Flow]:
    """What is wanted and takes no kept flow's place: a list of ports that names one nobody has claimed yet would lose it."""
    held = {flow_key(line) for line in kept if not is_learned(line)}
    return {line: flow for line, flow in wanted.items() if not held or line in kept or flow_key(line) not in held}


def _flow_step(bridge: str, wanted: Mapping[str, Flow], table: Table) -> ChangeFlows | None:
    missing = sorted(line for line in wanted if line not in table.flows)
    replaced = {flow_key(line) for line in missing}
    remove = [line for line in sorted(table.flows) if line not in wanted and is_ours(line) and flow_key(line) not in replaced]
    if not missing and not remove:
        return None
    return ChangeFlows(bridge, tuple(wanted[line] for line in missing), tuple(missing), tuple(remove))


def flow_key(line: str) -> str:
    """The part of a dumped flow that makes it this flow: table, priority and match, as ``ovs-ofctl`` takes them.

    Timeouts and flags stand between the two, each followed by a comma and a blank; a match has no blank.
    """
    head = f"{line.partition('actions=')[0].strip()} ".split(", ")
    # A dump is silent about table 0, and a deletion that names no table is one in all of them.
    table = next((part for part in head[1:-1] if part.startswith("table=")), "table=0")
    match = head[-1].split()[-1:]
    return ",".join([table, *match])


def _meter_step(bridge: str, wanted: Mapping[int, Meter], table: Table, complete: bool) -> ChangeMeters | None:
    put = tuple((number, meter) for number, meter in sorted(wanted.items()) if number not in table.meters)
    change = tuple((number, meter) for number, meter in sorted(wanted.items()) if number in table.meters and table.meters[number] != meter)
    # A meter that somebody's own flow names is theirs: OpenFlow deletes the flows of a deleted meter with it.
    named = {int(number) for line in table.flows if not is_ours(line) for number in _METER.findall(line)}
    drop = tuple(sorted(set(table.meters) - set(wanted) - named)) if complete else ()
    return ChangeMeters(bridge, put, change, drop) if put or change or drop else None
