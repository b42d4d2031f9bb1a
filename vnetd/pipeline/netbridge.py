"""The pipeline of one network's bridge, put together."""

from __future__ import annotations

from collections.abc import Collection

from vnetd.model.state import NetworkWiring
from vnetd.pipeline.flow import Flow
from vnetd.pipeline.ingress import guest_ingress, shared_ingress
from vnetd.pipeline.switching import refusal_flows, switching_flows


def network_flows(wiring: NetworkWiring, live: Collection[str]) -> list[Flow]:
    """All flows of a network's bridge whose ports are ``live``."""
    flows = [*shared_ingress(), *switching_flows(wiring, live), *refusal_flows()]
    for guest in wiring.guests:
        if guest.port in live:
            flows.extend(guest_ingress(guest))
    return flows
