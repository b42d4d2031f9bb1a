"""The elements that networks, portgroups and interfaces share: VLAN, bandwidth and policy."""

from __future__ import annotations

from itertools import pairwise

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.network import Bandwidth, Guard, Policy, Rate, Vlan, VlanMode
from vnetd.xmlread.node import Node, choice

MAX_RATE = (2**32 - 1) // 8
"""kilobytes/s: an OpenFlow meter counts kbit/s in 32 bits."""

MAX_PACKETS = 1_000_000
"""packets/s: hardly a guest sends more, so that a larger number is a slip."""

FOR_INTERFACE = ("guard", "flood", "neighbour")
FOR_PORTGROUP = (*FOR_INTERFACE, "isolated")
FOR_NETWORK = (*FOR_PORTGROUP, "host")
"""What a ``<vnet:policy>`` may say, by the place it stands in."""

_WIDER = {
    "isolated": "the other hosts must know it too; write it on the policy of the network's <vnet:portgroup>",
    "host": "it is about the bridge of the whole network; write it on the policy of <vnet:network>",
}
"""Why a narrower place does not take it, and which does."""

_guard = choice(Guard, tuple(guard.value for guard in Guard))


def rate(text: str, where: str) -> int:
    """A limit in kilobytes/s, or a burst in KiB."""
    return names.number(text, 1, MAX_RATE, where)


def vlan(parent: Node) -> Vlan | None:
    """libvirt's ``<vlan>`` (formatnetwork, "Setting VLAN tag"): one tag is an access port, several a trunk."""
    node = parent.child("vlan")
    if node is None:
        return None
    tags = [(tag.need("id", names.vlan_id), tag) for tag in node.children("tag")]
    if not tags:
        raise node.error("names no VLAN; write <tag id='10'/> inside it")
    ids = tuple(sorted(number for number, _ in tags))
    for one, other in pairwise(ids):
        if one == other:
            raise node.error(f"names VLAN {one} twice; write it once")
    natives = [(number, tag.need("nativeMode", _native)) for number, tag in tags if tag.element.get("nativeMode") is not None]
    if len(natives) > 1:
        raise node.error("has two native VLANs; write nativeMode on one <tag>")
    wants_trunk = node.may("trunk", names.yes_no)
    if wants_trunk is False and (len(ids) > 1 or natives):
        raise node.error("has trunk='no' and more than one plain tag; write trunk='yes'")
    if natives:
        return Vlan(natives[0][1], natives[0][0], ids)
    if wants_trunk or len(ids) > 1:
        return Vlan(VlanMode.TRUNK, None, ids)
    return Vlan(VlanMode.ACCESS, ids[0])


def _native(text: str, where: str) -> VlanMode:
    return choice({"tagged": VlanMode.NATIVE_TAGGED, "untagged": VlanMode.NATIVE_UNTAGGED}.__getitem__, ("tagged", "untagged"))(text, where)


def bandwidth(parent: Node) -> Bandwidth:
    """libvirt's ``<bandwidth>``: average and peak in kilobytes/s, burst in KiB."""
    node = parent.child("bandwidth")
    if node is None:
        return Bandwidth()
    return Bandwidth(direction(node, "inbound"), direction(node, "outbound"))


def direction(parent: Node, name: str) -> Rate | None:
    """``<inbound>`` or ``<outbound>`` of a ``<bandwidth>``."""
    node = parent.child(name)
    if node is None or node.element.get("average") is None:
        # libvirt itself asks for average unless there is only a floor, which Open vSwitch ports cannot have.
        return None
    found = Rate(node.need("average", rate), node.may("peak", rate), node.may("burst", rate))
    if found.peak is not None and found.peak < found.average:
        raise node.error(f"has a peak of {found.peak} below its average of {found.average}; write peak='{found.average}' or more")
    return found


def policy(parent: Node, namespace: str, takes: tuple[str, ...]) -> Policy:
    """``<vnet:policy guard=…/>`` inside ``parent``, or a policy that leaves all to the next wider place."""
    node = parent.child("policy", namespace)
    if node is None:
        return Policy()
    for attribute, why in _WIDER.items():
        if attribute not in takes and node.element.get(attribute) is not None:
            raise node.error(f"takes no {attribute} inside {parent.tag}: {why}")
    node.strict(namespace, takes, ())
    return Policy(
        guard=node.may("guard", _guard),
        isolated=node.may("isolated", names.yes_no),
        flood=node.may("flood", packets),
        neighbour=node.may("neighbour", packets),
        host=node.may("host", names.yes_no),
    )


def packets(text: str, where: str) -> int:
    """A limit in packets/s, where 0 stands for none: the digit itself could be taken to mean that nothing may pass."""
    if text == "none":
        return 0
    try:
        return names.number(text, 1, MAX_PACKETS, where)
    except InputError as error:
        raise InputError(f"{error}; write one, as packets/s, or 'none' for no limit") from None
