"""A network's way to the wire: a NIC in its bridge, or a bond of NICs in a bridge of the bond's own.

Strategy: an Open vSwitch bond shares frames among its NICs only where the action NORMAL
sends them, and a network's bridge switches by flows. So the bond has a bridge that does
nothing but NORMAL, and a patch leads from there to the network's bridge, which takes it
for the uplink.
"""

from __future__ import annotations

from vnetd.errors import WorldError
from vnetd.intent.draft import Draft
from vnetd.intent.names import BondNames, bond_names
from vnetd.model.network import Bond, Network, Uplink
from vnetd.model.state import Bridge, Port, Role


def add_uplink(draft: Draft, network: Network, uplink: Uplink) -> None:
    """Raises WorldError where a NIC cannot be had, or should not be."""
    if uplink.bond is not None:
        _add_bond(draft, network, uplink, uplink.bond)
        return
    dev = uplink.devs[0]
    _check_nic(draft, network, dev, uplink.force)
    if dev not in draft.host.links:
        raise WorldError(f"its uplink {dev} is not on this host; write the name of a NIC as ip link shows it")
    draft.ports[dev] = Port(dev, network.bridge, Role.UPLINK)
    draft.wires[network.bridge].uplinks.append(dev)
    _take(draft, network, dev)


def _add_bond(draft: Draft, network: Network, uplink: Uplink, bond: Bond) -> None:
    names = bond_names(network.bridge)
    _check_bond_name(draft, uplink, bond, names)
    for dev in uplink.devs:
        _check_nic(draft, network, dev, uplink.force)
    present = [dev for dev in uplink.devs if dev in draft.host.links]
    if not present:
        raise WorldError(
            f"none of the NICs of its bond {bond.name} ({', '.join(uplink.devs)}) is on this host; write their names as ip link shows them"
        )
    draft.add_patch((names.here, network.bridge), (names.there, names.bridge))
    owner = draft.bridges[network.bridge].owner
    draft.bridges[names.bridge] = Bridge(names.bridge, owner, draft.host.datapath, sealed=True)
    draft.bond_bridges[names.bridge] = names.there
    columns = (("bond_mode", str(bond.mode)), ("lacp", str(bond.lacp)))
    draft.ports[bond.name] = Port(bond.name, names.bridge, Role.BOND, members=tuple(sorted(present)), bond=columns)
    draft.wires[network.bridge].uplinks.append(names.here)
    if missing := [dev for dev in uplink.devs if dev not in present]:
        are = "are" if len(missing) > 1 else "is"
        draft.notice("network", network.name, f"its bond {bond.name} works without {', '.join(missing)}, which {are} not on this host")
    for dev in present:
        _take(draft, network, dev)


def _take(draft: Draft, network: Network, dev: str) -> None:
    draft.nics[dev] = network.bridge
    draft.links_up.add(dev)
    # A link-local address is the kernel's own doing.
    for address in (one for one in draft.host.carried.get(dev, ()) if not one.is_link_local):
        draft.notice(
            "network",
            network.name,
            f"its uplink {dev} has the address {address.ip}, which nobody reaches there; move it to the bridge: "
            f"ip address del {address} dev {dev}; ip address add {address} dev {network.bridge}",
        )


def _check_nic(draft: Draft, network: Network, dev: str, force: bool) -> None:
    if dev in draft.nics:
        raise WorldError(f"its uplink {dev} is an uplink of bridge {draft.nics[dev]} already; write another NIC")
    if dev in draft.ports:
        raise WorldError(f"its uplink {dev} is the name of a port of bridge {draft.ports[dev].bridge}; write another name for one of them")
    seen = draft.holders.get(dev)
    ours = seen is not None and seen.marked and seen.port.bridge in (network.bridge, bond_names(network.bridge).bridge)
    if dev in draft.host.default_route and not force and ours:
        # It came after the NIC: taking the NIC out again would cut off the guests, and bring the route nothing.
        draft.notice("network", network.name, f"its uplink {dev} carries this host's default route, which will not work there")
    elif dev in draft.host.default_route and not force:
        raise WorldError(
            f"its uplink {dev} carries this host's default route, which would be cut; write another NIC, or force='yes' on <vnet:uplink>"
        )
    if seen is not None and not seen.marked:
        raise WorldError(f"its uplink {dev} is in bridge {seen.port.bridge} already, by hand; remove it there first")


def _check_bond_name(draft: Draft, uplink: Uplink, bond: Bond, names: BondNames) -> None:
    """A bond is a port without a device, so its name need only be free within Open vSwitch; its bridge's must be anywhere."""
    if bond.name in uplink.devs:
        raise WorldError(f"its bond is called {bond.name} as one of its NICs is; write another name as bond='…'")
    if bond.name in draft.ports:
        raise WorldError(f"its bond's name {bond.name} is that of a port of bridge {draft.ports[bond.name].bridge}; write another name")
    seen = draft.holders.get(bond.name) or draft.rows.ports.get(bond.name)
    if seen is not None and (not seen.marked or seen.port.role is not Role.BOND):
        raise WorldError(f"its bond's name {bond.name} is that of a port in bridge {seen.port.bridge}; write another name")
    if bond.name in draft.rows.bridges or bond.name in draft.bridges:
        raise WorldError(f"its bond's name {bond.name} is that of a bridge; write another name")
    helper = draft.rows.bridges.get(names.bridge)
    if (helper is not None and not helper.owner) or (helper is None and names.bridge in draft.host.links):
        raise WorldError(f"its bond {bond.name} needs a bridge called {names.bridge}, and somebody has made one; rename that")
