"""XML text to values: the only place that knows libvirt's and vnetd's elements."""

from vnetd.xmlread.definition import OUTGOING, as_running, in_force
from vnetd.xmlread.domain import DomainReading, read_domain
from vnetd.xmlread.following import Followed, Groups, followed_in, groups_of, with_follows
from vnetd.xmlread.gate import DOMAIN_NS, NETWORK_NS, root_of, serialize
from vnetd.xmlread.hookdata import NetworkHook, read_network_hook, read_network_port
from vnetd.xmlread.interface import NicExtras, as_kept, interface_text, read_interface
from vnetd.xmlread.network import is_vnetd_network, read_network

__all__ = [
    "DOMAIN_NS",
    "NETWORK_NS",
    "OUTGOING",
    "DomainReading",
    "Followed",
    "Groups",
    "NetworkHook",
    "NicExtras",
    "as_kept",
    "as_running",
    "followed_in",
    "groups_of",
    "in_force",
    "interface_text",
    "is_vnetd_network",
    "read_domain",
    "read_interface",
    "read_network",
    "read_network_hook",
    "read_network_port",
    "root_of",
    "serialize",
    "with_follows",
]
