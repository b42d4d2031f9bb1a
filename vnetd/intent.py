"""From what the sources say to what should be: one pure function, ``desire``.

Strategy: networks first, those that run before newcomers, then NICs. Whatever is wrong
with one of them becomes a Problem of that one and nothing more; the others are
served. Names that vnetd gives (patches, tunnels) depend only on what they stand
for, so that every host and every run gives the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from vnetd.errors import WorldError
from vnetd.model.names import IfName, IpAddress, IpPrefix, Mac, written
from vnetd.model.network import (
    Guard,
    Inventory,
    Network,
    Nic,
    Overlay,
    OverlayType,
    PortGroup,
    Problem,
    Vlan,
)
from vnetd.model.state import (
    TUNNELS,
    Bridge,
    Desired,
    GuestWire,
    Host,
    NetworkWiring,
    Port,
    PortFacts,
    Quiet,
    Role,
    Rows,
    SegmentWire,
    TunnelFacts,
)
from vnetd.policy import bandwidth_of, bound_addresses, guest_wire, narrowed, shape

_TUNNEL_PREFIX = {OverlayType.GRE: "gre-", OverlayType.VXLAN: "vxl-", OverlayType.GENEVE: "gnv-"}


def desire(inventory: Inventory, host: Host, rows: Rows) -> Desired:
    """What should be on ``host``. ``rows`` only tells which tap libvirt made for which NIC, and who owns a bridge."""
    draft = _Draft(host, rows, problems=list(inventory.problems))
    for network in sorted(inventory.networks, key=partial(_seniority, rows)):
        draft.attempt("network", network.name, partial(draft.add_network, network))
    draft.add_tunnel_bridge()
    for nic in _merged(inventory.nics, rows):
        draft.attempt("port", nic.tap or f"of {nic.owner} {nic.mac}", partial(draft.add_guest, nic))
    return draft.finish(inventory)


def _seniority(rows: Rows, network: Network) -> tuple[bool, str, str]:
    """Networks that run come before newcomers, so that what a newcomer takes by mistake is not taken from them."""
    seen = rows.bridges.get(network.bridge)
    return seen is None or seen.owner != (network.uuid or network.name), network.name, network.uuid


def tunnel_name(kind: OverlayType, local: IpAddress, remote: IpAddress) -> str:
    """The port of the tunnel between two addresses, the same on every run; 14 bytes."""
    return _TUNNEL_PREFIX[kind] + _digest(f"{local} {remote}")


def patch_names(bridge: str) -> tuple[str, str]:
    """The two ends of the patch between a network's bridge and the tunnel bridge: there, here."""
    digest = _digest(bridge)
    return f"to-{digest}", f"tun-{digest}"


def _digest(text: str) -> str:
    return hashlib.blake2s(text.encode(), digest_size=5).hexdigest()


