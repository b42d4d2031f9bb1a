"""The names that vnetd gives: digests of what they stand for, so that every run gives the same."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from vnetd.model.names import IpAddress
from vnetd.model.network import OverlayType

_TUNNEL_PREFIX = {OverlayType.GRE: "gre-", OverlayType.VXLAN: "vxl-", OverlayType.GENEVE: "gnv-"}


class BondNames(NamedTuple):
    """A bond's own bridge, and the patch between the network's bridge (``here``) and that (``there``)."""

    bridge: str
    here: str
    there: str


def tunnel_name(kind: OverlayType, local: IpAddress, remote: IpAddress) -> str:
    """The port of the tunnel between two addresses, the same on every run; 14 bytes."""
    return _TUNNEL_PREFIX[kind] + _digest(f"{local} {remote}")


def patch_names(bridge: str) -> tuple[str, str]:
    """The two ends of the patch between a network's bridge and the tunnel bridge: there, here."""
    digest = _digest(bridge)
    return f"to-{digest}", f"tun-{digest}"


def bond_names(bridge: str) -> BondNames:
    """What the bond of a network's bridge needs; at most 15 bytes each, as a device's name may have."""
    digest = _digest(bridge)
    return BondNames(f"bond-{digest}", f"up-{digest}", f"down-{digest}")


def joint_names(one: str, other: str) -> tuple[str, str]:
    """The two ends of the patch between two bridges, on ``one`` and on ``other``, whichever of them is named first."""
    return f"j-{_digest(f'{one} {other}')}", f"j-{_digest(f'{other} {one}')}"


def _digest(text: str) -> str:
    return hashlib.blake2s(text.encode(), digest_size=5).hexdigest()
