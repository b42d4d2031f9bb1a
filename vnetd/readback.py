"""What Open vSwitch and the kernel do with guests' ports, held against what was asked of them, in words.

A plan only says what would be changed; here stands what each port has meanwhile. Of tc,
which no plan looks at, ``vnetd.shaping`` tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vnetd.model.network import Problem, Vlan, VlanMode
from vnetd.model.shaping import Mtus, SeenTap
from vnetd.model.state import Desired, Observed, Port, Role, Rows, SeenPort
from vnetd.pipeline import MeterKind, meters_of, pool_names
from vnetd.shaping import shaping_problems

_LIMITS = {
    MeterKind.BANDWIDTH: "bandwidth",
    MeterKind.FLOOD: "frames to everybody",
    MeterKind.NEIGHBOUR: "ARP and neighbour discovery",
    MeterKind.PACKETS: "packets",
}
_FIX = "vnetctl apply puts it right"
_NATIVE = (VlanMode.NATIVE_TAGGED, VlanMode.NATIVE_UNTAGGED)


def differences(desired: Desired, observed: Observed, taps: Mapping[str, SeenTap], mtus: Mtus) -> list[Problem]:
    """All that is done otherwise than it was asked, port by port."""
    found = [*shaping_problems(desired, taps), *native_problems(desired, observed.rows), *meter_problems(desired, observed)]
    for name, port in desired.ports.items():
        seen = observed.rows.ports.get(name)
        if port.role is Role.GUEST and seen is not None and seen.live:
            found += (Problem("port", name, text) for text in (*_row(port, seen), *_mtu(port, mtus)))
    return sorted(found)


def native_problems(desired: Desired, rows: Rows) -> list[Problem]:
    """Ports of vnetd's bridges whose row names a native VLAN that is not in its trunk."""
    found = []
    for name, seen in rows.ports.items():
        vlan, bridge = seen.port.vlan, rows.bridges.get(seen.port.bridge)
        if bridge is None or not bridge.owner or vlan is None or vlan.mode not in _NATIVE:
            continue
        if vlan.tag is not None and vlan.trunks and vlan.tag not in vlan.trunks:
            trunks = ",".join(map(str, sorted((*vlan.trunks, vlan.tag))))
            remedy = _FIX if name in desired.ports else f"ovs-vsctl set Port {name} trunks={trunks} says both"
            found.append(Problem("port", name, f"its row has the native VLAN {vlan.tag}, which is not in its trunk; {remedy}"))
    return found


def meter_problems(desired: Desired, observed: Observed) -> list[Problem]:
    """Meters that are missing in the switch, or have another rate or burst."""
    found = []
    for bridge, table in observed.tables.items():
        wiring = desired.wirings.get(bridge)
        if wiring is None:
            continue
        numbers = observed.rows.numbers(bridge)
        by_number = {number: name for name, number in numbers.items()}
        pools = pool_names(wiring)
        for number, wanted in sorted(meters_of(wiring, numbers).items()):
            seen = table.meters.get(number)
            if seen == wanted:
                continue
            port, kind = MeterKind.of(number)
            shared = number in pools
            subject = ("bridge", bridge) if shared else ("port", by_number.get(port, str(port)))
            what = f"the limit that {pools[number]} shares" if shared else f"its limit on {_LIMITS[kind]}"
            if seen is None:
                there = "is not in the switch"
            elif (seen.rate, seen.unit) != (wanted.rate, wanted.unit):
                there = f"lets {seen} pass" if seen.rate else "has another form"
            else:
                there = f"has a burst of {seen.burst}"
            asked = f"{wanted} with a burst of {wanted.burst}"
            found.append(Problem(*subject, f"{what} should be {asked}, but meter {number} of {bridge} {there}; {_FIX}"))
    return found


def _row(port: Port, seen: SeenPort) -> Iterator[str]:
    row = seen.port
    if row.policing > 0:
        text = f"tc polices what it sends to {row.policing} kbit/s (ingress_policing_rate), besides vnetd's meter"
        yield f"{text}; {_FIX}"
    if row.vlan != port.vlan:
        yield f"its row has {_vlan(row.vlan)} instead of {_vlan(port.vlan)}; {_FIX}"
    if row.shape != port.shape:
        wanted = f"{port.shape.max_rate // 1000} kbit/s" if port.shape else "no limit"
        there = f"{row.shape.max_rate // 1000} kbit/s" if row.shape and row.shape.max_rate > 0 else "another limit" if row.shape else "none"
        yield f"its row limits what it gets to {there} instead of {wanted}; {_FIX}"
    if row.mtu != port.mtu:
        yield f"its row asks for MTU {row.mtu or 'unset'} instead of {port.mtu or 'unset'}; {_FIX}"


def _vlan(vlan: Vlan | None) -> str:
    if vlan is None:
        return "no VLAN, so that it carries all"
    return str(vlan) if vlan.trunks != (-1,) else "VLAN columns that contradict each other"


def _mtu(port: Port, mtus: Mtus) -> Iterator[str]:
    there = mtus.links.get(port.name)
    if port.mtu is not None and there is not None and there != port.mtu:
        yield f"its tap's MTU is {there}, and should be {port.mtu}; ip link set {port.name} mtu {port.mtu} puts it right"
