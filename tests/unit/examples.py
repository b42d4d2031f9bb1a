"""The networks of xml/, each with a guest of every kind that it could have, as their bridges would be wired."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import ip_network
from itertools import product
from pathlib import Path

from fakes import FakeBridge, FakeHost, mac_of
from lxml import etree

from vnetd.intent import desire
from vnetd.model.names import IfName
from vnetd.model.network import Guard, Inventory, Network, Nic, Policy, Vlan, VlanMode
from vnetd.model.state import Desired
from vnetd.pipeline import network_flows, tunnel_flows
from vnetd.pipeline.flow import Flow
from vnetd.xmlread import read_domain, read_interface, read_network

XML = Path(__file__).resolve().parents[2] / "xml"
ROOTS = {path: etree.parse(path).getroot().tag for path in sorted(XML.rglob("*.xml"))}
NETWORKS = {path.name: read_network(path.read_bytes()) for path, root in ROOTS.items() if root == "network"}
ADDRESSES = tuple(map(ip_network, ("198.51.100.7", "2001:db8:7::7")))
OWN_VLANS = (None, Vlan(VlanMode.ACCESS, 77), Vlan(VlanMode.TRUNK, None, (10, 77)), Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10, 77)))


def example_nics() -> tuple[Nic, ...]:
    """The NICs of all example guests and taps, each with a tap of its own."""
    nics = [nic for path, root in ROOTS.items() if root == "domain" for nic in read_domain(path.read_bytes()).domain.nics]
    nics += [read_interface(path.read_bytes(), IfName(path.stem)) for path, root in ROOTS.items() if root == "interface"]
    return tuple(replace(nic, tap=IfName(f"tap{number}")) for number, nic in enumerate(nics) if nic.network)


def every_kind_of_guest(network: Network) -> tuple[Nic, ...]:
    """One for each portgroup and none, each guard, with addresses and without, in its VLAN or one of its own."""
    groups = [None, *(group.name for group in network.portgroups)]
    kinds = product(groups, Guard, ((), ADDRESSES), OWN_VLANS)
    return tuple(
        Nic(mac_of(number), network.name, portgroup=group, tap=IfName(f"vnet{number}"), vlan=vlan, policy=Policy(guard), addresses=own)
        for number, (group, guard, own, vlan) in enumerate(kinds, 100)
    )


@cache
def wired(network: Network) -> Desired:
    """What should be on a host that is the first of the network's peers and has the NICs and bridges that it names."""
    nics = (*every_kind_of_guest(network), *(nic for nic in example_nics() if nic.network == network.name))
    links = {name: True for name in (*(network.uplink.devs if network.uplink else ()), *(nic.tap for nic in nics)) if name}
    host = FakeHost(links=links, bridges={name: FakeBridge() for name in network.patches})
    host.addresses = {network.overlay.peers[0].address} if network.overlay else set()
    return desire(Inventory((network,), nics, complete=True), host.host(), host.rows())


@cache
def flows_of(network: Network) -> list[Flow]:
    """The flows of the network's bridge."""
    desired = wired(network)
    return network_flows(desired.wirings[network.bridge], desired.ports)


def tunnel_flows_of(network: Network) -> list[Flow]:
    desired = wired(network)
    return tunnel_flows(desired.segments, desired.ports)
