"""What the sources say of NICs, put together: each NIC once, with its tap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from vnetd.model.names import IfName
from vnetd.model.network import Nic
from vnetd.model.state import Rows
from vnetd.policy import narrowed


def merged(nics: Iterable[Nic], rows: Rows) -> list[Nic]:
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
    return replace(
        nic,
        mac=guest.mac,
        policy=narrowed(nic.policy, guest.policy),
        qos=narrowed(nic.qos, guest.qos),
        addresses=(*nic.addresses, *guest.addresses),
    )


def _taps_by_iface_id(rows: Rows) -> Mapping[str, IfName]:
    found = {}
    for name, seen in rows.ports.items():
        for key, value in seen.port.ids:
            if key == "iface-id":
                found[value] = IfName(name)
    return found
