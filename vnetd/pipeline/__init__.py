"""The flows: which tables there are, and what stands in them. No other room names a flow."""

from vnetd.pipeline.catalogue import Cookie, Reason, Table, is_learned, is_learned_here, is_ours
from vnetd.pipeline.flow import Flow, MeterKind, by_lines, referenced_ports
from vnetd.pipeline.netbridge import network_flows
from vnetd.pipeline.tunbridge import tunnel_flows

__all__ = [
    "Cookie",
    "Flow",
    "MeterKind",
    "Reason",
    "Table",
    "by_lines",
    "is_learned",
    "is_learned_here",
    "is_ours",
    "network_flows",
    "referenced_ports",
    "tunnel_flows",
]
