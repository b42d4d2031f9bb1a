"""``<interface>``: a guest's NIC, inside a domain or alone in ``/etc/vnetd/taps/TAP.xml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lxml import etree

from vnetd.model import names
from vnetd.model.names import IfName, IpPrefix, Mac
from vnetd.model.network import Bandwidth, Nic, Policy, Qos
from vnetd.xmlread import limits, parts
from vnetd.xmlread.gate import DOMAIN_NS, parse, serialize
from vnetd.xmlread.node import Node, extension

_IFINDEX = "kept-ifindex"
"""An attribute of the spool's own copies; a person's file has no use for it."""

FOLLOWS = "kept-follows"
"""An attribute, there too: of a NIC's ASPECTS, those whose elements are copies of its portgroup's."""

ASPECTS = ("vlan", "bandwidth")
"""What libvirt copies from a portgroup into a NIC when its guest starts."""

MAX_ADDRESSES = 256
"""Of one NIC: each becomes flows of its own."""

_WIDER = {
    "vlan": "write it in the <vnet:portgroup> of the network, and name that portgroup in the NIC's <source>",
    "aggregate": "one NIC shares with nobody: write libvirt's <bandwidth> in its <interface>",
}
"""What only a network's XML takes, and what to write instead."""


@dataclass(frozen=True, slots=True)
class NicExtras:
    """What ``<vnet:interface>`` says of one NIC."""

    policy: Policy = field(default_factory=Policy)
    addresses: tuple[IpPrefix, ...] = ()
    qos: Qos = field(default_factory=Qos)


def read_interface(data: bytes, tap: IfName) -> Nic:
    """The NIC that a tap's own file describes. Raises InputError."""
    root = Node(parse(data, "interface"))
    ours = extension(root, root, "interface", DOMAIN_NS)
    extras = _extras(ours) if ours is not None else NicExtras()
    nic = nic_of(root, {}, owner=str(tap), owner_uuid=None)
    if nic.network is None and nic.bridge is None:
        raise root.error("does not say where the tap belongs; write type='network' and <source network='…'/>")
    said = ours.may("mac", names.mac) if ours is not None else None
    if ours is not None and said not in (None, nic.mac):
        raise ours.error(f"is for {said}, but the interface has {nic.mac or 'no <mac>'}; write the same address or none")
    target = root.child("target")
    if target is not None and target.element.get("dev") not in (None, tap):
        raise target.error(f"names another device than {tap}; leave <target> out, the file's name says it")
    ifindex = root.may(_IFINDEX, lambda text, where: names.number(text, 1, 2**31 - 1, where))
    return replace(nic, tap=tap, portid=None, policy=extras.policy, addresses=extras.addresses, qos=extras.qos, ifindex=ifindex)


def interface_text(network: str, portgroup: str | None, mac: Mac | None) -> bytes:
    """The ``<interface>`` that stands for a link called ``ovs-ifup-NETWORK@PORTGROUP``."""
    root = etree.Element("interface", type="network")
    if mac is not None:
        etree.SubElement(root, "mac", address=mac)
    source = etree.SubElement(root, "source", network=network)
    if portgroup is not None:
        source.set("portgroup", portgroup)
    return serialize(root)


def as_kept(data: bytes, mac: Mac | None, ifindex: int | None) -> bytes:
    """The interface in ``data`` as the spool keeps it: with ``<mac>`` where QEMU's command line has it, and the tap's number."""
    root = parse(data, "interface")
    if mac is not None and root.find("mac") is None:
        root.insert(0, etree.Element("mac", address=mac))
    if ifindex is not None:
        root.set(_IFINDEX, str(ifindex))
    return serialize(root)


def nic_of(node: Node, extras: Mapping[Mac, NicExtras], owner: str, owner_uuid: str | None) -> Nic:
    """The value of an ``<interface>`` element, with what ``extras`` has for its MAC. Raises InputError."""
    mac_node = node.child("mac")
    mac = mac_node.need("address", names.mac) if mac_node else None
    extra = extras.get(mac, NicExtras()) if mac else NicExtras()
    source = node.child("source")
    target = node.child("target")
    mtu = node.child("mtu")
    virtualport = node.child("virtualport")
    parameters = virtualport.child("parameters") if virtualport else None
    kind = node.element.get("type", "network")
    on_bridge = source is not None and kind in ("network", "bridge")
    follows = node.element.get(FOLLOWS, "").split()
    settled = frozenset(ASPECTS) - set(follows) if node.element.get(FOLLOWS) is not None else frozenset[str]()
    return Nic(
        mac=mac,
        network=source.may("network", names.label) if source and on_bridge else None,
        bridge=source.may("bridge", names.ifname) if source and on_bridge else None,
        portgroup=source.may("portgroup", names.label) if source and on_bridge else None,
        portid=source.may("portid", names.uuid) if source and on_bridge else None,
        tap=target.may("dev", names.ifname) if target else None,
        iface_id=parameters.may("interfaceid", names.uuid) if parameters else None,
        vlan=None if "vlan" in follows else parts.vlan(node),
        bandwidth=Bandwidth() if "bandwidth" in follows else parts.bandwidth(node),
        settled=settled,
        mtu=mtu.need("size", mtu_size) if mtu else None,
        policy=extra.policy,
        addresses=extra.addresses,
        qos=extra.qos,
        owner=owner,
        owner_uuid=owner_uuid,
    )


def mtu_size(text: str, where: str) -> int:
    """An interface's MTU in bytes, as Open vSwitch takes it (Interface.mtu_request)."""
    return names.number(text, 68, 65535, where)


def extras_of(ours: Node | None) -> dict[Mac, NicExtras]:
    """``<vnet:domain>``: what it says of each NIC, by its MAC."""
    extras: dict[Mac, NicExtras] = {}
    if ours is None:
        return extras
    ours.strict(DOMAIN_NS, (), ("interface",))
    for node in ours.children("interface", DOMAIN_NS):
        mac = node.need("mac", names.mac)
        if mac in extras:
            raise node.error(f"stands here twice for {mac}; write it once")
        extras[mac] = _extras(node)
    return extras


def _extras(node: Node) -> NicExtras:
    for name, instead in _WIDER.items():
        if misplaced := next(node.children(name, DOMAIN_NS), None):
            raise misplaced.error(f"does not belong in {node.tag}; {instead}")
    node.strict(DOMAIN_NS, ("mac",), ("policy", "qos", "address"))
    return NicExtras(parts.policy(node, DOMAIN_NS, parts.FOR_INTERFACE), _addresses(node), limits.qos(node, DOMAIN_NS))


def _addresses(parent: Node) -> tuple[IpPrefix, ...]:
    nodes = list(parent.children("address", DOMAIN_NS))
    if len(nodes) > MAX_ADDRESSES:
        raise parent.error(f"has {len(nodes)} addresses; write at most {MAX_ADDRESSES}, or prefixes that hold several")
    found: set[IpPrefix] = set()
    for node in nodes:
        node.strict(DOMAIN_NS, ("address",), ())
        value = node.need("address", names.prefix)
        if value in found:
            raise node.error(f"stands here twice for {names.written(value)}; write it once")
        found.add(value)
    return tuple(sorted(found, key=names.by_number))
