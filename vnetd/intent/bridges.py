"""The bridge of each network: its own, or a VLAN of another network's."""

from __future__ import annotations

from vnetd.errors import WorldError
from vnetd.intent.draft import Draft, Wires
from vnetd.intent.overlays import add_overlay
from vnetd.intent.uplinks import add_uplink
from vnetd.model.network import UNTAGGED, Network, Problem, Vlan, VlanMode
from vnetd.model.state import Bridge, FakeBridge, Rows
from vnetd.policy import bound_addresses


def seniority(rows: Rows, network: Network) -> tuple[bool, bool, str, str]:
    """Networks that run come before newcomers, so that what a newcomer takes by mistake is not taken from them.

    Those on another's bridge come last, since that one must be there.
    """
    seen = rows.bridges.get(network.bridge)
    newcomer = seen is None or seen.owner != (network.uuid or network.name)
    return network.bridge in rows.fakes, newcomer, network.name, network.uuid


def add_network(draft: Draft, network: Network) -> None:
    """The network's bridge, its uplink and its overlay. Raises WorldError where the bridge is another's."""
    taken = draft.by_bridge.get(network.bridge)
    if taken is not None:
        raise WorldError(f"its bridge {network.bridge} is network {taken.name}'s already; give it a bridge of its own")
    if network.bridge == draft.host.tunnel_bridge:
        raise WorldError(f"{network.bridge} is the bridge of the tunnels; write another <bridge name='…'/>")
    fake = draft.rows.fakes.get(network.bridge)
    if fake is not None:
        _add_on_parent(draft, network, fake)
        return
    check_free_bridge(draft, network.bridge, "write another <bridge name='…'/>")
    draft.bridges[network.bridge] = Bridge(network.bridge, network.uuid or network.name, draft.host.datapath)
    draft.wires[network.bridge] = Wires([network])
    _serve(draft, network, network.bridge)
    if network.uplink is not None:
        uplink = network.uplink
        draft.attempt("network", network.name, lambda: add_uplink(draft, network, uplink))
    if network.overlay is not None:
        overlay = network.overlay
        draft.attempt("network", network.name, lambda: add_overlay(draft, network, overlay))


def check_free_bridge(draft: Draft, name: str, instead: str) -> None:
    """Raises WorldError where somebody else has a bridge or a device of that name."""
    seen = draft.rows.bridges.get(name)
    if seen is not None and not seen.owner:
        raise WorldError(f"bridge {name} is there already and vnetd did not make it; remove it with ovs-vsctl del-br, or {instead}")
    if seen is None and name in draft.host.links:
        raise WorldError(f"a device called {name} is there already; {instead}")


def _serve(draft: Draft, network: Network, home: str) -> None:
    draft.networks[network.name] = draft.by_bridge[network.bridge] = network
    draft.homes[network.name] = home
    draft.bound[network.name] = bound_addresses(network)


def _add_on_parent(draft: Draft, network: Network, fake: FakeBridge) -> None:
    """A network whose bridge is one VLAN of another network's: its guests are wired there, by their own rules."""
    wires = draft.wires.get(fake.parent)
    if wires is None:
        raise WorldError(
            f"its bridge {network.bridge} is VLAN {fake.tag} of bridge {fake.parent}, which is no network's that vnetd serves; "
            f"start the network of {fake.parent}, or write another <bridge name='…'/>"
        )
    wires.networks.append(network)
    _serve(draft, network, fake.parent)
    draft.tags[network.name] = fake.tag
    own = [("<vnet:uplink>", network.uplink), ("<vnet:overlay>", network.overlay), ("<vnet:patch>", network.patches)]
    for element in [element for element, value in own if value]:
        text = f"its bridge {network.bridge} is a VLAN of {fake.parent} and goes where that goes; write {element} there"
        draft.problems.append(Problem("network", network.name, text))
    if network.isolating and (why := why_not_isolated(draft, network)):
        draft.problems.append(Problem("network", network.name, why))
    if network.policy.host:
        draft.notice(
            "network", network.name, f"host='yes' does nothing here: its bridge {network.bridge} is a VLAN of {fake.parent}; write it there"
        )


def why_not_isolated(draft: Draft, network: Network) -> str:
    """Why no port of the network can be isolated, or nothing: its frames travel by the parent's overlay, in the segments of that."""
    parent = draft.by_bridge[draft.homes[network.name]]
    if parent.overlay is None or parent.isolating:
        return ""
    return (
        f"isolated='yes' needs the overlay of network {parent.name}, of whose bridge its own is a VLAN, to carry it; "
        "write isolated='yes' there too, in a <vnet:portgroup> or for all"
    )


def vlan_on_parent(network: Network, tag: int, vlan: Vlan) -> Vlan:
    """The VLAN of a port whose network is one VLAN of another's bridge. Raises WorldError where the port should be in another."""
    mine = Vlan(VlanMode.ACCESS, tag or None)
    if vlan not in (UNTAGGED, mine):
        raise WorldError(
            f"it should be {vlan}, and bridge {network.bridge} is VLAN {tag} alone; write no <vlan> for it, or another network"
        )
    return mine
