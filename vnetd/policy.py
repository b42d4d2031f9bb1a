"""Which rules hold for one NIC: each from the narrowest place of the XML that says something of it.

A NIC's own element comes before its portgroup's, and that before its network's. What
they leave open is decided here, too: guard='mac', and limits on what one port may flood.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from vnetd.errors import WorldError
from vnetd.model.names import IpPrefix, Mac, by_number
from vnetd.model.network import UNTAGGED, Bandwidth, Guard, Network, Nic, Policy, PortGroup, Qos, Rate, Vlan, VlanMode
from vnetd.model.state import GuestWire, Meter, Pool, Shape

T = TypeVar("T", Policy, Qos)

FLOOD_PACKETS = 1000
"""packets/s that one port may send to everybody, unless the XML says otherwise: far above DHCP, mDNS and the like."""

NEIGHBOUR_PACKETS = 500
"""packets/s of ARP, RARP and neighbour discovery of one port: a /24 swept in half a second."""

_LEAST_BURST = 256
"""kbit"""

_HEAD = 14 + 2 * 4
"""bytes: the head of a frame with two tags."""


def narrowed(*places: T) -> T:
    """Each rule from the first of ``places`` that says something of it, the narrowest first."""

    def first(name: str) -> Any:
        return next((value for place in places if (value := getattr(place, name)) is not None), None)

    return type(places[0])(**{rule.name: first(rule.name) for rule in fields(places[0])})


def effective_policy(nic: Nic, group: PortGroup | None, network: Network) -> Policy:
    """The rules for one NIC of a network."""
    return narrowed(nic.policy, *([group.policy] if group else []), network.policy)


def bound_addresses(network: Network) -> dict[Mac, list[IpPrefix]]:
    """What the network binds to each MAC."""
    found: dict[Mac, list[IpPrefix]] = {}
    for binding in network.bindings:
        found.setdefault(binding.mac, []).append(binding.address)
    return found


def addresses_of(nic: Nic, bound: Mapping[Mac, Sequence[IpPrefix]]) -> tuple[IpPrefix, ...]:
    """The NIC's own addresses and those that its network binds to its MAC."""
    mine = {*nic.addresses, *(bound.get(nic.mac, ()) if nic.mac else ())}
    return tuple(sorted(mine, key=by_number))


def guest_wire(nic: Nic, tap: str, group: PortGroup | None, network: Network, bound: Mapping[Mac, Sequence[IpPrefix]]) -> GuestWire:
    """All that the pipeline must know about a NIC's port. Raises WorldError where its VLANs contradict its portgroup."""
    policy = effective_policy(nic, group, network)
    guard = policy.guard or Guard.MAC
    qos = narrowed(nic.qos, *([group.qos] if group else []), network.qos)
    return GuestWire(
        port=tap,
        mac=nic.mac,
        vlan=vlan_of(nic, group, network),
        guard=guard,
        meter=bandwidth_meter(bandwidth_of(nic, group)),
        addresses=addresses_of(nic, bound),
        isolated=bool(policy.isolated),
        flood=packet_meter(policy.flood, FLOOD_PACKETS, guard),
        neighbour=packet_meter(policy.neighbour, NEIGHBOUR_PACKETS, guard),
        packets=packet_meter(qos.pps, 0, guard),
        dscp=0 if qos.dscp is None and qos.trust is False else qos.dscp,
        pools=tuple(name for name, limit in _shared(network, [group] if group else []) if limit != Bandwidth()),
    )


def vlan_of(nic: Nic, group: PortGroup | None, network: Network) -> Vlan:
    """libvirt's precedence: the interface's element before the portgroup's, and that before the network's. Raises WorldError."""
    wider = (group.vlan if group else None) or network.vlan
    vlan = nic.vlan or (None if "vlan" in nic.settled else wider) or UNTAGGED
    if group is None or group.qinq is None:
        return vlan
    if vlan.mode is not VlanMode.ACCESS or vlan.tag is None:
        raise WorldError(f"portgroup {group.name} is a dot1q-tunnel and the port {vlan}; give it one plain <tag>, its service VLAN")
    return replace(vlan, mode=VlanMode.DOT1Q_TUNNEL, customers=group.qinq.customers, tpid=group.qinq.tpid)


