"""Observe, plan, apply, observe again: the one path by which anything changes.

Strategy: rounds, until a plan is empty. The first round changes rows, the second
gives the new ports their flows, the third finds nothing to do; what is left after
the last is the error. The rim (OVSDB, the switch, the kernel) comes in as three
small protocols, so that a fake switch can be walked at random by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from vnetd.drops import FlowCount
from vnetd.errors import Unavailable, WorldError
from vnetd.intent import desire
from vnetd.leaves import limited_links
from vnetd.model.dataplane import DataPlane
from vnetd.model.judge import Judge, JudgeCounts
from vnetd.model.network import Inventory, Problem
from vnetd.model.shaping import Leaf
from vnetd.model.state import Desired, Host, Observed, Role, Rows, Table
from vnetd.plan import ChangeFlows, ChangeGroups, ChangeMeters, FlowPart, Plan, foreign_flows, kept_bridges, make_plan
from vnetd.rowplan import DropBridge, DropPort, PutBridge, PutPort, RowStep
from vnetd.tunnels import PortCount, tunnel_problems

T = TypeVar("T")

ROUNDS = 5
"""Rows, flows, a check, and two more for a world that moves meanwhile."""


class Database(Protocol):
    """OVSDB: the rows."""

    def rows(self) -> Rows: ...

    def apply(self, steps: Sequence[RowStep]) -> None:
        """All steps in one transaction, until ovs-vswitchd has acted on it. Raises WorldError."""


class Switch(Protocol):
    """OpenFlow: the flows, meters and groups of vnetd's bridges."""

    def table(self, bridge: str) -> Table: ...

    def dataplane(self, bridge: str, kind: str) -> DataPlane:
        """What the data plane of this bridge can do."""

    def forget(self, bridge: str | None = None) -> None:
        """What was remembered of this bridge's table, or of all, is in doubt."""

    def change_flows(self, step: ChangeFlows) -> None: ...

    def match_fragments(self, bridge: str) -> None:
        """Let flows see what the first fragment of a packet shows. Raises WorldError."""

    def put_meters(self, step: ChangeMeters) -> None: ...

    def drop_meters(self, step: ChangeMeters) -> None: ...

    def put_groups(self, step: ChangeGroups) -> None: ...

    def drop_groups(self, step: ChangeGroups) -> None: ...

    def counters(self, bridge: str) -> list[FlowCount]:
        """What each flow has counted."""

    def port_counts(self, bridge: str) -> Mapping[int, PortCount]:
        """What each port has counted, by its number."""

    def unlearn(self, bridge: str) -> None:
        """Forget all that NORMAL has learned on this bridge. Raises WorldError."""

    def meter_drops(self, bridge: str) -> Mapping[int, tuple[int, int]]:
        """(packets, bytes) that each meter dropped, by its number."""


class Kernel(Protocol):
    """netlink: addresses and links."""

    def host(self) -> Host: ...

    def forget(self) -> None:
        """What was remembered of addresses and routes is in doubt."""

    def set_up(self, name: str) -> None: ...

    def make_quiet(self, name: str, level: str) -> None:
        """Keep the kernel's own stack out of a link, as far as ``level`` says."""

    def put_judge(self, name: str, judge: Judge | None) -> None:
        """Make this the judge of a link; None takes vnetd's away. Raises WorldError."""

    def judge_counts(self, names: Collection[str]) -> JudgeCounts:
        """What the judges of these links have dropped."""

    def leaves(self, names: Collection[str]) -> Mapping[str, Leaf]:
        """The queues of those of these links that Open vSwitch limits by linux-htb now. Never remembered: it makes them anew."""

    def set_leaf(self, name: str, frames: int) -> None:
        """Let so many frames wait under a link's limit. Raises WorldError."""


