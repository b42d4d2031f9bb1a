"""vnetd's own limits: what one NIC may send and how it is marked, and what the ports of a network or portgroup share."""

from __future__ import annotations

from vnetd.model import names
from vnetd.model.network import Bandwidth, Qos, Rate
from vnetd.xmlread import parts
from vnetd.xmlread.gate import NETWORK_NS
from vnetd.xmlread.node import Node

_NOT_SHARED = {
    "peak": "ports that share a limit are held to its average; write average, and burst for what may pass at once",
    "floor": "Open vSwitch promises no rate to ports that share a limit; write average",
}
"""What libvirt's ``<bandwidth>`` takes besides, and why an aggregate does not."""


def qos(parent: Node, namespace: str) -> Qos:
    """``<vnet:qos pps=… dscp=… trust=…/>`` inside ``parent``, or limits that leave all to the next wider place."""
    node = parent.child("qos", namespace)
    if node is None:
        return Qos()
    node.strict(namespace, ("pps", "dscp", "trust"), ())
    found = Qos(pps=node.may("pps", parts.packets), dscp=node.may("dscp", _dscp), trust=node.may("trust", names.yes_no))
    if found.dscp is not None and found.trust:
        raise node.error(f"has trust='yes', which leaves the guest's marks, and dscp='{found.dscp}', which replaces them; write one")
    return found


def _dscp(text: str, where: str) -> int:
    """A differentiated services codepoint: six bits (RFC 2474, section 3)."""
    return names.number(text, 0, 63, where)


def aggregate(parent: Node) -> Bandwidth:
    """``<vnet:aggregate>`` inside ``parent``: in each direction an average in kilobytes/s and a burst in KiB."""
    node = parent.child("aggregate", NETWORK_NS)
    if node is None:
        return Bandwidth()
    node.strict(NETWORK_NS, (), ("inbound", "outbound"))
    found = Bandwidth(_shared(node, "inbound"), _shared(node, "outbound"))
    if found == Bandwidth():
        raise node.error("limits nothing; write <vnet:inbound average='…'/> or <vnet:outbound average='…'/> inside it")
    return found


def _shared(parent: Node, name: str) -> Rate | None:
    node = parent.child(name, NETWORK_NS)
    if node is None:
        return None
    for attribute, why in _NOT_SHARED.items():
        if node.element.get(attribute) is not None:
            raise node.error(f"takes no {attribute}: {why}")
    node.strict(NETWORK_NS, ("average", "burst"), ())
    return Rate(node.need("average", parts.rate), burst=node.may("burst", parts.rate))
