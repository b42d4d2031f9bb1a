"""What leads out of a network's bridge on this host: a NIC, a bond of NICs, or patches to other bridges."""

from __future__ import annotations

from vnetd.model import names
from vnetd.model.names import IfName
from vnetd.model.network import Bond, BondMode, Lacp, Uplink
from vnetd.xmlread.gate import NETWORK_NS
from vnetd.xmlread.node import Node, choice

_bond_mode = choice(BondMode, tuple(mode.value for mode in BondMode))
_lacp = choice(Lacp, tuple(lacp.value for lacp in Lacp))


def refuse_two_ways(ours: Node) -> None:
    """A network with two ways out would be a loop wherever both lead to the same place, and nothing here could see it."""
    overlay, uplink, patch = (next(ours.children(name, NETWORK_NS), None) for name in ("overlay", "uplink", "patch"))
    if overlay and uplink:
        raise ours.error("has an overlay and an uplink, so where two uplinks meet, frames would circle between wire and tunnel; write one")
    if overlay and patch:
        raise ours.error("has an overlay and a patch, so where two such bridges meet, frames would circle between them; write one")
    if uplink and patch:
        raise ours.error("has an uplink and a patch, so frames would circle between hosts where both lead to the same wire; write one")


def uplink_of(ours: Node, bridge: IfName) -> Uplink | None:
    """``<vnet:uplink>``: the NIC that it names, or the bond and its NICs in the order of their names. Raises InputError."""
    nodes = list(ours.children("uplink", NETWORK_NS))
    if not nodes:
        return None
    if len(nodes) > 1:
        raise nodes[1].error("stands here twice; write one bond of both: <vnet:uplink bond='bond0'> with a <vnet:nic dev='…'/> for each")
    node = nodes[0]
    if node.element.get("bond") is not None:
        return _bonded(node, bridge)
    _refuse_bonds_words(node)
    node.strict(NETWORK_NS, ("dev", "force"), ())
    dev = node.need("dev", names.ifname)
    _refuse_own(node, "dev", dev, bridge)
    return Uplink((dev,), node.may("force", names.yes_no) or False)


def patches_of(ours: Node, bridge: IfName) -> tuple[IfName, ...]:
    """The bridges that ``<vnet:patch>`` elements name, in the order of their names."""
    found: set[IfName] = set()
    for node in ours.children("patch", NETWORK_NS):
        node.strict(NETWORK_NS, ("bridge",), ())
        other = node.need("bridge", names.ifname)
        _refuse_own(node, "bridge", other, bridge)
        if other in found:
            raise node.error(f"stands here twice for {other}; write it once")
        found.add(other)
    return tuple(sorted(found))


def _refuse_own(node: Node, attribute: str, name: IfName, bridge: IfName) -> None:
    if name == bridge:
        raise node.error(f"has {attribute}='{name}', which is the network's own bridge; write another name")


def _refuse_bonds_words(node: Node) -> None:
    """Who writes them means a bond."""
    said = [word for word in ("mode", "lacp") if node.element.get(word) is not None]
    if next(node.children("nic", NETWORK_NS), None):
        said.append("<vnet:nic>")
    if said:
        raise node.error(f"has {said[0]} and no bond; write bond='bond0' and two or more <vnet:nic dev='…'/>, or dev='…' alone")


def _bonded(node: Node, bridge: IfName) -> Uplink:
    if node.element.get("dev") is not None:
        raise node.error("has dev and bond; write dev='…' for one NIC, or bond='bond0' with a <vnet:nic dev='…'/> for each of several")
    node.strict(NETWORK_NS, ("bond", "mode", "lacp", "force"), ("nic",))
    bond = Bond(
        node.need("bond", names.ifname),
        node.may("mode", _bond_mode) or BondMode.ACTIVE_BACKUP,
        node.may("lacp", _lacp) or Lacp.OFF,
    )
    _refuse_own(node, "bond", bond.name, bridge)
    if bond.mode is BondMode.BALANCE_TCP and bond.lacp is Lacp.OFF:
        raise node.error("has mode='balance-tcp', which needs a switch that bundles the same ports; write lacp='active' or lacp='passive'")
    return Uplink(_nics(node, bond.name, bridge), node.may("force", names.yes_no) or False, bond)


def _nics(node: Node, bond: IfName, bridge: IfName) -> tuple[IfName, ...]:
    found: set[IfName] = set()
    for child in node.children("nic", NETWORK_NS):
        child.strict(NETWORK_NS, ("dev",), ())
        dev = child.need("dev", names.ifname)
        _refuse_own(child, "dev", dev, bridge)
        if dev == bond:
            raise child.error(f"has dev='{dev}', which is the name of its bond; write another name for the bond")
        if dev in found:
            raise child.error(f"stands here twice for {dev}; write it once")
        found.add(dev)
    if not found:
        raise node.error("has no NICs; write two or more <vnet:nic dev='…'/> inside it")
    if len(found) == 1:
        raise node.error(f"is a bond of one NIC; write <vnet:uplink dev='{found.pop()}'/>, or a second <vnet:nic dev='…'/>")
    return tuple(sorted(found))
