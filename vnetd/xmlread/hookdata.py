"""``<hookData>``: what libvirt hands to the network hook (docs/hooks, "/etc/libvirt/hooks/network")."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vnetd.model import names
from vnetd.model.network import NetworkPort
from vnetd.xmlread.gate import parse, serialize
from vnetd.xmlread.interface import nic_of
from vnetd.xmlread.network import is_meant_for_vnetd, name_of
from vnetd.xmlread.node import Node


@dataclass(frozen=True, slots=True)
class NetworkHook:
    """A hook's network as its own XML text, and the port it is about, if any."""

    name: str
    uuid: str
    ours: bool
    network: bytes
    port: bytes | None


def read_network_hook(data: bytes) -> NetworkHook:
    """The parts of a ``<hookData>``. Raises InputError for anything else."""
    root = Node(parse(data, "hookData"))
    network = root.child("network")
    if network is None:
        raise root.error("has no <network>; this is not what libvirt hands to a network hook")
    port = root.child("networkport")
    name = names.label(name_of(network), f"{network.label} name")
    if port is not None:
        port.element.set("network", name)
    return NetworkHook(
        name=name,
        uuid=names.uuid(_text(network.child("uuid")), f"{network.label} uuid"),
        ours=is_meant_for_vnetd(network),
        network=serialize(network.element),
        port=serialize(port.element) if port is not None else None,
    )


def read_network_port(data: bytes) -> NetworkPort:
    """A ``<networkport>`` as vnetd keeps it: with the name of its network as an attribute."""
    root = Node(parse(data, "networkport"))
    owner, group = root.child("owner"), root.child("group")
    owner_name, owner_uuid = (owner.child("name"), owner.child("uuid")) if owner else (None, None)
    nic = nic_of(
        root,
        {},
        owner=names.label(_letters(owner_name), f"{root.label} owner") if owner_name else "",
        owner_uuid=names.uuid(_text(owner_uuid), f"{root.label} owner uuid") if owner_uuid else None,
    )
    portid = names.uuid(_text(root.child("uuid")), f"{root.label} uuid")
    network = root.need("network", names.label)
    portgroup = names.label(_letters(group), group.label) if group else None
    return NetworkPort(portid, replace(nic, network=network, portgroup=portgroup, portid=portid))


def _text(node: Node | None) -> str:
    return _letters(node).strip()


def _letters(node: Node | None) -> str:
    """A name to the letter: blanks around it belong to it, for libvirt too."""
    return (node.element.text or "") if node else ""
