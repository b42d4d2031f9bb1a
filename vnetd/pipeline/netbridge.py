"""The pipeline of one network's bridge."""

from __future__ import annotations

from collections.abc import Collection

from vnetd.model.network import Guard, VlanMode
from vnetd.model.state import GuestWire, NetworkWiring
from vnetd.pipeline.catalogue import Cookie, Table
from vnetd.pipeline.flow import LOCAL, Flow

NESTED_TYPES = (0x8100, 0x88A8, 0x9100)
"""EtherTypes that announce a VLAN tag: behind another tag, or in disguise, on an access port."""


def network_flows(wiring: NetworkWiring, live: Collection[str]) -> list[Flow]:
    """All flows of a network's bridge whose ports are ``live``."""
    flows = [
        Flow(Table.CLASSIFY, 0, "", "drop", Cookie.UNWIRED),
        Flow(Table.CLASSIFY, 100, f"in_port={LOCAL}", f"goto_table:{Table.FORWARD:d}", Cookie.CLASSIFY),
        Flow(Table.GUARD, 0, "", "drop", Cookie.UNWIRED),
        *(Flow(Table.NESTED, 100, f"dl_type=0x{kind:04x}", "drop", Cookie.NESTED_TAG) for kind in NESTED_TYPES),
        Flow(Table.NESTED, 0, "", f"goto_table:{Table.FORWARD:d}", Cookie.GUARD),
        Flow(Table.FORWARD, 0, "", "NORMAL", Cookie.FORWARD),
    ]
    for name in wiring.carriers:
        if name in live:
            flows.append(Flow(Table.CLASSIFY, 100, f"in_port=<{name}>", f"goto_table:{Table.FORWARD:d}", Cookie.CLASSIFY))
    for guest in wiring.guests:
        if guest.port in live:
            flows.extend(_guest_flows(guest))
    return flows


def _guest_flows(guest: GuestWire) -> list[Flow]:
    """A guest's own flows. The limit on what it sends stands behind the guard, so that spoofed frames use none of it."""
    port = f"in_port=<{guest.port}>"
    limit = f"meter:<{guest.port}>," if guest.meter else ""
    if guest.guard is Guard.NONE:
        return [Flow(Table.CLASSIFY, 100, port, f"{limit}goto_table:{Table.FORWARD:d}", Cookie.CLASSIFY)]
    flows = [
        Flow(Table.CLASSIFY, 100, port, f"goto_table:{Table.GUARD:d}", Cookie.CLASSIFY),
        Flow(Table.GUARD, 10, port, "drop", Cookie.FOREIGN_MAC),
    ]
    if guest.mac is None:
        return flows
    source = f"dl_src={guest.mac}"
    if guest.vlan.mode is VlanMode.ACCESS:
        # An untagged frame, or one with a priority tag only (VLAN ID 0), is what an access port may send.
        flows.append(Flow(Table.GUARD, 100, f"{port},vlan_tci=0x0000/0x0fff,{source}", f"{limit}goto_table:{Table.NESTED:d}", Cookie.GUARD))
        flows.append(Flow(Table.GUARD, 50, f"{port},{source}", "drop", Cookie.FOREIGN_VLAN))
        return flows
    forward = f"{limit}goto_table:{Table.FORWARD:d}"
    if guest.vlan.mode is not VlanMode.TRUNK:
        flows.append(Flow(Table.GUARD, 100, f"{port},vlan_tci=0x0000/0x1fff,{source}", forward, Cookie.GUARD))
    for vlan in guest.vlan.trunks:
        flows.append(Flow(Table.GUARD, 100, f"{port},dl_vlan={vlan},{source}", forward, Cookie.GUARD))
    flows.append(Flow(Table.GUARD, 50, f"{port},{source}", "drop", Cookie.FOREIGN_VLAN))
    return flows
