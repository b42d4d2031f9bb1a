"""Patches between a network's bridge and others of the host, as ``<vnet:patch>`` asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from vnetd.errors import WorldError
from vnetd.intent.draft import Draft
from vnetd.intent.loops import Joint, refused, toward
from vnetd.intent.names import joint_names
from vnetd.model.network import Network, Problem
from vnetd.model.state import TUNNELS


def add_joints(draft: Draft) -> None:
    """All of them at once, since whether one may be made depends on the others. Those that are there come first."""
    wanted: list[tuple[Network, Joint]] = []
    for network in draft.networks.values():
        # A network on a VLAN of another's bridge has been told that it may have none.
        for target in network.patches if network.name not in draft.tags else ():
            draft.attempt("network", network.name, partial(_want, draft, network, target, wanted))
    wanted.sort(key=lambda one: joint_names(one[1].one, one[1].other)[0] not in draft.rows.ports)
    exits = {bridge: list(_exits(wires.networks[0])) for bridge, wires in draft.wires.items()}
    objections = refused([joint for _, joint in wanted], exits)
    for network, joint in wanted:
        if why := objections.get(joint):
            draft.problems.append(Problem("network", network.name, why))
        else:
            draft.attempt("network", network.name, partial(_join, draft, joint))
    overlaid = {bridge for bridge, wires in draft.wires.items() if wires.networks[0].overlay is not None}
    for bridge, other in toward((joint for _, joint in wanted if joint not in objections), overlaid).items():
        draft.wires[bridge].way_out = joint_names(bridge, other)[0]


def _want(draft: Draft, network: Network, target: str, wanted: list[tuple[Network, Joint]]) -> None:
    """Note a patch whose other bridge is there. Raises WorldError for one that cannot be joined."""
    seen = draft.rows.bridges.get(target)
    fake = draft.rows.fakes.get(target)
    if target == network.bridge:
        raise WorldError(f"its patch leads to its own bridge {target}; write another bridge")
    if fake is not None:
        raise WorldError(f"its patch leads to {target}, which is VLAN {fake.tag} of bridge {fake.parent}; write bridge='{fake.parent}'")
    if target == draft.host.tunnel_bridge or target in draft.bond_bridges or (seen is not None and seen.owner == TUNNELS):
        raise WorldError(f"its patch leads to {target}, which vnetd keeps for itself; write another bridge")
    if target in draft.wires:
        wanted.append((network, Joint(network.bridge, target)))
    elif seen is None:
        draft.notice("network", network.name, f"its patch waits for bridge {target}, which is not there; make it with ovs-vsctl add-br")
    elif seen.owner:
        draft.notice("network", network.name, f"its patch waits for the network of bridge {target}, which does not run")
    elif seen.datapath != draft.host.datapath:
        raise WorldError(
            f"its patch leads to {target}, whose datapath type is {seen.datapath}, and no patch joins that to {draft.host.datapath}; "
            f"see ovs-vsctl set bridge {target} datapath_type={draft.host.datapath}"
        )
    else:
        wanted.append((network, Joint(network.bridge, target, foreign=True)))


def _exits(network: Network) -> Iterator[str]:
    """The ways out of its bridge that a network's XML asks for, whether or not they are there today: the same on every host."""
    if network.uplink is not None:
        bond = network.uplink.bond
        yield f"bond {bond.name}" if bond else f"uplink {network.uplink.devs[0]}"
    if network.overlay is not None:
        yield f"overlay {network.overlay.type} {network.overlay.segment}"


def _join(draft: Draft, joint: Joint) -> None:
    here, there = joint_names(joint.one, joint.other)
    if here in draft.ports:
        return  # The other network has asked for it, too.
    draft.add_patch((here, joint.one), (there, joint.other))
    draft.wires[joint.one].joints.append(here)
    if not joint.foreign:
        draft.wires[joint.other].joints.append(there)
