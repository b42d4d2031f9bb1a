"""How large a guest's packets may be on an overlay: what the underlay carries, less what a tunnel puts around them.

Nothing fragments a tunnel's frames on the way, so a guest whose MTU is larger can ping,
open connections, and then sees the first large packet get lost without a word.
"""

from __future__ import annotations

from vnetd.model.network import Overlay, OverlayType, Vlan, VlanMode

USUAL = 1500
"""bytes: an interface's MTU where nobody says otherwise, and an underlay's."""

_IP = {4: 20, 6: 40}
_ETHERNET = 14
_TUNNEL = {
    OverlayType.GRE: 4 + 4,  # RFC 2784, and RFC 2890's key
    OverlayType.VXLAN: 8 + 8,  # UDP, RFC 7348
    OverlayType.GENEVE: 8 + 8,  # UDP, RFC 8926 without options
}
_TAG = 4


def overhead(overlay: Overlay, vlan: Vlan) -> int:
    """Bytes of an underlay's packet that a guest's packet cannot have, when it comes from a port of this VLAN."""
    return _IP[overlay.peers[0].address.version] + _TUNNEL[overlay.type] + _ETHERNET + _tags(vlan) * _TAG


def _tags(vlan: Vlan) -> int:
    """How many tags its frames may have in the tunnel."""
    if vlan.mode is VlanMode.DOT1Q_TUNNEL:
        return 2
    return 0 if vlan.mode is VlanMode.ACCESS and not vlan.tag else 1


def tunnel_words(overlay: Overlay, vlan: Vlan) -> str:
    """What stands around a guest's packet: ``gre over IPv4 with a VLAN tag``."""
    tags = ("", " with a VLAN tag", " with two VLAN tags")[_tags(vlan)]
    return f"{overlay.type} over IPv{overlay.peers[0].address.version}{tags}"