def pools_of(network: Network) -> tuple[Pool, ...]:
    """The limits that ports of the network share on this host: those of its portgroups, then its own."""
    return tuple(
        Pool(name, _number(name), rate_meter(limit.inbound), rate_meter(limit.outbound))
        for name, limit in _shared(network, network.portgroups)
        if limit != Bandwidth()
    )


def _shared(network: Network, groups: Sequence[PortGroup]) -> list[tuple[str, Bandwidth]]:
    """The shared limits of these portgroups and of the network, the narrowest first, each with its name."""
    return [*((f"{network.name}/{group.name}", group.aggregate) for group in groups), (network.name, network.aggregate)]


def _number(name: str) -> int:
    """A pool's number, the same on every run and host."""
    return int.from_bytes(hashlib.blake2s(name.encode(), digest_size=4).digest()) >> 3


def packet_meter(wanted: int | None, default: int, guard: Guard) -> Meter | None:
    """A limit in packets/s; a port without a guard has one only where the XML says so.

    A second's worth may pass at once; the kernel's data plane lets as much again.
    """
    rate = wanted if wanted is not None else (0 if guard is Guard.NONE else default)
    return Meter(rate, rate, "pktps") if rate else None


def whole_packets(packets: Meter, bandwidth: Meter | None, mtu: int) -> Meter:
    """The limit on bandwidth of a port that has one on packets, in the kernel's data plane.

    A meter counts there what the guest hands over, which with segmentation offload is up to 64 KiB that become many packets. So
    a port may send as many bytes as so many of the largest packets have, and the narrower limit counts.
    """
    size = (mtu + _HEAD) * 8
    rate = -(-packets.rate * size // 1000)
    if bandwidth is not None and bandwidth.rate <= rate:
        return bandwidth
    return Meter(rate, max(packets.burst * size // 1000, _LEAST_BURST))


def bandwidth_of(nic: Nic, group: PortGroup | None) -> Bandwidth:
    """libvirt's precedence: the interface's element, as a whole, before the portgroup's."""
    if nic.bandwidth != Bandwidth() or group is None or "bandwidth" in nic.settled:
        return nic.bandwidth
    return group.bandwidth


def shape(bandwidth: Bandwidth, userspace: bool = False) -> Shape | None:
    """Toward the guest. A rate without peak is a limit too: as libvirt writes it, it would limit nothing.

    In the userspace datapath the queue under the limit is short (``vnetd.leaves``), and what a guest did not get while nobody
    sent must be made up for by a burst: without one in the XML, a twentieth of a second's worth.
    """
    rate = bandwidth.inbound
    if rate is None:
        return None
    most = (rate.peak or rate.average) * 8000
    burst = rate.burst * 1024 * 8 if rate.burst else None
    if burst is None and userspace:
        burst = most // 20
    return Shape(rate.average * 8000, most, burst)


def bandwidth_meter(bandwidth: Bandwidth) -> Meter | None:
    """From the guest."""
    return rate_meter(bandwidth.outbound)


def rate_meter(rate: Rate | None) -> Meter | None:
    """Without a burst in the XML a meter gets a quarter of a second's worth, and 256 kbit at least.

    TCP waits 200 ms and more before it sends again what a meter dropped (Linux, TCP_RTO_MIN), and loses its share of that
    time where the burst holds less.
    """
    if rate is None:
        return None
    kbit = rate.average * 8
    return Meter(kbit, rate.burst * 8 if rate.burst else max(kbit // 4, _LEAST_BURST))
