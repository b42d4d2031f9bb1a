"""From what the sources say to what should be: one pure function, ``desire``.

Strategy: networks first, those that run before newcomers, then NICs. Whatever is wrong
with one of them becomes a Problem of that one and nothing more; the others are
served. Names that vnetd gives (patches, tunnels, bonds' bridges) depend only on what
they stand for, so that every host and every run gives the same.
"""

from __future__ import annotations

from functools import partial

from vnetd.intent.answers import add_answers
from vnetd.intent.bridges import add_network, seniority
from vnetd.intent.claims import merged
from vnetd.intent.draft import Draft
from vnetd.intent.guests import add_guest
from vnetd.intent.joints import add_joints
from vnetd.intent.lacks import note_lacks
from vnetd.intent.names import bond_names, joint_names, patch_names, tunnel_name
from vnetd.intent.overlays import add_tunnel_bridge
from vnetd.model.network import Inventory
from vnetd.model.state import Desired, Host, Rows

__all__ = ["bond_names", "desire", "joint_names", "patch_names", "tunnel_name"]


def desire(inventory: Inventory, host: Host, rows: Rows) -> Desired:
    """What should be on ``host``. ``rows`` only tells which tap libvirt made for which NIC, and what others have made."""
    draft = Draft(host, rows, inventory, problems=list(inventory.problems))
    for network in sorted(inventory.networks, key=partial(seniority, rows)):
        draft.attempt("network", network.name, partial(add_network, draft, network))
    add_tunnel_bridge(draft)
    add_joints(draft)
    for nic in merged(inventory.nics, rows):
        draft.attempt("port", nic.tap or f"of {nic.owner} {nic.mac}", partial(add_guest, draft, nic))
    add_answers(draft)
    note_lacks(draft)
    return draft.finish()