@dataclass(frozen=True, slots=True)
class Rim:
    """The three adapters that touch the world."""

    database: Database
    switch: Switch
    kernel: Kernel

    def observe(self) -> Observed:
        """One look: rows before links, so that a port's tap that is missing has really gone."""
        rows = self.database.rows()
        tables: dict[str, Table] = {}
        silent: dict[str, str] = {}
        for name in (name for name, seen in rows.bridges.items() if seen.owner):
            try:
                tables[name] = self.switch.table(name)
            except Unavailable:
                raise
            except WorldError as error:
                silent[name] = str(error)
        host = self.kernel.host()
        return Observed(rows, tables, replace(host, dataplane=self._dataplane(rows, host.datapath)), silent, self._leaves(rows))

    def _dataplane(self, rows: Rows, kind: str) -> DataPlane:
        bridge = next((name for name, seen in rows.bridges.items() if seen.owner and seen.datapath == kind), None)
        return self.switch.dataplane(bridge, kind) if bridge is not None else DataPlane()

    def _leaves(self, rows: Rows) -> Mapping[str, Leaf]:
        names = limited_links(rows)
        return self.kernel.leaves(names) if names else {}

    def forget(self) -> None:
        """Look at everything anew next time, whatever is remembered."""
        self.switch.forget()
        self.kernel.forget()

    def apply(self, plan: Plan) -> list[Problem]:
        """All steps in the plan's order; what was refused, each by itself. Raises Unavailable.

        A port whose judge was refused gets no flow that lets it speak, and a bridge's own port none that lets it be spoken to.
        """
        problems: list[Problem] = []
        refused = _each_alone(self.database.apply, plan.rows)
        problems += [Problem(*_subject(step), f"Open vSwitch's database refused it: {error}") for step, error in refused]
        for step in plan.rows:
            # A new or altered bridge begins with no flows.
            match step:
                case PutBridge(bridge):
                    self.switch.forget(bridge.name)
                case DropBridge(name) | DropPort(_, name):
                    self.switch.forget(name)
        unjudged = {
            step.link for step in plan.judges if _note(problems, step.link, partial(self.kernel.put_judge, step.link, step.judge), "port")
        }
        # Flows that would not see what they are to refuse are not put at all.
        blind = {name for name in plan.fragments if _note(problems, name, partial(self.switch.match_fragments, name))}
        for meters in plan.meters:
            _note(problems, meters.bridge, partial(self.switch.put_meters, meters))
        for groups in plan.groups:
            _note(problems, groups.bridge, partial(self.switch.put_groups, groups))
        for flows in (step for step in plan.flows if step.bridge not in blind):
            change = partial(_change_parts, self.switch, flows)
            for part, error in _each_alone(change, flows.parts(unjudged)):
                problems.append(Problem("bridge", flows.bridge, f"{error}: {part[1]}"))
            if flows.remove:
                # Of a port that has gone the switch may have learned more than was remembered.
                self.switch.forget(flows.bridge)
        for name in plan.unlearn:
            _note(problems, name, partial(self.switch.unlearn, name))
        for meters in plan.meters:
            _note(problems, meters.bridge, partial(self.switch.drop_meters, meters))
        for groups in plan.groups:
            _note(problems, groups.bridge, partial(self.switch.drop_groups, groups))
        for name, level in plan.quiet:
            _note(problems, name, partial(self.kernel.make_quiet, name, level), "port")
        for name, frames in plan.leaves:
            _note(problems, name, partial(self.kernel.set_leaf, name, frames), "port")
        for name in plan.links:
            _note(problems, name, partial(self.kernel.set_up, name), "port")
        return problems


def _change_parts(switch: Switch, step: ChangeFlows, parts: Sequence[FlowPart]) -> None:
    switch.change_flows(step.only(parts))


def _each_alone(apply: Callable[[Sequence[T]], None], items: Sequence[T]) -> list[tuple[T, WorldError]]:
    """Apply all items at once; where that is refused, find out which ones are to blame, so that one bad port stops no other."""
    if not items:
        return []
    try:
        apply(items)
    except Unavailable:
        raise
    except WorldError as error:
        if len(items) == 1:
            return [(items[0], error)]
        half = len(items) // 2
        return _each_alone(apply, items[:half]) + _each_alone(apply, items[half:])
    return []


def _note(problems: list[Problem], name: str, action: Callable[[], None], kind: str = "bridge") -> bool:
    """Do it; whether it was refused, which is then a problem of this object alone."""
    try:
        action()
    except Unavailable:
        raise
    except WorldError as error:
        problems.append(Problem(kind, name, str(error)))
        return True
    return False


