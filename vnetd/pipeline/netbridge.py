"""The pipeline of one network's bridge, put together."""

from __future__ import annotations

from collections.abc import Collection

from vnetd.model.network import VlanMode
from vnetd.model.state import Group, NetworkWiring
from vnetd.pipeline.answer import answer_flows
from vnetd.pipeline.deliver import parsing_groups
from vnetd.pipeline.flow import Flow
from vnetd.pipeline.ingress import guest_ingress, priority_flows, shared_ingress
from vnetd.pipeline.limits import shared_limits
from vnetd.pipeline.peeking import peeking_flows, peeking_groups
from vnetd.pipeline.switching import refusal_flows, switching_flows


def network_flows(wiring: NetworkWiring, live: Collection[str]) -> list[Flow]:
    """All flows of a network's bridge whose ports are ``live``."""
    flows = [*shared_ingress(), *shared_limits(), *switching_flows(wiring, live), *answer_flows(wiring, live), *refusal_flows()]
    flows += peeking_flows(wiring, live) if wiring.hidden_tags else priority_flows()
    for guest in wiring.guests:
        if guest.port in live:
            flows.extend(guest_ingress(guest, wiring.pools))
    return flows


def groups_of(wiring: NetworkWiring | None) -> dict[int, Group]:
    """The groups that the bridge's flows name."""
    if wiring is None:
        return {}
    tunnels = any(guest.vlan.mode is VlanMode.DOT1Q_TUNNEL for guest in wiring.guests)
    return {**(parsing_groups() if tunnels else {}), **(peeking_groups() if wiring.hidden_tags else {})}
