"""``<portgroup>``: libvirt's, and what vnetd's element of the same name adds to it."""

from __future__ import annotations

from dataclasses import replace

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.network import PortGroup, QinQ, Vlan, VlanMode
from vnetd.xmlread import limits, parts
from vnetd.xmlread.gate import NETWORK_NS
from vnetd.xmlread.node import Node, choice

_tunnel = choice(VlanMode, (VlanMode.DOT1Q_TUNNEL.value,))
_ethertype = choice({"802.1ad": 0x88A8, "802.1q": 0x8100}.__getitem__, ("802.1ad", "802.1q"))


def portgroups(root: Node, ours: Node) -> tuple[PortGroup, ...]:
    """All portgroups of a ``<network>``, in order. Raises InputError."""
    said = _said(ours)
    wide = parts.vlan(root)
    groups: dict[str, PortGroup] = {}
    for node in root.children("portgroup"):
        name = node.need("name", names.label)
        if name in groups:
            raise node.error(f"stands here twice for {names.shown(name)}; write it once")
        group = replace(
            said[name][1] if name in said else PortGroup(name),
            default=node.may("default", names.yes_no) or False,
            vlan=parts.vlan(node),
            bandwidth=parts.bandwidth(node),
        )
        if group.qinq is not None:
            _require_service(said[name][0], group, wide)
        groups[name] = group
    for name in (one for one in said if one not in groups):
        raise ours.error(f"has a <vnet:portgroup name={names.shown(name)}> but the network has no <portgroup> of that name")
    if sum(group.default for group in groups.values()) > 1:
        raise root.error("has two default portgroups; write default='yes' on one")
    return tuple(groups.values())


def _said(ours: Node) -> dict[str, tuple[Node, PortGroup]]:
    """vnetd's elements, and each as a portgroup that is all its own."""
    found: dict[str, tuple[Node, PortGroup]] = {}
    for node in ours.children("portgroup", NETWORK_NS):
        node.strict(NETWORK_NS, ("name",), ("policy", "vlan", "qos", "aggregate"))
        name = node.need("name", names.label)
        if name in found:
            raise node.error(f"stands here twice for {names.shown(name)}; write it once")
        group = PortGroup(
            name,
            policy=parts.policy(node, NETWORK_NS, parts.FOR_PORTGROUP),
            qinq=_qinq(node),
            qos=limits.qos(node, NETWORK_NS),
            aggregate=limits.aggregate(node),
        )
        found[name] = node, group
    return found


def _qinq(parent: Node) -> QinQ | None:
    """``<vnet:vlan mode='dot1q-tunnel'>`` and the customer VLANs in it."""
    node = parent.child("vlan", NETWORK_NS)
    if node is None:
        return None
    node.strict(NETWORK_NS, ("mode", "ethertype"), ("tag",))
    node.need("mode", _mode)
    customers: set[int] = set()
    for tag in node.children("tag", NETWORK_NS):
        tag.strict(NETWORK_NS, ("id",), ())
        number = tag.need("id", names.vlan_id)
        if number in customers:
            raise tag.error(f"stands here twice for VLAN {number}; write it once")
        customers.add(number)
    return QinQ(tuple(sorted(customers)), node.may("ethertype", _ethertype) or QinQ().tpid)


def _mode(text: str, where: str) -> VlanMode:
    if text in set(VlanMode) - {VlanMode.DOT1Q_TUNNEL}:
        raise InputError(f"{where}: '{text}' is libvirt's to say, by the <vlan> of its <portgroup>; write 'dot1q-tunnel' or no <vnet:vlan>")
    return _tunnel(text, where)


def _require_service(node: Node, group: PortGroup, wide: Vlan | None) -> None:
    """The VLAN that carries the customers' is libvirt's to say, and must be one."""
    service = group.vlan or wide
    if service is not None and service.mode is VlanMode.ACCESS:
        return
    fault = "has dot1q-tunnel and no service VLAN" if service is None else "has dot1q-tunnel and a trunk, not one service VLAN"
    raise node.error(f"{fault}; write <vlan><tag id='100'/></vlan> in <portgroup name={names.shown(group.name)}>")
