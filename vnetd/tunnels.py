"""What ``vnetctl tunnels`` tells: each peer's tunnel, how it is, since when and why, and what has gone through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vnetd.model.network import Problem
from vnetd.model.state import Desired, Observed, TunnelFacts
from vnetd.textual import columns

_DIED = "Control Detection Time Expired"
"""RFC 5880, section 4.1: nothing came from the peer for the time that BFD waits."""

_COUNTED = ("rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes", "tx_dropped")


@dataclass(frozen=True, slots=True)
class PortCount:
    """What a port has counted (OpenFlow 1.4, 7.3.5.6): packets, bytes, and packets dropped, received and sent."""

    rx_packets: int = 0
    rx_bytes: int = 0
    rx_dropped: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    tx_dropped: int = 0


def state_of(name: str, facts: TunnelFacts, observed: Observed) -> tuple[str, str]:
    """(state, why): up, down, held, missing, or unwatched where nobody looks whether the peer lives."""
    seen = observed.rows.ports.get(name)
    if seen is None or not seen.live:
        return "missing", (seen.error if seen else "") or "Open vSwitch has not made it yet"
    if not facts.watched:
        return "unwatched", "<vnet:bfd enabled='no'/>"
    if seen.bfd_state == "held":
        return "held", "it came and went several times; it must stay up for a while"
    if facts.wire.alive:
        return "up", ""
    return "down", _why(seen.bfd_state, seen.bfd_why)


def _why(state: str, diagnostic: str) -> str:
    if state == "init":
        return "the peer does not hear this host"
    if diagnostic == _DIED:
        return "the peer fell silent"
    if diagnostic in ("", "No Diagnostic"):
        return "the peer has not answered yet"
    return f"BFD: {diagnostic}"


def tunnel_problems(desired: Desired, observed: Observed) -> list[Problem]:
    """Peers that are not there. Nothing on this host is wrong with it, so it is no reason to refuse anything."""
    found = []
    for name, facts in desired.tunnels.items():
        state, why = state_of(name, facts, observed)
        if state in ("down", "held"):
            seen = observed.rows.ports[name]
            # A session that begins goes through states of its own, of which nobody needs to be told.
            steady = why if state == "held" else _why("down", seen.bfd_why)
            found.append(Problem("tunnel", name, f"its peer {', '.join(facts.peers)} ({facts.remote}) is {state}: {steady}", soft=True))
    return found


@dataclass(frozen=True, slots=True)
class Remembered:
    """What only a process that has run for a while knows of a tunnel: since when it is as it is (``time.time``), and the round trip."""

    since: float | None = None
    rtt_ms: float | None = None


def account(
    desired: Desired, observed: Observed, remembered: Mapping[str, Remembered], counts: Mapping[int, PortCount]
) -> list[dict[str, Any]]:
    """Every tunnel, as ``vnetctl tunnels --json`` prints it; ``counts`` are by port number."""
    numbers = observed.rows.numbers(desired.tunnel_bridge)
    found = []
    for name, facts in sorted(desired.tunnels.items(), key=lambda item: (item[1].peers, item[0])):
        state, why = state_of(name, facts, observed)
        count = counts.get(numbers.get(name, -1), PortCount())
        past = remembered.get(name, Remembered())
        moment = past.since
        found.append(
            {
                "name": name,
                "peers": list(facts.peers),
                "type": str(facts.type),
                "local": str(facts.local),
                "remote": str(facts.remote),
                "networks": list(facts.networks),
                "state": state,
                "since": datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds") if moment else None,
                "why": why or None,
                "rtt_ms": past.rtt_ms,
                "path_mtu": facts.path_mtu,
                **{key: getattr(count, key) for key in _COUNTED},
            }
        )
    return found


def grown(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tunnels with what they have counted since ``before``. A counter that is smaller than then began anew."""
    old = {one["name"]: one for one in before}
    return [{**one, **{key: _since(old.get(one["name"], {}).get(key, 0), one[key]) for key in _COUNTED}} for one in now]


def _since(before: int, now: int) -> int:
    return now - before if now >= before else now


def as_text(found: Sequence[Mapping[str, Any]], unit: str = "", head: str = "") -> str:
    """The tunnels as a table; ``unit`` follows the words for what is counted, ``head`` stands before it on a line of its own."""
    rows = [
        (
            ",".join(one["peers"]),
            one["remote"],
            one["type"],
            one["state"],
            one["since"] or "-",
            "-" if one["rtt_ms"] is None else f"{one['rtt_ms']:.2f}",
            "-" if one["path_mtu"] is None else str(one["path_mtu"]),
            f"{one['rx_packets']}/{one['tx_packets']}",
            f"{one['rx_bytes']}/{one['tx_bytes']}",
            f"{one['rx_dropped']}/{one['tx_dropped']}",
            ",".join(one["networks"]),
            one["why"] or "",
        )
        for one in found
    ]
    counted = tuple(f"{word} IN/OUT{unit}" for word in ("PACKETS", "BYTES", "DROPPED"))
    table = columns(("TUNNEL TO", "REMOTE", "TYPE", "STATE", "SINCE", "RTT MS", "PATH MTU", *counted, "NETWORKS", ""), rows)
    return f"{head}\n{table}" if head else table
