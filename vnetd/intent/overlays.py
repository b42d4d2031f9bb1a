"""A network's overlay: its patch to the tunnel bridge, its segments and one tunnel to each peer."""

from __future__ import annotations

from dataclasses import replace

from vnetd.errors import WorldError
from vnetd.intent.draft import Carrier, Draft
from vnetd.intent.names import patch_names, tunnel_name
from vnetd.model.dataplane import USERSPACE
from vnetd.model.names import IpAddress
from vnetd.model.network import Network, Overlay, OverlayType, Peer, Problem
from vnetd.model.state import TUNNELS, Bridge, Port, Role, SegmentWire, TunnelFacts, TunnelWire
from vnetd.mtu import around, widest, within

GRE_IN_IPV6 = "ip6gre"
"""The Interface.type of GRE over IPv6 on the kernel's data plane; the userspace one has it under "gre" (ovs-vswitchd.conf.db(5))."""


def add_overlay(draft: Draft, network: Network, overlay: Overlay) -> None:
    """Raises WorldError where another network has one of its segments, or somebody a port of its patch's name."""
    segments = [overlay.segment, *([overlay.isolated_segment] if network.isolating else [])]
    for segment in segments:
        twin = draft.segments.get((overlay.type, segment))
        if twin is not None:
            of_isolated = " (that of its isolated ports)" if segment != overlay.segment else ""
            raise WorldError(
                f"its {overlay.type} segment {segment}{of_isolated} is network {twin[0].name}'s already; write another segment"
            )
    there, here = patch_names(network.bridge)
    # The patch is there even without a tunnel, so that an address that comes later costs no port.
    draft.add_patch((here, network.bridge), (there, draft.host.tunnel_bridge))
    mine = _local_address(draft, overlay)
    tunnels: list[str] = []
    if mine is not None:
        draft.locals[network.name] = mine
        tunnels = _add_tunnels(draft, network, overlay, mine)
        _measure(draft, network, overlay, mine, tunnels)
    else:
        _note_stranger(draft, network, overlay)
    draft.wires[network.bridge].patches.append(here)
    isolated = overlay.isolated_segment if network.isolating else None
    wire = SegmentWire(there, overlay.segment, tuple(sorted(set(tunnels))), isolated)
    for segment in segments:
        draft.segments[overlay.type, segment] = (network, wire)


def _addresses(draft: Draft, peer: Peer) -> tuple[IpAddress, ...]:
    """What a peer's tunnels may end at; nothing while its name has not been looked up."""
    return draft.host.learned.names.get(peer.address, ()) if isinstance(peer.address, str) else (peer.address,)


def _local_address(draft: Draft, overlay: Overlay) -> IpAddress | None:
    """The peer address that is this host's: by its setting, or by what its interfaces carry."""
    mine = {draft.host.local_address} if draft.host.local_address else draft.host.addresses
    return next((one for peer in overlay.peers for one in _addresses(draft, peer) if one in mine), None)


def _note_stranger(draft: Draft, network: Network, overlay: Overlay) -> None:
    addresses = ", ".join(str(peer.address) for peer in overlay.peers[:4]) + (", …" if len(overlay.peers) > 4 else "")
    draft.notice(
        "network",
        network.name,
        f"this host has none of its peers' addresses ({addresses}), so its guests talk on this host only; "
        "add a <vnet:peer> for this host, or set local_address in /etc/vnetd/vnetd.toml",
    )
    for peer in overlay.peers:
        if not _addresses(draft, peer):
            # It may be this host's own name.
            _note_unknown(draft, network, peer)


def _note_unknown(draft: Draft, network: Network, peer: Peer) -> None:
    why = draft.host.learned.failing.get(str(peer.address))
    _note_left_out(draft, network, peer, f"no address yet{f': {why}' if why else ''}")


def _note_left_out(draft: Draft, network: Network, peer: Peer, what: str) -> None:
    draft.notice("network", network.name, f"its peer {peer.name} is left out, since {peer.address} has {what}")


def _add_tunnels(draft: Draft, network: Network, overlay: Overlay, mine: IpAddress) -> list[str]:
    """A tunnel to each peer but this host. One whose name has no address yet, or none of this kind, is left out, and said."""
    found = []
    for peer in overlay.peers:
        addresses = _addresses(draft, peer)
        if mine in addresses:
            continue
        remote = next((one for one in addresses if one.version == mine.version), None)
        if remote is not None:
            found.append(_add_tunnel(draft, network, overlay, mine, peer.name, remote))
        elif addresses:
            _note_left_out(draft, network, peer, f"no IPv{mine.version} address")
        else:
            _note_unknown(draft, network, peer)
    return found


