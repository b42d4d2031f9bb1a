"""``<network>``: libvirt's definition and vnetd's ``<vnet:network>`` in its metadata."""

from __future__ import annotations

from collections import Counter

from lxml import etree

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.names import Mac
from vnetd.model.network import Bfd, Binding, Encapsulation, Network, Overlay, OverlayType, Peer
from vnetd.xmlread import limits, parts
from vnetd.xmlread.gate import NETWORK_NS, parse
from vnetd.xmlread.interface import MAX_ADDRESSES
from vnetd.xmlread.node import Node, choice, extension
from vnetd.xmlread.portgroup import portgroups
from vnetd.xmlread.uplink import patches_of, refuse_two_ways, uplink_of

_overlay_type = choice(OverlayType, tuple(kind.value for kind in OverlayType))
MAX_PEERS = 512
"""A broadcast has a copy for each in the data plane, whose lists end at 64 KiB: past that Open vSwitch 3.1 leaves copies out, or aborts.

A copy takes 76 bytes for GRE over IPv4 and 104 for VXLAN over IPv6, and 8 for each action more of the underlay's bridge.
"""
MAX_BINDINGS = 65536


def read_network(data: bytes) -> Network:
    """A network of vnetd's. Raises InputError when it is no such network or says something wrong."""
    return network_of(parse(data, "network"))


def is_vnetd_network(data: bytes) -> bool:
    """Whether the ``<network>`` in ``data`` is meant for vnetd; others are not its business."""
    return is_meant_for_vnetd(Node(parse(data, "network")))


def network_of(element: etree._Element) -> Network:
    """The value of a ``<network>`` element, which a hook's XML has inside another."""
    root = Node(element)
    ours = extension(root, root.child("metadata"), "network", NETWORK_NS)
    if ours is None:
        raise root.error(f"has no <vnet:network xmlns:vnet='{NETWORK_NS}'/> in its <metadata>; add it to make the network vnetd's")
    if misplaced := next(ours.children("vlan", NETWORK_NS), None):
        raise misplaced.error("does not belong in <vnet:network>; write it in the <vnet:portgroup name='…'> whose ports are to be tunnels")
    ours.strict(NETWORK_NS, (), ("overlay", "uplink", "patch", "policy", "qos", "aggregate", "portgroup", "binding"))
    refuse_two_ways(ours)
    _require_openvswitch(root)
    place = root.child("bridge")
    if place is None:
        raise root.error("has no bridge; write <bridge name='br-…'/>")
    bridge = place.need("name", names.ifname)
    uuid = _text(root, "uuid")
    return Network(
        name=names.label(name_of(root), f"{root.label} name"),
        uuid=names.uuid(uuid, f"{root.label} uuid") if uuid else "",
        bridge=bridge,
        vlan=parts.vlan(root),
        portgroups=portgroups(root, ours),
        overlay=_overlay(ours),
        uplink=uplink_of(ours, bridge),
        policy=parts.policy(ours, NETWORK_NS, parts.FOR_NETWORK),
        bindings=_bindings(ours),
        patches=patches_of(ours, bridge),
        qos=limits.qos(ours, NETWORK_NS),
        aggregate=limits.aggregate(ours),
    )


def is_meant_for_vnetd(root: Node) -> bool:
    """Whether a ``<network>`` has anything of vnetd's in its metadata, readable or not: what is wrong there must not go unread."""
    return root.element.find(f"metadata/{{{NETWORK_NS}}}*") is not None


def name_of(root: Node) -> str:
    """A network's name to the letter: libvirt keeps blanks around it, and NICs ask for it so."""
    node = root.child("name")
    return (node.element.text or "") if node else ""


def _text(root: Node, name: str) -> str:
    node = root.child(name)
    return (node.element.text or "").strip() if node else ""


def _require_openvswitch(root: Node) -> None:
    forward = root.child("forward")
    if forward is None or forward.element.get("mode") != "bridge":
        raise root.error("is not bridged by Open vSwitch; write <forward mode='bridge'/>")
    virtualport = root.child("virtualport")
    if virtualport is None or virtualport.element.get("type") != "openvswitch":
        raise root.error("has no Open vSwitch port type; write <virtualport type='openvswitch'/>")