@dataclass
class _Draft:
    """Desired state in the making."""

    host: Host
    rows: Rows
    problems: list[Problem] = field(default_factory=list)
    networks: dict[str, Network] = field(default_factory=dict)
    by_bridge: dict[str, Network] = field(default_factory=dict)
    bridges: dict[str, Bridge] = field(default_factory=dict)
    ports: dict[str, Port] = field(default_factory=dict)
    uplinks: dict[str, list[str]] = field(default_factory=dict)
    patches: dict[str, list[str]] = field(default_factory=dict)
    wires: dict[str, list[GuestWire]] = field(default_factory=dict)
    bound: dict[str, Mapping[Mac, Sequence[IpPrefix]]] = field(default_factory=dict)
    segments: dict[tuple[OverlayType, int], tuple[Network, SegmentWire]] = field(default_factory=dict)
    claims: dict[tuple[str, Vlan, Mac | IpPrefix], str] = field(default_factory=dict)
    links_up: set[str] = field(default_factory=set)
    guests: dict[str, PortFacts] = field(default_factory=dict)
    tunnels: dict[str, TunnelFacts] = field(default_factory=dict)
    locals: dict[str, IpAddress] = field(default_factory=dict)

    def attempt(self, kind: str, name: str, action: Callable[[], None]) -> None:
        """Run ``action``; what it raises is a problem of this object alone."""
        try:
            action()
        except WorldError as error:
            self.problems.append(Problem(kind, name, str(error)))

    def notice(self, kind: str, name: str, text: str) -> None:
        """Something to know that stops nothing."""
        self.problems.append(Problem(kind, name, text, soft=True))

    def add_network(self, network: Network) -> None:
        taken = self.by_bridge.get(network.bridge)
        if taken is not None:
            raise WorldError(f"its bridge {network.bridge} is network {taken.name}'s already; give it a bridge of its own")
        if network.bridge == self.host.tunnel_bridge:
            raise WorldError(f"{network.bridge} is the bridge of the tunnels; write another <bridge name='…'/>")
        seen = self.rows.bridges.get(network.bridge)
        if seen is not None and not seen.owner:
            raise WorldError(
                f"bridge {network.bridge} is there already and vnetd did not make it; "
                "remove it with ovs-vsctl del-br, or write another <bridge name='…'/>"
            )
        if seen is None and network.bridge in self.host.links:
            raise WorldError(f"a device called {network.bridge} is there already; write another <bridge name='…'/>")
        self.bridges[network.bridge] = Bridge(network.bridge, network.uuid or network.name, self.host.datapath)
        self.networks[network.name] = self.by_bridge[network.bridge] = network
        self.bound[network.name] = bound_addresses(network)
        self.uplinks[network.bridge], self.patches[network.bridge], self.wires[network.bridge] = [], [], []
        if network.uplink is not None:
            self.attempt("network", network.name, lambda: self.add_uplink(network))
        if network.overlay is not None:
            overlay = network.overlay
            self.attempt("network", network.name, lambda: self.add_overlay(network, overlay))

    def add_uplink(self, network: Network) -> None:
        uplink = network.uplink
        assert uplink is not None
        dev = uplink.devs[0]
        if dev in self.ports:
            raise WorldError(f"its uplink {dev} is an uplink of bridge {self.ports[dev].bridge} already")
        seen = self.rows.ports.get(dev)
        ours = seen is not None and seen.marked and seen.port.bridge == network.bridge
        if dev in self.host.default_route and not uplink.force and ours:
            # It came after the NIC: taking the NIC out again would cut off the guests, and bring the route nothing.
            self.notice("network", network.name, f"its uplink {dev} carries this host's default route, which will not work there")
        elif dev in self.host.default_route and not uplink.force:
            raise WorldError(
                f"its uplink {dev} carries this host's default route, which would be cut; "
                "write another NIC, or force='yes' on <vnet:uplink>"
            )
        if dev not in self.host.links:
            raise WorldError(f"its uplink {dev} is not on this host; write the name of a NIC as ip link shows it")
        if seen is not None and not seen.marked:
            raise WorldError(f"its uplink {dev} is in bridge {seen.port.bridge} already, by hand; remove it there first")
        self.ports[dev] = Port(dev, network.bridge, Role.UPLINK)
        self.uplinks[network.bridge].append(dev)
        self.links_up.add(dev)

    def add_overlay(self, network: Network, overlay: Overlay) -> None:
        segments = [overlay.segment, *([overlay.isolated_segment] if network.isolating else [])]
        for segment in segments:
            twin = self.segments.get((overlay.type, segment))
            if twin is not None:
                of_isolated = " (that of its isolated ports)" if segment != overlay.segment else ""
                raise WorldError(
                    f"its {overlay.type} segment {segment}{of_isolated} is network {twin[0].name}'s already; write another segment"
                )
        there, here = patch_names(network.bridge)
        mine = self.local_address(overlay)
        tunnels = []
        if mine is not None:
            self.locals[network.name] = mine
            tunnels = [self.add_tunnel(network, overlay, mine, peer.name, peer.address) for peer in overlay.peers if peer.address != mine]
        else:
            addresses = ", ".join(str(peer.address) for peer in overlay.peers[:4]) + (", …" if len(overlay.peers) > 4 else "")
            self.notice(
                "network",
                network.name,
                f"this host has none of its peers' addresses ({addresses}), so its guests talk on this host only; "
                "add a <vnet:peer> for this host, or set local_address in /etc/vnetd/vnetd.toml",
            )
        # The patch is there even without a tunnel, so that an address that comes later costs no port.
        self.ports[here] = Port(here, network.bridge, Role.PATCH, "patch", (("peer", there),))
        self.ports[there] = Port(there, self.host.tunnel_bridge, Role.PATCH, "patch", (("peer", here),))
        self.patches[network.bridge].append(here)
        isolated = overlay.isolated_segment if network.isolating else None
        wire = SegmentWire(there, overlay.segment, tuple(sorted(tunnels)), isolated)
        for segment in segments:
            self.segments[overlay.type, segment] = (network, wire)

    def local_address(self, overlay: Overlay) -> IpAddress | None:
        """The peer address that is this host's: by its setting, or by what its interfaces carry."""
        mine = {self.host.local_address} if self.host.local_address else self.host.addresses
        return next((peer.address for peer in overlay.peers if peer.address in mine), None)

    def add_tunnel(self, network: Network, overlay: Overlay, local: IpAddress, peer: str, remote: IpAddress) -> str:
        name = tunnel_name(overlay.type, local, remote)
        options = (("key", "flow"), ("local_ip", str(local)), ("remote_ip", str(remote)))
        self.ports[name] = Port(name, self.host.tunnel_bridge, Role.TUNNEL, str(overlay.type), options)
        old = self.tunnels.get(name)
        peers = {peer, *(old.peers if old else ())}
        networks = {network.name, *(old.networks if old else ())}
        self.tunnels[name] = TunnelFacts(overlay.type, local, remote, tuple(sorted(peers)), tuple(sorted(networks)))
        return name

    def add_tunnel_bridge(self) -> None:
        """br-tun, when an overlay needs it. A bridge of that name that is not vnetd's leaves the overlays out."""
        if not self.segments:
            return
        name = self.host.tunnel_bridge
        seen = self.rows.bridges.get(name)
        if (seen is None or seen.owner == TUNNELS) and (seen is not None or name not in self.host.links):
            self.bridges[name] = Bridge(name, TUNNELS, self.host.datapath)
            return
        for network, wire in dict.fromkeys(self.segments.values()):
            text = (
                f"bridge {name} is there already and vnetd did not make it, so there is no overlay; "
                "name another one as tunnel_bridge in /etc/vnetd/vnetd.toml"
            )
            self.problems.append(Problem("network", network.name, text))
            there, here = wire.patch, dict(self.ports[wire.patch].options)["peer"]
            del self.ports[there], self.ports[here]
            self.patches[network.bridge].remove(here)
        for tunnel in self.tunnels:
            del self.ports[tunnel]
        self.segments.clear()
        self.tunnels.clear()

    def add_guest(self, nic: Nic) -> None:
        network = self.network_of(nic)
        if network is None:
            return
        group = self.group_of(nic, network)
        if nic.tap is not None and self.is_anothers(nic):
            return  # libvirt has given the tap's name to another guest since; its own claim is on the way.
        if nic.tap is None:
            return  # Announced only: its tap is not there yet, and nothing can be said of a port without a name.
        if nic.tap in self.ports:
            raise WorldError(f"{nic.owner} and another both claim the tap {nic.tap}; each NIC needs its own")
        wire = guest_wire(nic, nic.tap, group, network, self.bound[network.name])
        self.guests[nic.tap] = PortFacts(
            nic.owner, network.name, group.name if group else None, nic.mac, wire.guard, wire.addresses, wire.isolated
        )
        self.note_closed(wire)
        if nic.tap not in self.host.links:
            # A port kept for it would take the next tap of that name into this network.
            raise WorldError("its tap device is not there")
        seen = self.rows.ports.get(nic.tap)
        if seen is not None and not (seen.marked or seen.libvirts):
            raise WorldError(f"a port of that name is in bridge {seen.port.bridge} already, by hand; remove it with ovs-vsctl del-port")
        self.ports[nic.tap] = Port(
            name=nic.tap,
            bridge=network.bridge,
            role=Role.GUEST,
            vlan=wire.vlan,
            ids=_ids(nic),
            mtu=nic.mtu,
            shape=shape(bandwidth_of(nic, group)),
        )
        self.note_twins(wire, network)
        self.wires[network.bridge].append(wire)
        if nic.owner_uuid is None:
            # A tap of ovs-ifup's: libvirt sets its own taps up, and knows when they should be down.
            self.links_up.add(nic.tap)

    def note_closed(self, wire: GuestWire) -> None:
        """What a port lacks to speak."""
        if wire.guard is Guard.STRICT and not wire.addresses:
            self.notice(
                "port",
                wire.port,
                "it is guarded strictly and has no address, so it may speak DHCP and nothing else; "
                "write <vnet:address> for it, or a <vnet:binding> in its network",
            )
        if wire.mac is None and wire.guard is not Guard.NONE:
            self.notice("port", wire.port, "its MAC is unknown, so it stays closed; write <mac address='…'/> for it")

    def note_twins(self, wire: GuestWire, network: Network) -> None:
        """Two ports of one VLAN that claim the same MAC or address, which the switch cannot tell from a theft."""
        for what, claim in (*([("MAC", wire.mac)] if wire.mac else []), *(("address", one) for one in wire.addresses)):
            other = self.claims.setdefault((network.bridge, wire.vlan, claim), wire.port)
            if other != wire.port:
                text = claim if isinstance(claim, str) else written(claim)
                self.notice("port", wire.port, f"its {what} {text} is {other}'s too; give each NIC its own")

    def is_anothers(self, nic: Nic) -> bool:
        """Whether the port row says that the tap is another guest's than this NIC's."""
        seen = self.rows.ports.get(nic.tap or "")
        owner = dict(seen.port.ids).get("vm-id") if seen is not None else None
        return owner is not None and nic.owner_uuid is not None and owner != nic.owner_uuid

    def network_of(self, nic: Nic) -> Network | None:
        if nic.network is not None:
            return self.networks.get(nic.network)
        return self.by_bridge.get(nic.bridge) if nic.bridge is not None else None

    def group_of(self, nic: Nic, network: Network) -> PortGroup | None:
        group = network.portgroup(nic.portgroup) if nic.network is not None else None
        if nic.portgroup is not None and group is None:
            names = ", ".join(one.name for one in network.portgroups) or "none"
            raise WorldError(f"network {network.name} has no portgroup {nic.portgroup}; it has {names}")
        return group

    def is_the_hosts(self, bridge: str) -> bool:
        """Whether the host itself may live on this bridge, with addresses and routes of its own, and guests cannot reach it there."""
        network = self.by_bridge.get(bridge)
        return network is not None and network.uplink is not None and not network.policy.host

    def finish(self, inventory: Inventory) -> Desired:
        unknown = {seen.owner for seen in self.rows.bridges.values() if seen.owner not in ("", TUNNELS)} - {
            network.uuid or network.name for network in inventory.networks
        }
        return Desired(
            bridges=self.bridges,
            ports=self.ports,
            wirings={
                bridge: NetworkWiring(
                    guests=tuple(sorted(self.wires[bridge], key=lambda wire: wire.port)),
                    uplinks=tuple(sorted(self.uplinks[bridge])),
                    patches=tuple(sorted(self.patches[bridge])),
                    host=bool(self.by_bridge[bridge].policy.host),
                    isolating=self.by_bridge[bridge].isolating,
                )
                for bridge in self.wires
            },
            tunnel_bridge=self.host.tunnel_bridge,
            segments=tuple(dict.fromkeys(wire for _, (_, wire) in sorted(self.segments.items(), key=lambda item: item[0]))),
            links_up=frozenset(self.links_up),
            quiet={
                **{name: Quiet.BRIDGE for name in self.bridges if not self.is_the_hosts(name)},
                **{name: Quiet.PORT for name, port in self.ports.items() if port.role is Role.GUEST},
            },
            gone_networks=inventory.gone_networks,
            gone_taps=inventory.gone_taps,
            # While OVSDB has a bridge whose network no source has named, more may be unknown, and nothing is pruned.
            complete=inventory.complete or unknown <= inventory.gone_networks,
            networks={network.name: network for network in inventory.networks},
            guests=self.guests,
            tunnels=self.tunnels,
            locals=self.locals,
            problems=tuple(sorted(set(self.problems))),
        )


