"""What the random walk's host is told: networks with what may become of them, guests, and taps of ovs-ifup's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

from fakes import mac_of, uuid_of

from vnetd.model.names import HostName, IfName
from vnetd.model.network import (
    Bandwidth,
    Binding,
    Bond,
    BondMode,
    Encapsulation,
    Guard,
    Lacp,
    Network,
    Nic,
    Overlay,
    OverlayType,
    Peer,
    Policy,
    PortGroup,
    QinQ,
    Rate,
    Uplink,
    Vlan,
    VlanMode,
)

HERE = ip_address("192.0.2.11")
ADDRESSES = tuple(ip_address(f"192.0.2.{number}") for number in (11, 12, 13))
PEERS = tuple(Peer(f"hv{number}", address) for number, address in zip((11, 12, 13), ADDRESSES, strict=True))
NAME = HostName("hv13.example")
NAMED_PEERS = (*PEERS[:2], Peer("hv13", NAME))


def access(tag: int) -> Vlan:
    return Vlan(VlanMode.ACCESS, tag)


def _overlay(kind: OverlayType, segment: int, *peers: Peer) -> Overlay:
    return Overlay(kind, segment, peers)


BLUE = Network(
    "blue",
    uuid_of(1),
    IfName("br-blue"),
    portgroups=(
        PortGroup("web", True, access(10), Bandwidth(Rate(1000), Rate(500))),
        PortGroup("all", vlan=Vlan(VlanMode.TRUNK, None, (10, 20))),
    ),
    overlay=_overlay(OverlayType.GRE, 100, *PEERS),
    bindings=(Binding(mac_of(1), ip_network("10.0.0.1")), Binding(mac_of(1), ip_network("2001:db8::/64"))),
)
ISOLATED_WEB = replace(BLUE.portgroups[0], policy=Policy(guard=Guard.STRICT, isolated=True, flood=10))
RED = Network("red", uuid_of(2), IfName("br-red"), vlan=access(20), uplink=Uplink((IfName("eth1"),)))
BONDED = Uplink((IfName("eth2"), IfName("eth3")), bond=Bond(IfName("bond0")))
GREEN = Network("green", uuid_of(3), IfName("br-green"), overlay=_overlay(OverlayType.GRE, 200, *PEERS[:2]))
GREY = Network("grey", uuid_of(4), IfName("br-grey"), patches=(IfName("br-green"),))
LIME = Network("lime", uuid_of(5), IfName("br-lime"), patches=(IfName("br-grey"),))
PINK = Network("pink", uuid_of(6), IfName("br-pink"))
"""Its bridge becomes a VLAN of br-red where somebody makes it one, before vnetd makes it a bridge."""

NETWORKS: Mapping[str, tuple[Network, ...]] = {
    "blue": (
        BLUE,
        replace(BLUE, overlay=_overlay(OverlayType.GRE, 100, *PEERS[:2])),
        replace(BLUE, overlay=_overlay(OverlayType.VXLAN, 101, *PEERS), policy=Policy(Guard.NONE)),
        replace(BLUE, portgroups=BLUE.portgroups[:1], overlay=None),
        replace(BLUE, overlay=replace(_overlay(OverlayType.GENEVE, 102, *PEERS), encapsulation=Encapsulation(csum=True), bfd=None)),
        replace(BLUE, overlay=_overlay(OverlayType.GRE, 100, *NAMED_PEERS)),
        replace(BLUE, portgroups=(*BLUE.portgroups, PortGroup("metro", vlan=access(40), qinq=QinQ((1, 2))))),
        replace(BLUE, portgroups=(ISOLATED_WEB, BLUE.portgroups[1])),
        replace(BLUE, portgroups=(ISOLATED_WEB, BLUE.portgroups[1]), policy=Policy(guard=Guard.STRICT, host=True), bindings=()),
    ),
    "red": (
        RED,
        replace(RED, uplink=Uplink((IfName("eth2"),)), vlan=None),
        replace(RED, uplink=Uplink((IfName("eth0"),))),
        replace(RED, policy=Policy(guard=Guard.STRICT, isolated=True, neighbour=0, host=True)),
        replace(RED, uplink=None, bridge=IfName("br-rouge")),
        replace(RED, uplink=BONDED),
        replace(RED, uplink=replace(BONDED, bond=Bond(IfName("bond0"), BondMode.BALANCE_TCP, Lacp.ACTIVE)), policy=Policy(host=True)),
        replace(RED, uplink=Uplink((IfName("eth1"), IfName("eth2"), IfName("eth9")), bond=Bond(IfName("bond1"), BondMode.BALANCE_SLB))),
    ),
    "grey": (
        GREY,
        replace(GREY, patches=(IfName("br-user"),)),
        replace(GREY, patches=(IfName("br-blue"),)),
        replace(GREY, patches=(IfName("br-green"),), uplink=Uplink((IfName("eth4"),))),
        replace(GREY, patches=(IfName("br-user"),), uplink=Uplink((IfName("eth4"),))),
    ),
    "lime": (LIME, replace(LIME, patches=(IfName("br-user"),)), replace(LIME, patches=(IfName("br-green"),))),
    "pink": (PINK, replace(PINK, policy=Policy(guard=Guard.STRICT, isolated=True))),
    "green": (GREEN, replace(GREEN, overlay=_overlay(OverlayType.GRE, 200, *PEERS[1:])), replace(GREEN, overlay=None)),
}
"""Each network as it is first, and what may become of it. No two want what only one can have: who came first would decide."""


def _nic(number: int, network: str, guest: int, **more: object) -> Nic:
    common = Nic(
        mac_of(number),
        network,
        tap=IfName(f"vnet{number}"),
        iface_id=uuid_of(100 + number),
        portid=uuid_of(200 + number),
        owner=f"guest{guest}",
        owner_uuid=uuid_of(300 + guest),
    )
    return replace(common, **more)  # type: ignore[arg-type]


GUESTS = (
    (_nic(1, "blue", 0),),
    (_nic(2, "blue", 1, portgroup="all"), _nic(3, "red", 1, vlan=access(30), bandwidth=Bandwidth(Rate(50, 80, 9), Rate(40)), mtu=1400)),
    (_nic(4, "green", 2, policy=Policy(Guard.NONE)), _nic(5, "blue", 2, vlan=Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10, 30)))),
    (_nic(6, "blue", 3, policy=Policy(guard=Guard.STRICT, flood=0), addresses=(ip_network("10.0.0.6"), ip_network("2001:db8:1::6"))),),
    (_nic(7, "pink", 4), _nic(8, "grey", 4)),
)
SCRIPTED = (
    Nic(mac_of(16), "blue", tap=IfName("tap0"), owner="tap0"),
    Nic(None, "red", tap=IfName("tap1"), owner="tap1", bandwidth=Bandwidth(None, Rate(70))),
    Nic(mac_of(18), "green", tap=IfName("tap2"), owner="tap2", policy=Policy(Guard.NONE)),
)
"""Taps that QEMU made itself and gave to ovs-ifup."""
