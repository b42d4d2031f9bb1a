"""The NICs of guests: which port each has, in which network, and by which rules."""

from __future__ import annotations

from dataclasses import replace

from vnetd.errors import WorldError
from vnetd.intent.bridges import vlan_on_parent, why_not_isolated
from vnetd.intent.draft import Draft
from vnetd.judge.port import judge_of
from vnetd.model.dataplane import USERSPACE
from vnetd.model.names import written
from vnetd.model.network import Guard, Network, Nic, PortGroup
from vnetd.model.state import GuestWire, Port, PortFacts, Role
from vnetd.mtu import USUAL
from vnetd.policy import bandwidth_of, guest_wire, shape, whole_packets


def add_guest(draft: Draft, nic: Nic) -> None:
    """The port of a NIC whose tap is there. Raises WorldError where it cannot have one."""
    network = _network_of(draft, nic)
    if network is None:
        return
    group = _group_of(nic, network)
    if nic.tap is not None and _is_anothers(draft, nic):
        return  # libvirt has given the tap's name to another guest since; its own claim is on the way.
    if nic.tap is None:
        return  # Announced only: its tap is not there yet, and nothing can be said of a port without a name.
    if nic.tap in draft.nics:
        raise WorldError(f"its tap {nic.tap} is an uplink of bridge {draft.nics[nic.tap]}; write another NIC there")
    if nic.tap in draft.ports:
        raise WorldError(f"{nic.owner} and another both claim the tap {nic.tap}; each NIC needs its own")
    wire = guest_wire(nic, nic.tap, group, network, draft.bound[network.name])
    draft.guests[nic.tap] = PortFacts(
        nic.owner, network.name, group.name if group else None, nic.mac, wire.guard, wire.addresses, wire.isolated
    )
    if network.name in draft.tags:
        wire = replace(wire, vlan=vlan_on_parent(network, draft.tags[network.name], wire.vlan))
    if wire.isolated and (why := why_not_isolated(draft, network)):
        raise WorldError(why)
    _check_name(draft, nic.tap)
    _note_closed(draft, wire)
    if nic.tap not in draft.host.links:
        # A port kept for it would take the next tap of that name into this network.
        raise WorldError("its tap device is not there")
    seen = draft.holders.get(nic.tap)
    if seen is not None and not (seen.marked or seen.libvirts):
        raise WorldError(f"a port of that name is in bridge {seen.port.bridge} already, by hand; remove it with ovs-vsctl del-port")
    home = draft.homes[network.name]
    judge = judge_of(wire) if draft.host.datapath != USERSPACE else None
    draft.ports[nic.tap] = Port(
        name=nic.tap,
        bridge=home,
        role=Role.GUEST,
        vlan=wire.vlan,
        ids=_ids(nic),
        mtu=_mtu(draft, nic, wire, home),
        shape=shape(bandwidth_of(nic, group), draft.host.datapath == USERSPACE),
    )
    if judge is not None:
        draft.judges[nic.tap] = judge
    if wire.packets is not None and draft.host.datapath != USERSPACE:
        wire = replace(wire, meter=whole_packets(wire.packets, wire.meter, draft.ports[nic.tap].mtu or USUAL))
    _note_twins(draft, wire, home)
    _note_mtu(draft, nic, wire, home)
    draft.wires[home].guests.append(wire)
    if nic.owner_uuid is None:
        # A tap of ovs-ifup's: libvirt sets its own taps up, and knows when they should be down.
        draft.links_up.add(nic.tap)


def _check_name(draft: Draft, tap: str) -> None:
    """Raises WorldError where the name is a bridge's own, or that of a port which vnetd has for something else."""
    if draft.is_bridge(tap):
        raise WorldError("it is a bridge of Open vSwitch; each tap needs a name of its own")
    seen = draft.holders.get(tap)
    if seen is not None and seen.marked and not seen.libvirts and seen.port.role is not Role.GUEST:
        raise WorldError(f"it is the {seen.port.role} of bridge {seen.port.bridge}; each tap needs a name of its own")