def _merged(nics: Iterable[Nic], rows: Rows) -> list[Nic]:
    """Every NIC once, with its tap: a domain's own word before libvirt's announcement, which OVSDB gives the tap."""
    taps = _taps_by_iface_id(rows)
    by_key: dict[tuple[str | None, ...], Nic] = {}
    claimed: set[str] = set()
    # <interface type='ethernet'>: the tap's own file says the network, and its guest's XML the MAC and what is particular to it.
    guests = {nic.tap: nic for nic in nics if nic.tap and nic.mac and nic.network is None and nic.bridge is None}
    for nic in sorted(nics, key=lambda one: (one.tap is None, one.tap or "", one.owner, one.mac or "")):
        tap = nic.tap or (taps.get(nic.iface_id) if nic.iface_id else None)
        if nic.network is None and nic.bridge is None:
            continue
        if nic.tap is None and tap in claimed:
            continue
        if tap is not None:
            claimed.add(tap)
        one = _with_guest(replace(nic, tap=tap), guests.get(tap) if tap else None)
        by_key[tap, one.owner, one.mac, one.portid] = one
    return list(by_key.values())


def _with_guest(nic: Nic, guest: Nic | None) -> Nic:
    """A tap's NIC with what its guest's XML adds to its own file."""
    if guest is None or nic.mac not in (None, guest.mac):
        return nic
    return replace(nic, mac=guest.mac, policy=narrowed(nic.policy, guest.policy), addresses=(*nic.addresses, *guest.addresses))


def _taps_by_iface_id(rows: Rows) -> Mapping[str, IfName]:
    found = {}
    for name, seen in rows.ports.items():
        for key, value in seen.port.ids:
            if key == "iface-id":
                found[value] = IfName(name)
    return found


def _ids(nic: Nic) -> tuple[tuple[str, str], ...]:
    """What libvirt writes on the Interface row, so that a port put back by vnetd is the same as the one that was lost."""
    ids = {
        "attached-mac": nic.mac,
        "iface-id": nic.iface_id,
        "vm-id": nic.owner_uuid,
        "iface-status": "active" if nic.iface_id else None,
    }
    return tuple(sorted((key, str(value)) for key, value in ids.items() if value))
