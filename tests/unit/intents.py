"""What the tests of the intent have in common: two networks, a mesh of three hosts, and NICs by small numbers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from fakes import FakeHost, mac_of, uuid_of

from vnetd.intent import desire
from vnetd.model.names import IfName
from vnetd.model.network import Inventory, Network, Nic, Overlay, OverlayType, Peer, Vlan, VlanMode
from vnetd.model.state import Desired, GuestWire

HV1, HV2, HV3 = (ip_address(f"192.0.2.1{number}") for number in (1, 2, 3))
MESH = Overlay(OverlayType.GRE, 100, (Peer("hv1", HV1), Peer("hv2", HV2), Peer("hv3", HV3)))
BLUE = Network("blue", uuid_of(1), IfName("br-blue"))
RED = Network("red", uuid_of(2), IfName("br-red"))


def access(tag: int) -> Vlan:
    return Vlan(VlanMode.ACCESS, tag)


def nic(number: int = 1, network: str | None = "blue", **more: object) -> Nic:
    common = Nic(mac_of(number), network, tap=IfName(f"vnet{number}"), iface_id=uuid_of(10 + number), owner="web", owner_uuid=uuid_of(9))
    return replace(common, **more)  # type: ignore[arg-type]


def wanted(host: FakeHost, *networks: Network, nics: tuple[Nic, ...] = ()) -> Desired:
    """What should be on a host where the tap of every NIC is there."""
    for one in nics:
        if one.tap is not None:
            host.links.setdefault(one.tap, True)
    return desire(Inventory(networks, nics, complete=True), host.host(), host.rows())


def wire(desired: Desired, tap: str = "vnet1") -> GuestWire:
    return next(one for wiring in desired.wirings.values() for one in wiring.guests if one.port == tap)


def words(desired: Desired) -> str:
    """All problems, as they are told."""
    return "; ".join(map(str, desired.problems))
