"""Observe, plan, apply, observe again: the one path by which anything changes.

Strategy: rounds, until a plan is empty. The first round changes rows, the second
gives the new ports their flows, the third finds nothing to do; what is left after
the last is the error. The rim (OVSDB, the switch, the kernel) comes in as three
small protocols, so that a fake switch can be walked at random by the tests.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from vnetd.intent import desire
from vnetd.model.network import Inventory, Problem
from vnetd.model.state import Desired, Host, Observed, Role, Rows, Table
from vnetd.plan import ChangeFlows, ChangeMeters, Plan, RowStep, foreign_flows, kept_bridges, make_plan

ROUNDS = 5
"""Rows, flows, a check, and two more for a world that moves meanwhile."""


class Database(Protocol):
    """OVSDB: the rows."""

    def rows(self) -> Rows: ...

    def apply(self, steps: Sequence[RowStep]) -> None:
        """All steps in one transaction, until ovs-vswitchd has acted on it. Raises WorldError."""


class Switch(Protocol):
    """OpenFlow: the flows and meters of vnetd's bridges."""

    def table(self, bridge: str) -> Table: ...

    def change_flows(self, step: ChangeFlows) -> None: ...

    def put_meters(self, step: ChangeMeters) -> None: ...

    def drop_meters(self, step: ChangeMeters) -> None: ...

    def counters(self, bridge: str) -> list[tuple[int, int | None, int, int]]:
        """(cookie, in_port or None, packets, bytes) of each flow."""


class Kernel(Protocol):
    """netlink: addresses and links."""

    def host(self) -> Host: ...

    def set_up(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Rim:
    """The three adapters that touch the world."""

    database: Database
    switch: Switch
    kernel: Kernel

    def observe(self) -> Observed:
        """One look: rows before links, so that a port's tap that is missing has really gone."""
        rows = self.database.rows()
        tables = {name: self.switch.table(name) for name, seen in rows.bridges.items() if seen.owner}
        return Observed(rows, tables, self.kernel.host())

    def apply(self, plan: Plan) -> None:
        """All steps in the plan's order."""
        if plan.rows:
            self.database.apply(plan.rows)
        for meters in plan.meters:
            self.switch.put_meters(meters)
        for flows in plan.flows:
            self.switch.change_flows(flows)
        for meters in plan.meters:
            self.switch.drop_meters(meters)
        for name in plan.links:
            self.kernel.set_up(name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass found and did. ``done`` is empty when everything was as it should be."""

    desired: Desired
    observed: Observed
    done: tuple[str, ...]
    problems: tuple[Problem, ...]

    def problems_of(self, kind: str, names: Collection[str]) -> list[Problem]:
        """The problems of these objects."""
        return [problem for problem in self.problems if problem.kind == kind and problem.name in names]


def look(inventory: Inventory, rim: Rim) -> tuple[Desired, Observed, Plan]:
    """What would change, without changing it."""
    observed = rim.observe()
    desired = desire(inventory, observed.host, observed.rows)
    return desired, observed, make_plan(desired, observed)


def reconcile(inventory: Inventory, rim: Rim) -> Outcome:
    """Make the world as the sources say. Raises WorldError when a service refuses or is away."""
    done: list[str] = []
    desired, observed, plan = look(inventory, rim)
    for _ in range(ROUNDS):
        if not plan:
            break
        done.extend(line for line in plan.lines() if not line.endswith("once the switch has numbered it"))
        rim.apply(plan)
        desired, observed, plan = look(inventory, rim)
    left = [Problem("bridge", "all", f"still to do after {ROUNDS} rounds: {line}") for line in plan.lines()[:20]] if plan else []
    problems = {*desired.problems, *port_errors(desired, observed), *kept_bridges(desired, observed.rows), *foreign_flows(observed), *left}
    return Outcome(desired, observed, tuple(done), tuple(sorted(problems)))


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