def _subject(step: RowStep) -> tuple[str, str]:
    match step:
        case PutPort(port):
            return ("tunnel" if port.role is Role.TUNNEL else "port"), port.name
        case DropPort(name):
            return "port", name
        case PutBridge(bridge):
            return "bridge", bridge.name
        case DropBridge(name):
            return "bridge", name
    return "bridge", "all"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass found and did. ``done`` is empty when everything was as it should be."""

    desired: Desired
    observed: Observed
    done: tuple[str, ...]
    problems: tuple[Problem, ...]
    left: Plan
    """What is still to do: empty unless something refuses, or the world moves."""
    moving: bool = False
    """Whether what is left is new each time: nobody refuses it, and another pass is called for."""

    def problems_of(self, kind: str, names: Collection[str]) -> list[Problem]:
        """The problems of these objects."""
        return [problem for problem in self.problems if problem.kind == kind and problem.name in names]


def look(
    inventory: Inventory, rim: Rim, before: Plan | None = None, unjudged: frozenset[str] = frozenset()
) -> tuple[Desired, Observed, Plan]:
    """What would change, without changing it. ``before`` is the plan that was carried out just now, in the same pass.

    ``unjudged`` are ports whose judge was refused in it.
    """
    observed = rim.observe()
    desired = desire(inventory, observed.host, observed.rows)
    return desired, observed, make_plan(desired, observed, before.lost if before else frozenset(), unjudged)


def reconcile(inventory: Inventory, rim: Rim) -> Outcome:
    """Make the world as the sources say. Raises WorldError when a service refuses or is away."""
    done: list[str] = []
    refused: list[Problem] = []
    made: list[Plan] = []
    desired, observed, plan = look(inventory, rim)
    for _ in range(ROUNDS):
        if not plan:
            break
        done.extend(line for line in plan.lines() if not line.endswith("once the switch has numbered it"))
        refused = rim.apply(plan)
        emptied = {step.bridge for step in plan.flows if step.remove}
        if desired.tunnel_bridge in emptied:
            # Of who was behind a peer that has gone the switch has learned more than was remembered, on networks' bridges too.
            rim.switch.forget()
        elif emptied:
            # The tunnel bridge counts for ports of the others, of which one may have gone.
            rim.switch.forget(desired.tunnel_bridge)
        made.append(plan)
        unjudged = frozenset(step.link for step in plan.judges) & frozenset(problem.name for problem in refused if problem.kind == "port")
        desired, observed, plan = look(inventory, rim, plan, unjudged)
        if refused and plan == made[-1]:
            break
    moving = bool(plan) and not refused and plan not in made
    left = [Problem("bridge", bridge, text) for bridge, text in plan.by_bridge()] if plan and not refused and not moving else []
    problems = {*standing_problems(desired, observed), *left, *(refused if plan else [])}
    return Outcome(desired, observed, tuple(done), tuple(sorted(problems)), plan, moving)


def standing_problems(desired: Desired, observed: Observed) -> set[Problem]:
    """All that one look shows to be wrong."""
    silent = (Problem("bridge", name, text) for name, text in observed.silent.items())
    dead = tunnel_problems(desired, observed)
    kept = kept_bridges(desired, observed.rows)
    outrun = outrun_judges(desired, observed)
    return {*desired.problems, *port_errors(desired, observed), *dead, *kept, *foreign_flows(observed), *silent, *outrun}


def outrun_judges(desired: Desired, observed: Observed) -> list[Problem]:
    """Links at which a filter of somebody else's may let pass what vnetd's judge would not."""
    return [
        Problem(
            "port" if name in desired.ports else "bridge",
            name,
            "a tc filter that vnetd did not make stands before its judge, and what that lets pass is not judged; "
            f"tc filter show dev {name} ingress",
            soft=True,
        )
        for name, link in observed.host.links.items()
        if link.outrun and name in desired.judges
    ]


def port_errors(desired: Desired, observed: Observed) -> list[Problem]:
    """Ports whose row is in OVSDB and which the switch would not make: the transaction succeeded all the same."""
    found = []
    for name, port in desired.ports.items():
        seen = observed.rows.ports.get(name)
        if seen is None or seen.live:
            continue
        kind = "tunnel" if port.role is Role.TUNNEL else "port"
        found.append(Problem(kind, name, f"Open vSwitch did not make it: {seen.error or 'ovs-vswitchd has not acted yet'}"))
    return found
