"""The meters of one network's bridge, and the flows that lead through those that ports share.

Strategy: a flow can name one meter only (OpenFlow 1.3, 5.7), so every limit that a frame
may meet has a table of its own. A meter that refuses a frame ends all that its actions
still had to do. Where a frame is copied to many, each shared limit is therefore asked apart (``copy_to``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vnetd.model.state import GuestWire, Meter, NetworkWiring, Pool
from vnetd.pipeline.catalogue import Cookie, Reason, Table
from vnetd.pipeline.flow import PORT_HEX, Flow, MeterKind, goto, larger_than, refuse

_POOL_BASE = 1 << 20
"""Above the meters of all ports: an OpenFlow port number has 16 bits."""


def inbound_meter(pool: Pool) -> int:
    """The number of the meter for what the pool's ports get."""
    return _POOL_BASE + 2 * pool.number


def outbound_meter(pool: Pool) -> int:
    """The number of the meter for what the pool's ports send."""
    return inbound_meter(pool) + 1


def meters_of(wiring: NetworkWiring | None, numbers: Mapping[str, int]) -> dict[int, Meter]:
    """The meters of all ports that the switch has numbered, and those that ports share."""
    found = {}
    for wire in wiring.guests if wiring else ():
        limits = {
            MeterKind.BANDWIDTH: wire.meter,
            MeterKind.FLOOD: wire.flood,
            MeterKind.NEIGHBOUR: wire.neighbour,
            MeterKind.PACKETS: wire.packets,
        }
        for kind, meter in limits.items():
            if meter is not None and wire.port in numbers:
                found[kind.number(numbers[wire.port])] = meter
    for pool in wiring.pools if wiring else ():
        for number, shared in ((inbound_meter(pool), pool.inbound), (outbound_meter(pool), pool.outbound)):
            if shared is not None:
                found[number] = shared
    return found


def pool_names(wiring: NetworkWiring) -> dict[int, str]:
    """What each shared meter is called, for those who read what it dropped."""
    return {number: pool.name for pool in wiring.pools for number in (inbound_meter(pool), outbound_meter(pool))}


def shared_with(guest: GuestWire, pools: Sequence[Pool]) -> list[Pool]:
    """The pools that a port has a part in, the narrowest first."""
    by_name = {pool.name: pool for pool in pools}
    return [by_name[name] for name in guest.pools if name in by_name]


def shared_limits() -> Iterator[Flow]:
    """The flows that are there once: nothing gets past a limit by not being known there."""
    for table in (Table.PACE, Table.POOL, Table.POOL_ALL, Table.MARK):
        yield Flow(table, 0, "", refuse(Reason.UNWIRED), Cookie.REFUSE)
    yield Flow(Table.TO_POOL, 0, "", goto(Table.TO_POOL_ALL), Cookie.LIMIT)
    yield Flow(Table.TO_POOL_ALL, 0, "", goto(Table.OUTPUT), Cookie.LIMIT)


def outbound_flows(guest: GuestWire, pools: Sequence[Pool], after: Table) -> Iterator[Flow]:
    """PACE to MARK for one port; none where it has no limit or mark there. The first one's table is ``first_stage``."""
    port = f"in_port=<{guest.port}>"
    stages = _stages(guest, pools)
    following = after
    for table, meter in reversed(stages):
        if table is Table.MARK:
            mark = f"set_field:{guest.dscp}->ip_dscp,{goto(following)}"
            yield Flow(table, 100, f"ip,{port}", mark, Cookie.LIMIT)
            yield Flow(table, 100, f"ipv6,{port}", mark, Cookie.LIMIT)
            yield Flow(table, 90, port, goto(following), Cookie.LIMIT)
        else:
            yield Flow(table, 100, port, f"meter:{meter},{goto(following)}", Cookie.LIMIT)
        following = table


def first_stage(guest: GuestWire, pools: Sequence[Pool], after: Table) -> Table:
    """Where a frame from this port goes to meet its limits, or ``after`` where it has none."""
    return next((table for table, _ in _stages(guest, pools)), after)


def _stages(guest: GuestWire, pools: Sequence[Pool]) -> list[tuple[Table, str]]:
    """The tables that a frame from this port goes through between NESTED and TYPE, each with its meter."""
    stages = [(Table.PACE, MeterKind.PACKETS.place(guest.port))] if guest.packets else []
    shared = [str(outbound_meter(pool)) for pool in shared_with(guest, pools) if pool.outbound]
    stages += list(zip((Table.POOL, Table.POOL_ALL), shared, strict=False))
    if guest.dscp is not None:
        stages.append((Table.MARK, ""))
    return stages


def inbound_flows(guest: GuestWire, pools: Sequence[Pool]) -> Iterator[Flow]:
    """TO_POOL and TO_POOL_ALL for one port."""
    port = PORT_HEX.format(guest.port)
    shared = [inbound_meter(pool) for pool in shared_with(guest, pools) if pool.inbound]
    if shared:
        # Its own frame for many is among the copies, and does not come back to it.
        yield Flow(Table.TO_POOL, 110, f"{port},in_port=<{guest.port}>", "drop", Cookie.FLOOD)
    for table, meter in zip((Table.TO_POOL, Table.TO_POOL_ALL), shared, strict=False):
        yield Flow(table, 100, port, f"meter:{meter},{goto(Table(table + 1))}", Cookie.LIMIT)


_APART = larger_than(65535)
"""The answer is of no interest. What follows becomes actions inside the question, and there a meter ends no others.

A clone alone would not do: Open vSwitch makes none in the data plane where it can take back what the
actions themselves change, and does not see the meter behind a resubmit (reversible_actions in ofproto-dpif-xlate.c).
"""


def copy_to(guest: GuestWire, pools: Sequence[Pool]) -> str:
    """The action that gives the guest a copy of a frame for many."""
    if any(pool.inbound for pool in shared_with(guest, pools)):
        return f"clone(set_field:<{guest.port}:hex>->reg1,{_APART},resubmit(,{Table.TO_POOL:d}))"
    return f"output:<{guest.port}>"
