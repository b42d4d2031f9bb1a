"""What libvirt's XML may say that does not mean what it looks like: traps, each with what to write instead.

What vnetd refuses to read is not here: its readers say that. What libvirt does about each
was tried with libvirt 9.0. An element may be in libvirt's XML for other networks with full
right, so an ``<interface>`` is a sheet of its traps, which only count where it is vnetd's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lxml import etree

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.names import shown
from vnetd.xmlread import parts
from vnetd.xmlread.gate import DOMAIN_NS, NETWORK_NS, parse
from vnetd.xmlread.node import Node


@dataclass(frozen=True, slots=True, order=True)
class Trap:
    """What is wrong with the element at a line of its file."""

    line: int | None
    element: str
    text: str


@dataclass(frozen=True, slots=True)
class NicSheet:
    """An ``<interface>`` as it stands, whether or not vnetd can read it."""

    place: Trap
    """Where it stands, without a fault."""
    kind: str
    mac: str | None
    network: str | None
    bridge: str | None
    virtualport: str | None
    marked: bool
    """Whether vnetd's own element speaks of it."""
    mtu: Trap | None = None
    traps: tuple[Trap, ...] = ()
    bandwidths: tuple[tuple[str, Trap], ...] = ()
    """Of each direction, the place of its limit."""
    trust: Trap | None = None
    """The place of the ``<vnet:qos>`` by which its marks are trusted."""
    segments: bool = False
    """Whether the guest is offered to hand over what only the host cuts into packets."""