def _network_of(draft: Draft, nic: Nic) -> Network | None:
    if nic.network is not None:
        return draft.networks.get(nic.network)
    return draft.by_bridge.get(nic.bridge) if nic.bridge is not None else None


def _group_of(nic: Nic, network: Network) -> PortGroup | None:
    group = network.portgroup(nic.portgroup) if nic.network is not None else None
    if nic.portgroup is not None and group is None:
        names = ", ".join(one.name for one in network.portgroups) or "none"
        raise WorldError(f"network {network.name} has no portgroup {nic.portgroup}; it has {names}")
    return group


def _is_anothers(draft: Draft, nic: Nic) -> bool:
    """Whether the port row says that the tap is another guest's than this NIC's."""
    seen = draft.rows.ports.get(nic.tap or "")
    owner = dict(seen.port.ids).get("vm-id") if seen is not None else None
    return owner is not None and nic.owner_uuid is not None and owner != nic.owner_uuid


def _note_closed(draft: Draft, wire: GuestWire) -> None:
    """What a port lacks to speak."""
    if wire.guard is Guard.STRICT and not wire.addresses:
        draft.notice(
            "port",
            wire.port,
            "it is guarded strictly and has no address, so it may speak DHCP and nothing else; "
            "write <vnet:address> for it, or a <vnet:binding> in its network",
        )
    if wire.mac is None and wire.guard is not Guard.NONE:
        draft.notice("port", wire.port, "its MAC is unknown, so it stays closed; write <mac address='…'/> for it")


def _note_twins(draft: Draft, wire: GuestWire, home: str) -> None:
    """Two ports of one VLAN that claim the same MAC or address, which the switch cannot tell from a theft."""
    for what, claim in (*([("MAC", wire.mac)] if wire.mac else []), *(("address", one) for one in wire.addresses)):
        other = draft.claims.setdefault((home, wire.vlan, claim), wire.port)
        if other != wire.port:
            text = claim if isinstance(claim, str) else written(claim)
            draft.notice("port", wire.port, f"its {what} {text} is {other}'s too; give each NIC its own")


def _mtu(draft: Draft, nic: Nic, wire: GuestWire, home: str) -> int | None:
    """The tap's MTU: what the overlay carries, and never less than the guest may send.

    Open vSwitch's userspace datapath loses what is larger than the tap's MTU as it comes in, where nothing counts it.
    """
    if nic.mtu is not None or draft.by_bridge[home].overlay is None:
        return nic.mtu
    # Before the path is known, and while this host has no address there, it is what most paths make it: a row less to change.
    return max(draft.carriers[home].fits(wire.vlan), USUAL) if home in draft.carriers else USUAL


def _note_mtu(draft: Draft, nic: Nic, wire: GuestWire, home: str) -> None:
    """A guest that may send larger packets than the overlay carries, and the element that hands it the MTU."""
    carrier = draft.carriers.get(home)
    if carrier is None or (nic.mtu or USUAL) <= carrier.fits(wire.vlan):
        return
    fits, has = carrier.fits(wire.vlan), f"its MTU is {nic.mtu}" if nic.mtu else f"it has no <mtu>, so that its MTU is {USUAL}"
    text = (
        f"{has}, and network {carrier.network} carries {fits} ({carrier.words(wire.vlan)}); write <mtu size='{fits}'/> in its <interface>"
    )
    draft.notice("port", wire.port, text)


def _ids(nic: Nic) -> tuple[tuple[str, str], ...]:
    """What libvirt writes on the Interface row, so that a port put back by vnetd is the same as the one that was lost."""
    ids = {
        "attached-mac": nic.mac,
        "iface-id": nic.iface_id,
        "vm-id": nic.owner_uuid,
        "iface-status": "active" if nic.iface_id else None,
    }
    return tuple(sorted((key, str(value)) for key, value in ids.items() if value))
