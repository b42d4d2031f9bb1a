"""The pipeline of one network's bridge, put together."""

from __future__ import annotations

from collections.abc import Collection

from vnetd.model.network import VlanMode
from vnetd.model.state import NetworkWiring
from vnetd.pipeline.flow import Flow
from vnetd.pipeline.ingress import guest_ingress, shared_ingress
from vnetd.pipeline.limits import shared_limits
from vnetd.pipeline.switching import refusal_flows, switching_flows


def network_flows(wiring: NetworkWiring, live: Collection[str]) -> list[Flow]:
    """All flows of a network's bridge whose ports are ``live``."""
    flows = [*shared_ingress(), *shared_limits(), *switching_flows(wiring, live), *refusal_flows()]
    for guest in wiring.guests:
        if guest.port in live:
            flows.extend(guest_ingress(guest, wiring.pools))
    return flows


def parses_again(wiring: NetworkWiring) -> bool:
    """Whether the bridge's flows need the group AGAIN."""
    return any(guest.vlan.mode is VlanMode.DOT1Q_TUNNEL for guest in wiring.guests)
