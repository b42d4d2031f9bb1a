"""``<domain>``: a guest, of which only the NICs concern vnetd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.names import Mac
from vnetd.model.network import Domain, Nic
from vnetd.xmlread.gate import DOMAIN_NS, parse
from vnetd.xmlread.interface import NicExtras, extras_of, nic_of
from vnetd.xmlread.node import Node, extension

Concerns = Callable[[str | None, str | None], bool]
"""Whether a NIC on this network or bridge (names, as they stand in the XML) is vnetd's business."""


@dataclass(frozen=True, slots=True)
class NicFault:
    """What is wrong with one NIC, and where it would belong."""

    network: str | None
    bridge: str | None
    error: InputError
    tap: str | None = None
    mac: str | None = None
    """As they stand in the XML: by them the NIC is known again that could be read before."""


@dataclass(frozen=True, slots=True)
class DomainReading:
    """A guest, and what is wrong with those of its NICs that could not be read."""

    domain: Domain
    faults: tuple[NicFault, ...] = ()
    extras: Mapping[Mac, NicExtras] = field(default_factory=dict)
    """What ``<vnet:domain>`` says of NICs, those too that this XML does not have yet."""

    def errors(self, concerns: Concerns) -> list[InputError]:
        """The faults that concern vnetd: a strange NIC on somebody else's network holds nothing up."""
        return [fault.error for fault in self.faults if concerns(fault.network, fault.bridge)]


def read_domain(data: bytes) -> DomainReading:
    """The guest in ``data``. A bad NIC is a fault beside the good ones; a bad guest raises InputError."""
    root = Node(parse(data, "domain"))
    name_node, uuid_node = root.child("name"), root.child("uuid")
    name = names.label((name_node.element.text or "") if name_node else "", f"{root.label} name")
    uuid = names.uuid((uuid_node.element.text or "").strip(), f"{root.label} uuid") if uuid_node else ""
    extras = extras_of(extension(root, root.child("metadata"), "domain", DOMAIN_NS))
    nics: list[Nic] = []
    faults: list[NicFault] = []
    devices = root.child("devices")
    for node in devices.children("interface") if devices else ():
        if not _may_concern(node):
            continue
        try:
            nics.append(nic_of(node, extras, owner=name, owner_uuid=uuid or None))
        except InputError as error:
            source = node.element.find("source")
            place = source if source is not None else {}
            target, mac = node.element.find("target"), node.element.find("mac")
            faults.append(
                NicFault(
                    place.get("network"),
                    place.get("bridge"),
                    error,
                    target.get("dev") if target is not None else None,
                    mac.get("address", "").lower() if mac is not None else None,
                )
            )
    faults.extend(_same_twice(nics))
    return DomainReading(Domain(name, uuid, tuple(nics)), tuple(faults), extras)


def _may_concern(node: Node) -> bool:
    kind = node.element.get("type")
    if kind == "ethernet":
        # Its script may be ovs-ifup, whose tap's own file says the network; from here comes the MAC.
        return node.element.find("script") is not None
    return kind in ("network", "bridge") and node.element.find("source") is not None


def _same_twice(nics: list[Nic]) -> list[NicFault]:
    """libvirt defines a guest with one MAC on two NICs; on one network neither would then work."""
    seen: set[tuple[object, object]] = set()
    faults = []
    for nic in nics:
        place = nic.network or nic.bridge
        key = (nic.mac, place)
        # Where a NIC's script wires it, its tap's own file says the network, and this file does not.
        if nic.mac is not None and place is not None and key in seen:
            text = f"<interface>: {nic.mac} stands on two NICs of the same network; give each its own <mac address='…'/>"
            faults.append(NicFault(nic.network, nic.bridge, InputError(text)))
        seen.add(key)
    return faults
