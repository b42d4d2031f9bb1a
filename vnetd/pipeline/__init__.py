"""The flows: which tables there are, and what stands in them. No other room names a flow."""

from vnetd.pipeline.bondbridge import NOWHERE, bond_flows
from vnetd.pipeline.catalogue import OUR_GROUPS, Cookie, Reason, Table, is_count, is_learned, is_learned_here, is_ours, is_place
from vnetd.pipeline.flow import LOCAL, LOCAL_NUMBER, Flow, MeterKind, by_lines, referenced_ports
from vnetd.pipeline.limits import meters_of, pool_names
from vnetd.pipeline.netbridge import groups_of, network_flows
from vnetd.pipeline.tunbridge import tunnel_flows, tunnel_groups

__all__ = [
    "LOCAL",
    "LOCAL_NUMBER",
    "NOWHERE",
    "OUR_GROUPS",
    "Cookie",
    "Flow",
    "MeterKind",
    "Reason",
    "Table",
    "bond_flows",
    "by_lines",
    "groups_of",
    "is_count",
    "is_learned",
    "is_learned_here",
    "is_ours",
    "is_place",
    "meters_of",
    "network_flows",
    "pool_names",
    "referenced_ports",
    "tunnel_flows",
    "tunnel_groups",
]
