"""A network's overlay: its patch to the tunnel bridge, its segments and one tunnel to each peer."""

from __future__ import annotations

from vnetd.errors import WorldError
from vnetd.intent.draft import Draft
from vnetd.intent.names import patch_names, tunnel_name
from vnetd.model.names import IpAddress
from vnetd.model.network import Network, Overlay, Problem
from vnetd.model.state import TUNNELS, Bridge, Port, Role, SegmentWire, TunnelFacts


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
    tunnels = []
    if mine is not None:
        draft.locals[network.name] = mine
        tunnels = [_add_tunnel(draft, network, overlay, mine, peer.name, peer.address) for peer in overlay.peers if peer.address != mine]
    else:
        addresses = ", ".join(str(peer.address) for peer in overlay.peers[:4]) + (", …" if len(overlay.peers) > 4 else "")
        draft.notice(
            "network",
            network.name,
            f"this host has none of its peers' addresses ({addresses}), so its guests talk on this host only; "
            "add a <vnet:peer> for this host, or set local_address in /etc/vnetd/vnetd.toml",
        )
    draft.wires[network.bridge].patches.append(here)
    isolated = overlay.isolated_segment if network.isolating else None
    wire = SegmentWire(there, overlay.segment, tuple(sorted(tunnels)), isolated)
    for segment in segments:
        draft.segments[overlay.type, segment] = (network, wire)


def _local_address(draft: Draft, overlay: Overlay) -> IpAddress | None:
    """The peer address that is this host's: by its setting, or by what its interfaces carry."""
    mine = {draft.host.local_address} if draft.host.local_address else draft.host.addresses
    return next((peer.address for peer in overlay.peers if peer.address in mine), None)


def _add_tunnel(draft: Draft, network: Network, overlay: Overlay, local: IpAddress, peer: str, remote: IpAddress) -> str:
    name = tunnel_name(overlay.type, local, remote)
    options = (("key", "flow"), ("local_ip", str(local)), ("remote_ip", str(remote)))
    draft.ports[name] = Port(name, draft.host.tunnel_bridge, Role.TUNNEL, str(overlay.type), options)
    old = draft.tunnels.get(name)
    peers = {peer, *(old.peers if old else ())}
    networks = {network.name, *(old.networks if old else ())}
    draft.tunnels[name] = TunnelFacts(overlay.type, local, remote, tuple(sorted(peers)), tuple(sorted(networks)))
    return name


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
