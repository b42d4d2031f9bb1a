"""How large a guest's packets may be on an overlay: what the underlay carries, less what a tunnel puts around them.

Nothing fragments a tunnel's frames on the way, so a guest whose MTU is larger can ping,
open connections, and then sees the first large packet get lost without a word.
"""

from __future__ import annotations

from vnetd.model.network import Network, Overlay, OverlayType, Vlan, VlanMode

USUAL = 1500
"""bytes: an interface's MTU where nobody says otherwise, and an underlay's."""

_IP = {4: 20, 6: 40}
_ETHERNET = 14
_TUNNEL = {
    OverlayType.GRE: 4 + 4,  # RFC 2784, and RFC 2890's key
    OverlayType.VXLAN: 8 + 8,  # UDP, RFC 7348
    OverlayType.GENEVE: 8 + 8,  # UDP, RFC 8926 without options
}
_GRE_CHECKSUM = 4
_TAG = 4


def around(overlay: Overlay, version: int | None = None) -> int:
    """Bytes of an underlay's packet before the frame inside, by IPv4 or IPv6; without ``version``, as the peers' addresses say."""
    checksum = _GRE_CHECKSUM if overlay.encapsulation.csum and overlay.type is OverlayType.GRE else 0
    return _IP[version or version_of(overlay)] + _TUNNEL[overlay.type] + checksum


def within(vlan: Vlan) -> int:
    """Bytes of a frame in the tunnel before the packet inside, when it comes from a port of this VLAN."""
    return _ETHERNET + _tags(vlan) * _TAG


def widest(network: Network) -> Vlan:
    """Of the VLANs that the network's ports may be in, the one whose frames have the most tags."""
    groups = [Vlan(VlanMode.DOT1Q_TUNNEL, 1) if group.qinq else group.vlan for group in network.portgroups]
    return max((vlan for vlan in (network.vlan, *groups) if vlan is not None), key=_tags, default=Vlan(VlanMode.ACCESS))


def overhead(overlay: Overlay, vlan: Vlan) -> int:
    """Bytes of an underlay's packet that a guest's packet cannot have, when it comes from a port of this VLAN."""
    return around(overlay) + within(vlan)


def version_of(overlay: Overlay) -> int:
    """The IP version of the peers' addresses; of names alone nobody knows it yet, and most have IPv4."""
    return next((peer.address.version for peer in overlay.peers if not isinstance(peer.address, str)), 4)


def _tags(vlan: Vlan) -> int:
    """How many tags its frames may have in the tunnel."""
    if vlan.mode is VlanMode.DOT1Q_TUNNEL:
        return 2
    return 0 if vlan.mode is VlanMode.ACCESS and not vlan.tag else 1


def tunnel_words(overlay: Overlay, vlan: Vlan, version: int | None = None) -> str:
    """What stands around a guest's packet: ``gre over IPv4 with a VLAN tag``."""
    tags = ("", " with a VLAN tag", " with two VLAN tags")[_tags(vlan)]
    return f"{overlay.type} over IPv{version or version_of(overlay)}{tags}"