@dataclass(frozen=True, slots=True)
class GuestSheet:
    """A guest, or a tap's own file, as it stands: its NICs, and by their MACs the places of what is said of NICs elsewhere in it."""

    nics: tuple[NicSheet, ...]
    spoken_of: tuple[tuple[str, Trap], ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkSheet:
    """A ``<network>`` as it stands: its traps, and where its portgroups and their limits are."""

    traps: tuple[Trap, ...] = ()
    bandwidths: tuple[tuple[tuple[str, str], Trap], ...] = ()
    """Of each portgroup and direction, the place of its limit."""
    aggregates: tuple[tuple[tuple[str, str], Trap], ...] = ()
    """Of each portgroup and direction, the place of the limit that its ports share."""
    marks: tuple[tuple[str, Trap], ...] = ()
    """Of each portgroup, the place of its ``<vnet:qos>``."""


_REFUSED = {
    "mtu": "libvirt defines no bridge-mode network with it; write <mtu size='…'/> in each guest's <interface>",
    "ip": "libvirt defines no bridge-mode network with it; remove it, a router or guest in the network gives addresses",
    "dns": "libvirt defines no bridge-mode network with it; remove it",
    "domain": "libvirt defines no bridge-mode network with it; remove it",
    "mac": "libvirt defines no bridge-mode network with it; remove it",
    "route": "libvirt defines no bridge-mode network with it; remove it",
    "bandwidth": (
        "libvirt limits the bridge's own device by it, through which no guest's frame passes; "
        "write <bandwidth> in each <portgroup>, or <vnet:aggregate> in <vnet:network> for what all guests share"
    ),
}
"""Children of a bridge-mode ``<network>``, and why not."""


@dataclass(frozen=True, slots=True)
class _Words:
    """The attributes and children that libvirt knows of an element, and what to write instead of others."""

    attributes: tuple[str, ...]
    children: tuple[str, ...]
    attribute: str
    child: str = "leave it out"


_KNOWN = {
    "bandwidth": _Words(
        ("classID",), ("inbound", "outbound"), "write average='…' in its <inbound> or <outbound>", "write <inbound> or <outbound>"
    ),
    # A floor is refused by a sentence of its own.
    "inbound": _Words(("average", "peak", "burst", "floor"), (), "write average, peak or burst"),
    "outbound": _Words(("average", "peak", "burst", "floor"), (), "write average or burst"),
    "vlan": _Words(("trunk",), ("tag",), "write trunk='yes' for a trunk, or leave it out", "write <tag id='…'/>"),
    "tag": _Words(("id", "nativeMode"), (), "write id and nativeMode, or leave it out"),
}

_ISOLATED = "write <vnet:policy isolated='yes'/> in the network's <vnet:portgroup>"


def network_sheet(data: bytes) -> NetworkSheet:
    """The traps of a network. Raises InputError for what is no ``<network>``."""
    root = Node(parse(data, "network"))
    traps = [_trap(child, why) for name, why in _REFUSED.items() for child in root.children(name)]
    traps += _vlan(root)
    for child in root.children("port"):
        if child.element.get("isolated") == "yes":
            traps.append(_trap(child, f"has isolated='yes', with which libvirt starts no guest on Open vSwitch; remove it and {_ISOLATED}"))
    bandwidths: dict[tuple[str, str], Trap] = {}
    for group in root.children("portgroup"):
        traps += [*_vlan(group), *_bandwidth(group)]
        traps += (
            _trap(one, "stands in a <portgroup>, where libvirt drops it; write it in the <interface>") for one in group.children("mtu")
        )
        bandwidths.update(((group.element.get("name", ""), direction), place) for direction, place in _directions(group, "bandwidth"))
    aggregates: dict[tuple[str, str], Trap] = {}
    marks: list[tuple[str, Trap]] = []
    for ours in root.element.iterfind(f"metadata/{{{NETWORK_NS}}}network/{{{NETWORK_NS}}}portgroup"):
        name = ours.get("name", "")
        marks += ((name, _trap(qos)) for qos in Node(ours).children("qos", NETWORK_NS))
        aggregates.update(((name, direction), place) for direction, place in _directions(Node(ours), "aggregate", NETWORK_NS))
    return NetworkSheet(tuple(traps), tuple(bandwidths.items()), tuple(aggregates.items()), tuple(marks))


def guest_sheet(data: bytes) -> GuestSheet:
    """Every ``<interface>`` of a guest, or the one that is a tap's own file. Raises InputError for anything else."""
    root = Node(parse(data, "domain", "interface"))
    if root.element.tag == "interface":
        return GuestSheet((_nic(root, next(root.children("interface", DOMAIN_NS), None), marked=True),))
    ours = {
        (one.get("mac") or "").lower(): Node(one)
        for one in root.element.iterfind(f"metadata/{{{DOMAIN_NS}}}domain/{{{DOMAIN_NS}}}interface")
    }
    nics = []
    for node in map(Node, root.element.iterfind("devices/interface")):
        extra = ours.get((_attribute(node, "mac", "address") or "").lower())
        nics.append(_nic(node, extra, marked=extra is not None))
    return GuestSheet(tuple(nics), tuple((mac, _trap(one)) for mac, one in ours.items() if _is_readable(one.need, "mac", names.mac)))


def _directions(parent: Node, name: str, namespace: str = "") -> Iterator[tuple[str, Trap]]:
    """The directions that a limit of this name has, and the places of both."""
    for node in parent.children(name, namespace):
        for direction in ("inbound", "outbound"):
            yield from ((direction, _trap(one)) for one in node.children(direction, namespace))


def _nic(node: Node, ours: Node | None, *, marked: bool) -> NicSheet:
    kind = node.element.get("type", "network")
    mac = _attribute(node, "mac", "address")
    traps = [*_vlan(node), *_bandwidth(node), *_refused_on_openvswitch(node)]
    port_type = _attribute(node, "virtualport", "type")
    network = _attribute(node, "source", "network") if kind in ("network", "bridge") else None
    bridge = _attribute(node, "source", "bridge") if kind == "bridge" and network is None else None
    if network is not None and port_type not in (None, "openvswitch"):
        text = f"has type='{_short(port_type)}', with which libvirt starts no guest on an Open vSwitch network; write type='openvswitch'"
        traps += (_trap(one, text) for one in node.children("virtualport"))
    if bridge is not None and port_type is None:
        why = "is on a bridge of Open vSwitch and does not say so, and libvirt starts no such guest"
        traps.append(_trap(node, f"{why}; write <virtualport type='openvswitch'/> in it"))
    mtu = next(node.children("mtu"), None)
    trusts = (qos for qos in ours.children("qos", DOMAIN_NS) if qos.element.get("trust") == "yes") if ours is not None else ()
    trust = next(iter(trusts), None)
    return NicSheet(
        place=_trap(node),
        kind=kind,
        mac=mac.lower() if mac else None,
        network=network,
        bridge=bridge,
        virtualport=port_type,
        marked=marked,
        mtu=_trap(mtu) if mtu else None,
        traps=tuple(traps),
        bandwidths=tuple(_directions(node, "bandwidth")),
        trust=_trap(trust) if trust else None,
        segments=_segments(node),
    )


def _segments(node: Node) -> bool:
    """Of libvirt's NICs only virtio's offers it, unless its ``<driver>`` says otherwise (libvirt's formatdomain.html)."""
    off = {(key, value) for host in node.element.iterfind("driver/host") for key, value in host.items()}
    return _attribute(node, "model", "type") == "virtio" and not {("tso4", "off"), ("tso6", "off"), ("ufo", "off")} <= off


def _refused_on_openvswitch(node: Node) -> Iterator[Trap]:
    for child in node.children("filterref"):
        why = "libvirt starts no guest with it on Open vSwitch"
        yield _trap(
            child, f"{why}; remove it and write <vnet:policy guard='strict'/> in <vnet:interface mac='…'> of the guest's <vnet:domain>"
        )
    for child in node.children("port"):
        if child.element.get("isolated") == "yes":
            yield _trap(child, f"has isolated='yes', which libvirt refuses on Open vSwitch; remove it and {_ISOLATED}")


def _vlan(parent: Node) -> Iterator[Trap]:
    if not _is_readable(parts.vlan, parent):
        return
    for node in parent.children("vlan"):
        tags = list(node.children("tag"))
        trunk = node.element.get("trunk")
        natives = [tag for tag in tags if tag.element.get("nativeMode") is not None]
        yield from (slip for one in (node, *tags) for slip in _slips(one))
        if len(tags) > 1 and trunk is None:
            yield _trap(node, f"has {len(tags)} tags, which make it a trunk without saying so; write trunk='yes', or one <tag>")
        if natives and len(tags) == 1:
            number = _short(natives[0].element.get("id", ""))
            only = f"<vlan><tag id='{number}'/></vlan> for an access port"
            yield _trap(
                node, f"has VLAN {number} as its native one and no other in the trunk; write {only}, or the trunk's other VLANs too"
            )


def _bandwidth(parent: Node) -> Iterator[Trap]:
    if not _is_readable(parent.child, "bandwidth"):
        return
    for node in parent.children("bandwidth"):
        yield from _slips(node)
        for name in ("inbound", "outbound"):
            if _is_readable(parts.direction, node, name):
                yield from (trap for child in node.children(name) for trap in _direction(child))


def _direction(child: Node) -> Iterator[Trap]:
    slips = list(_slips(child))
    yield from slips
    average, peak, floor = (child.element.get(name) for name in ("average", "peak", "floor"))
    if floor is not None:
        yield _trap(child, "has a floor, which libvirt refuses on a bridged network; write average and peak without it")
    elif average is None and not slips:
        said = " and ".join(name for name in ("peak", "burst") if child.element.get(name) is not None)
        has = f"has {said} and no average" if said else "has no average"
        yield _trap(child, f"{has}, so that libvirt refuses it and vnetd limits nothing; write average='…' in it")
    if child.element.tag == "inbound" and average is not None and peak is None:
        why = "has an average and no peak, which libvirt alone takes for a guarantee that limits nothing, and vnetd for the limit"
        yield _trap(child, f"{why}; write peak='{_short(average)}' to say so everywhere")
    if child.element.tag == "outbound" and average is not None and peak is not None:
        yield _trap(child, "has a peak, which nobody heeds: what a guest sends is held to its average; leave it out")


def _is_readable(read: Callable[..., object], *arguments: object) -> bool:
    """Whether vnetd's reader takes it. Of what it refuses it says why, and advice about the rest could be advice to write that again."""
    try:
        read(*arguments)
    except InputError:
        return False
    return True


def _slips(node: Node) -> Iterator[Trap]:
    """Attributes and children that libvirt does not know here and drops without a word."""
    known = _KNOWN[str(node.element.tag)]
    for name in map(str, node.element.attrib):
        if not name.startswith("{") and name not in known.attributes:
            yield _trap(node, f"has an attribute {shown(name)}, which libvirt does not know and drops; {known.attribute}")
    for child in map(Node, node.element.iterchildren(tag=etree.Element)):
        if not str(child.element.tag).startswith("{") and child.element.tag not in known.children:
            yield _trap(child, f"stands in {node.tag}, where libvirt does not know it and drops it; {known.child}")


def _trap(node: Node, text: str = "") -> Trap:
    return Trap(node.element.sourceline, node.tag, text)


def _attribute(node: Node, child: str, name: str) -> str | None:
    found = node.element.find(child)
    return None if found is None else found.get(name)


def _short(text: str) -> str:
    """What stands in the file, for a message: escaped, and cut when long."""
    return ascii(text[:40])[1:-1]