def _overlay(ours: Node) -> Overlay | None:
    node = ours.child("overlay", NETWORK_NS)
    if node is None:
        return None
    node.strict(NETWORK_NS, ("type", "segment", "csum", "df", "ttl", "tos", "responder"), ("peer", "bfd"))
    kind = node.need("type", _overlay_type)
    segment = node.need("segment", lambda text, where: names.number(text, 0, kind.segment_limit, where))
    children = list(node.children("peer", NETWORK_NS))
    if not children:
        raise node.error("has no peers; write <vnet:peer name='hv1' address='192.0.2.11'/> for every hypervisor, this one too")
    if len(children) > MAX_PEERS:
        raise node.error(f"has {len(children)} peers; write at most {MAX_PEERS}")
    peers = _peers(children)
    if len({peer.address.version for peer in peers if not isinstance(peer.address, str)}) > 1:
        raise node.error("mixes IPv4 and IPv6 peers, between which no tunnel can be; write one kind")
    encapsulation = Encapsulation(
        csum=node.may("csum", names.yes_no), df=node.may("df", names.yes_no), ttl=node.may("ttl", _ttl), tos=node.may("tos", _tos)
    )
    responder = node.may("responder", names.yes_no)
    return Overlay(kind, segment, peers, encapsulation, _bfd(node), responder is not False)


def _ttl(text: str, where: str) -> str:
    return text if text == "inherit" else str(names.number(text, 1, 255, where))


def _tos(text: str, where: str) -> str:
    """The six bits of the DSCP where they stand in the octet, the two of ECN zero (RFC 2474, RFC 3168)."""
    if text == "inherit":
        return text
    value = names.number(text, 0, 252, where)
    if value % 4:
        raise InputError(f"{where}: {text} has bits of ECN set, which are always those of the packet inside; write {value - value % 4}")
    return str(value)


def _bfd(overlay: Node) -> Bfd | None:
    node = overlay.child("bfd", NETWORK_NS)
    if node is None:
        return Bfd()
    node.strict(NETWORK_NS, ("enabled", "interval", "multiplier"), ())
    interval = node.may("interval", lambda text, where: names.number(text, 50, 60000, where))
    multiplier = node.may("multiplier", lambda text, where: names.number(text, 1, 255, where))
    usual = Bfd()
    return None if node.may("enabled", names.yes_no) is False else Bfd(interval or usual.interval, multiplier or usual.multiplier)


def _peers(children: list[Node]) -> tuple[Peer, ...]:
    peers: list[Peer] = []
    taken: dict[object, str] = {}
    for child in children:
        child.strict(NETWORK_NS, ("name", "address"), ())
        peer = Peer(child.need("name", names.label), child.need("address", names.address_or_name))
        for key in (peer.name, peer.address):
            if key in taken:
                other = names.shown(taken[key])
                raise child.error(f"has {names.shown(str(key))}, which peer {other} has already; each host stands here once")
            taken[key] = peer.name
        peers.append(peer)
    return tuple(peers)


def _bindings(ours: Node) -> tuple[Binding, ...]:
    nodes = list(ours.children("binding", NETWORK_NS))
    if len(nodes) > MAX_BINDINGS:
        raise ours.error(f"has {len(nodes)} bindings; write at most {MAX_BINDINGS}, or prefixes that hold several")
    found: dict[Binding, Node] = {}
    for node in nodes:
        node.strict(NETWORK_NS, ("mac", "address"), ())
        binding = Binding(node.need("mac", names.mac), node.need("address", names.prefix))
        if binding in found:
            raise node.error(f"stands here twice for {binding.mac} and {names.written(binding.address)}; write it once")
        found[binding] = node
    _refuse_many(found)
    bindings = sorted(found, key=lambda one: names.by_number(one.address))
    _refuse_shared(bindings, found)
    return tuple(bindings)


def _refuse_many(nodes: dict[Binding, Node]) -> None:
    counts = Counter[Mac]()
    for binding, node in nodes.items():
        counts[binding.mac] += 1
        if counts[binding.mac] > MAX_ADDRESSES:
            raise node.error(f"binds more than {MAX_ADDRESSES} addresses to {binding.mac}; write fewer, or prefixes that hold several")


def _refuse_shared(bindings: list[Binding], nodes: dict[Binding, Node]) -> None:
    """Prefixes are apart or one holds the other; so, in their order, each need only be held against the last that none holds."""
    widest, end = None, (0, 0)
    for binding in bindings:
        last = (binding.address.version, names.bounds(binding.address)[1])
        if widest is None or last > end:
            widest, end = binding, last
        elif binding.mac != widest.mac:
            one, other = (f"{names.written(each.address)} to {each.mac}" for each in (binding, widest))
            raise nodes[binding].error(f"binds {one}, and another binds {other}; write each address for one MAC only")
