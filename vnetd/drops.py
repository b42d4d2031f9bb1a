"""What was dropped, by port and reason: from the counters of flows and meters to an account to read.

Strategy: a reason that a port gives for the first time makes the switch add a flow that
counts it for that port (the table COUNTED). The frame that made it is not among those
it counted, so it is added here; its bytes are taken to be as many as the others' on average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vnetd.model.judge import JudgeCounts
from vnetd.model.state import Desired, NetworkWiring, Observed
from vnetd.pipeline.catalogue import REASONS, Reason, reason_of
from vnetd.pipeline.flow import MeterKind
from vnetd.pipeline.limits import pool_names
from vnetd.textual import columns


@dataclass(frozen=True, slots=True)
class FlowCount:
    """The counters of one flow; ``port`` is the number that it matches, if any.

    On the tunnel bridge that is a patch, and ``sender`` the number of the port behind it that is meant.
    """

    cookie: int
    port: int | None
    packets: int
    bytes: int
    sender: int | None = None


@dataclass(frozen=True, slots=True)
class BridgeCounts:
    """The counters of one bridge: its flows, and (packets, bytes) that each meter dropped."""

    flows: Sequence[FlowCount] = ()
    meters: Mapping[int, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True, order=True)
class Drop:
    """Frames of one port that were dropped for one reason; ``port`` is the bridge where no port can be named."""

    port: str
    reason: str
    packets: int
    bytes: int


def drop_counts(desired: Desired, observed: Observed, counts: Mapping[str, BridgeCounts], judged: JudgeCounts) -> list[Drop]:
    """One entry for each port and reason of all bridges; what a shared limit drops is nobody's in particular.

    A frame is dropped by the kernel's judge (``judged``) or by flows, and so counted once.
    """
    sums: dict[tuple[str, str], tuple[int, int]] = {}

    def add(port: str, reason: str, packets: int, octets: int) -> None:
        before = sums.get((port, reason), (0, 0))
        sums[port, reason] = before[0] + packets, before[1] + octets

    all_names = {bridge: {number: name for name, number in observed.rows.numbers(bridge).items()} for bridge in counts}
    for bridge, found in counts.items():
        names = all_names[bridge]
        totals = {reason: flow for flow in found.flows if (reason := reason_of(flow.cookie, "total"))}
        for flow in found.flows:
            port = _account_of(desired, flow, bridge, all_names)
            if reason := reason_of(flow.cookie, "counted"):
                add(port, REASONS[reason], flow.packets + 1, flow.bytes + _first_bytes(flow, totals.get(reason)))
            elif flow.packets and (reason := reason_of(flow.cookie, "direct")):
                add(port, REASONS[reason], flow.packets, flow.bytes)
        shared = pool_names(desired.wirings.get(bridge, NetworkWiring()))
        for number, (packets, octets) in (found.meters or {}).items():
            port_number, kind = MeterKind.of(number)
            if packets and port_number in names:
                add(names[port_number], REASONS[kind.reason], packets, octets)
            elif packets and number in shared:
                add(bridge, f"limit shared by {shared[number]}", packets, octets)
    for link, reasons in judged.items():
        for number, (packets, octets) in reasons.items():
            add(link, REASONS[Reason(number)], packets, octets)
    return sorted(Drop(port, reason, packets, octets) for (port, reason), (packets, octets) in sums.items())


def _account_of(desired: Desired, flow: FlowCount, bridge: str, names: Mapping[str, Mapping[int, str]]) -> str:
    """The port for whose account a flow drops; a bridge where no port can be named."""
    port = names[bridge].get(flow.port, bridge) if flow.port else bridge
    if flow.sender is None or port not in desired.ports:
        return port
    behind = desired.behind(port)
    return names.get(behind, {}).get(flow.sender, behind)


def _first_bytes(flow: FlowCount, total: FlowCount | None) -> int:
    """The size of the frame that made a counting flow, as near as it can be told."""
    for known in (flow, total):
        if known is not None and known.packets:
            return known.bytes // known.packets
    return 60


def account(desired: Desired, drops: Sequence[Drop]) -> list[dict[str, Any]]:
    """The drops with the guest and the network of each port, as ``vnetctl drops --json`` prints them."""
    bridges = {str(network.bridge): name for name, network in desired.networks.items()}
    found: list[dict[str, Any]] = []
    for drop in drops:
        facts = desired.guests.get(drop.port)
        port = desired.ports.get(drop.port)
        bridge = port.bridge if port else drop.port
        found.append(
            {
                "port": drop.port,
                "guest": facts.guest if facts else None,
                "network": facts.network if facts else bridges.get(bridge),
                "reason": drop.reason,
                "packets": drop.packets,
                "bytes": drop.bytes,
            }
        )
    return found


def grown(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was dropped between two accounts. A counter that is smaller than before began anew, with its port."""
    old = {(one["port"], one["guest"], one["reason"]): one for one in before}
    found = []
    for one in now:
        was = old.get((one["port"], one["guest"], one["reason"]), {"packets": 0, "bytes": 0})
        anew = one["packets"] < was["packets"]
        packets = one["packets"] - (0 if anew else was["packets"])
        octets = one["bytes"] - (0 if anew else was["bytes"])
        if packets:
            found.append({**one, "packets": packets, "bytes": max(octets, 0)})
    return found


@dataclass
class DropLog:
    """Lines for the log about what was dropped since the last time, one for a port, and not more than so many a minute."""

    lines_a_minute: int
    _last: Sequence[Mapping[str, Any]] | None = None
    _said: list[float] = field(default_factory=list)

    def limit_to(self, lines_a_minute: int) -> None:
        """Log so many from now on. What is dropped while there are none to be is no news afterwards."""
        self.lines_a_minute = lines_a_minute
        if not lines_a_minute:
            self._last = None

    def lines(self, now: float, found: Sequence[Mapping[str, Any]]) -> list[str]:
        """What to log at ``now`` (seconds). The first look only remembers: what was dropped before is no news."""
        last, self._last = self._last, found
        if last is None:
            return []
        by_port: dict[str, list[Mapping[str, Any]]] = {}
        for one in grown(last, found):
            by_port.setdefault(one["port"], []).append(one)
        self._said = [when for when in self._said if when > now - 60]
        free = max(self.lines_a_minute - len(self._said), 0)
        ports = sorted(by_port, key=lambda port: -sum(one["packets"] for one in by_port[port]))
        chosen = ports[:free]
        self._said += [now] * len(chosen)
        lines = []
        for port in chosen:
            guest = by_port[port][0]["guest"]
            reasons = ", ".join(f"{one['packets']} {one['reason']}" for one in by_port[port])
            lines.append(f"dropped at {port}{f' of {guest!a}' if guest else ''}: {reasons}")
        return lines


def as_text(found: Sequence[Mapping[str, Any]], unit: str = "", head: str = "") -> str:
    """An account as a table; ``unit`` follows the words for packets and bytes, ``head`` stands before it on a line of its own."""
    if not found:
        return f"{head} nothing dropped".strip()
    rows = [
        (one["port"], one["guest"] or "-", one["network"] or "-", one["reason"], str(one["packets"]), str(one["bytes"])) for one in found
    ]
    table = columns(("PORT", "GUEST", "NETWORK", "REASON", f"PACKETS{unit}", f"BYTES{unit}"), rows)
    return f"{head}\n{table}" if head else table
