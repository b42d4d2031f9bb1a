"""``<hookData>``: what libvirt hands to the network hook (docs/hooks, "/etc/libvirt/hooks/network")."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vnetd.model import names
from vnetd.model.network import NetworkPort
from vnetd.xmlread.gate import parse, serialize
from vnetd.xmlread.interface import nic_of
from vnetd.xmlread.network import extension_of
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
    name, uuid = network.child("name"), network.child("uuid")
    port = root.child("networkport")
    text = (name.element.text or "") if name else ""
    if port is not None:
        port.element.set("network", text)
    return NetworkHook(
        name=names.label(text, f"{network.label} name"),
        uuid=names.uuid((uuid.element.text or "") if uuid else "", f"{network.label} uuid"),
        ours=extension_of(network) is not None,
        network=serialize(network.element),
        port=serialize(port.element) if port is not None else None,
    )


def read_network_port(data: bytes) -> NetworkPort:
    """A ``<networkport>`` as vnetd keeps it: with the name of its network as an attribute."""
    root = Node(parse(data, "networkport"))
    uuid, owner, group = root.child("uuid"), root.child("owner"), root.child("group")
    owner_name, owner_uuid = (owner.child("name"), owner.child("uuid")) if owner else (None, None)
    nic = nic_of(root, {}, owner=_text(owner_name), owner_uuid=_text(owner_uuid) or None)
    portid = names.uuid(_text(uuid), f"{root.label} uuid")
    network = root.need("network", names.label)
    return NetworkPort(portid, replace(nic, network=network, portgroup=_text(group) or None, portid=portid))


def _text(node: Node | None) -> str:
    return (node.element.text or "").strip() if node else ""
