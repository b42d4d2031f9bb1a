"""The pipeline of a bond's bridge: between its NICs and the patch to its network's bridge, and nobody else.

NORMAL alone shares frames among the NICs of a bond, and refuses what a NIC brings that
the others have brought already (ovs-vswitchd.conf.db(5), "Bonding Configuration"). It
also floods to the bridge's own port; so that port is put into VLAN ``NOWHERE`` alone,
and a frame of that VLAN is dropped here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from vnetd.pipeline.catalogue import Cookie, Reason
from vnetd.pipeline.flow import Flow

NOWHERE = 4095
"""A VLAN ID that no frame on a wire may have (IEEE 802.1Q, table 9-2)."""


def bond_flows(patch: str, members: Iterable[str], live: Collection[str]) -> list[Flow]:
    """All flows of a bond's bridge whose ports are ``live``."""
    return [
        Flow(0, 0, "", "drop", Reason.UNWIRED.direct),
        Flow(0, 200, f"dl_vlan={NOWHERE}", "drop", Cookie.BOND),
        *(Flow(0, 100, f"in_port=<{name}>", "NORMAL", Cookie.BOND) for name in (*members, patch) if name in live),
    ]