def _add_tunnel(draft: Draft, network: Network, overlay: Overlay, local: IpAddress, peer: str, remote: IpAddress) -> str:
    name = tunnel_name(overlay.type, local, remote)
    options = tuple(sorted((("key", "flow"), ("local_ip", str(local)), ("remote_ip", str(remote)), *overlay.encapsulation.options)))
    port = Port(name, draft.host.tunnel_bridge, Role.TUNNEL, _port_type(draft, overlay, remote), options, bfd=_watch(overlay))
    old = draft.tunnels.get(name)
    if old is not None:
        _note_other_ways(draft, network, port)
        peers, networks = {peer, *old.peers}, {network.name, *old.networks}
        draft.tunnels[name] = replace(old, peers=tuple(sorted(peers)), networks=tuple(sorted(networks)))
        return name
    draft.ports[name], draft.deciders[name] = port, (network, overlay)
    watched = overlay.bfd is not None
    seen = draft.rows.ports.get(name)
    path = draft.host.learned.paths.get(remote)
    room = path - around(overlay, remote.version) if path and overlay.encapsulation.df is not False else None
    wire = TunnelWire(not watched or (seen is not None and seen.bfd_state == "up"), room)
    draft.tunnels[name] = TunnelFacts(overlay.type, local, remote, (peer,), (network.name,), watched, wire, path)
    if wire.alive and remote in draft.host.learned.silent:
        draft.notice(
            "tunnel",
            name,
            f"its peer {peer} ({remote}) answers no ICMP echo, so that nobody knows how large packets to it may be; "
            "let ICMP pass between the hosts",
        )
    return name


def _port_type(draft: Draft, overlay: Overlay, remote: IpAddress) -> str:
    """Interface.type. The kernel's data plane has a type of its own for GRE over IPv6, and drops what comes so on a port of the other."""
    if overlay.type is OverlayType.GRE and remote.version == 6 and draft.host.datapath != USERSPACE:
        return GRE_IN_IPV6
    return str(overlay.type)


def _watch(overlay: Overlay) -> tuple[tuple[str, str], ...]:
    """Interface.bfd. Without the check of the key, whatever a guest sends in its own segment could pass for the peer's."""
    bfd = overlay.bfd
    if bfd is None:
        return ()
    interval = str(bfd.interval)
    return (("check_tnl_key", "true"), ("enable", "true"), ("min_rx", interval), ("min_tx", interval), ("mult", str(bfd.multiplier)))


def _note_other_ways(draft: Draft, network: Network, port: Port) -> None:
    """Networks share their tunnels, so that only one of them can say how packets are put into one, and how it is watched."""
    there, (decider, _) = draft.ports[port.name], draft.deciders[port.name]
    if (there.options, there.bfd) != (port.options, port.bfd):
        elements = [] if there.options == port.options else ["csum, df, ttl and tos"]
        elements += [] if there.bfd == port.bfd else ["<vnet:bfd>"]
        draft.notice(
            "network",
            network.name,
            f"it shares tunnels with network {decider.name}, whose {' and '.join(elements)} they follow; write the same in both",
        )


def _measure(draft: Draft, network: Network, overlay: Overlay, mine: IpAddress, tunnels: list[str]) -> None:
    """What the overlay carries to the worst of its living peers; while none lives, to the worst of those that were measured.

    Where the underlay may fragment, it carries all.
    """
    whole = [name for name in tunnels if draft.deciders[name][1].encapsulation.df is not False]
    measured = [(_room(draft, name, path), draft.tunnels[name].wire.alive) for name in whole if (path := draft.tunnels[name].path_mtu)]
    ways = [way for way in measured if way[1]] or measured
    if not ways:
        return
    # Which of the peers it is must not show in what is told of ports, or a death would be told of each of them.
    room = min(room for room, _ in ways)
    draft.carriers[network.bridge] = Carrier(network.name, overlay, mine.version, room)
    draft.mtus[network.name] = room - within(widest(network))


def _room(draft: Draft, tunnel: str, path: int) -> int:
    """The largest frame in bytes that a tunnel carries whole, by a path of this MTU."""
    _, overlay = draft.deciders[tunnel]
    return path - around(overlay, draft.tunnels[tunnel].remote.version)


def add_tunnel_bridge(draft: Draft) -> None:
    """br-tun, when an overlay needs it. A bridge of that name that is not vnetd's leaves the overlays out."""
    if not draft.segments:
        return
    name = draft.host.tunnel_bridge
    seen = draft.rows.bridges.get(name)
    if (seen is None or seen.owner == TUNNELS) and (seen is not None or name not in draft.host.links):
        draft.bridges[name] = Bridge(name, TUNNELS, draft.host.datapath)
        return
    for network, wire in dict.fromkeys(draft.segments.values()):
        text = (
            f"bridge {name} is there already and vnetd did not make it, so there is no overlay; "
            "name another one as tunnel_bridge in /etc/vnetd/vnetd.toml"
        )
        draft.problems.append(Problem("network", network.name, text))
        there, here = wire.patch, dict(draft.ports[wire.patch].options)["peer"]
        del draft.ports[there], draft.ports[here]
        draft.wires[network.bridge].patches.remove(here)
    for tunnel in draft.tunnels:
        del draft.ports[tunnel]
    draft.segments.clear()
    draft.tunnels.clear()
    draft.carriers.clear()
    draft.mtus.clear()
