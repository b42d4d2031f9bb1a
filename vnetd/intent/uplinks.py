"""A network's way to the wire: a NIC in its bridge, or a bond of NICs in a bridge of the bond's own.

Strategy: an Open vSwitch bond shares frames among its NICs only where the action NORMAL
sends them, and a network's bridge switches by flows. So the bond has a bridge that does
nothing but NORMAL, and a patch leads from there to the network's bridge, which takes it
for the uplink.
"""

from __future__ import annotations

from collections.abc import Sequence

from vnetd.errors import WorldError
from vnetd.intent.draft import Draft
from vnetd.intent.names import bond_names
from vnetd.model.network import Bond, Network, Uplink
from vnetd.model.state import Bridge, Port, Role, SeenPort


def add_uplink(draft: Draft, network: Network, uplink: Uplink) -> None:
    """Raises WorldError where a NIC cannot be had, or should not be; the uplink that was there stays then."""
    try:
        if uplink.bond is not None:
            _add_bond(draft, network, uplink, uplink.bond)
        else:
            _add_nic(draft, network, uplink)
    except WorldError:
        _keep(draft, network)
        raise


def _add_nic(draft: Draft, network: Network, uplink: Uplink) -> None:
    dev = uplink.devs[0]
    _check_nic(draft, network, dev, uplink.force)
    if dev not in draft.host.links:
        raise WorldError(f"its uplink {dev} is not on this host; write the name of a NIC as ip link shows it")
    _put_nic(draft, network, dev)


def _put_nic(draft: Draft, network: Network, dev: str) -> None:
    draft.ports[dev] = Port(dev, network.bridge, Role.UPLINK)
    draft.wires[network.bridge].uplinks.append(dev)
    _take(draft, network, dev)


def _add_bond(draft: Draft, network: Network, uplink: Uplink, bond: Bond) -> None:
    _check_bond_name(draft, network, uplink, bond)
    for dev in uplink.devs:
        _check_nic(draft, network, dev, uplink.force)
    present = [dev for dev in uplink.devs if dev in draft.host.links]
    if not present:
        raise WorldError(
            f"none of the NICs of its bond {bond.name} ({', '.join(uplink.devs)}) is on this host; write their names as ip link shows them"
        )
    _put_bond(draft, network, bond.name, present, (("bond_mode", str(bond.mode)), ("lacp", str(bond.lacp))))
    if missing := [dev for dev in uplink.devs if dev not in present]:
        are = "are" if len(missing) > 1 else "is"
        draft.notice("network", network.name, f"its bond {bond.name} works without {', '.join(missing)}, which {are} not on this host")


def _put_bond(draft: Draft, network: Network, name: str, nics: Sequence[str], columns: tuple[tuple[str, str], ...]) -> None:
    names = bond_names(network.bridge)
    draft.add_patch((names.here, network.bridge), (names.there, names.bridge))
    owner = draft.bridges[network.bridge].owner
    draft.bridges[names.bridge] = Bridge(names.bridge, owner, draft.host.datapath, sealed=True)
    draft.bond_bridges[names.bridge] = names.there
    draft.ports[name] = Port(name, names.bridge, Role.BOND, members=tuple(sorted(nics)), bond=columns)
    draft.wires[network.bridge].uplinks.append(names.here)
    for dev in nics:
        _take(draft, network, dev)


def _keep(draft: Draft, network: Network) -> None:
    """The network's uplink as it is, less NICs that are gone: a mistake in a change must not cut its guests off."""
    own = draft.bridges[network.bridge].owner
    for name, seen in sorted(draft.rows.ports.items()):
        role, bridge = seen.port.role, seen.port.bridge
        nics = [dev for dev, _ in seen.interfaces if dev in draft.host.links and dev not in draft.nics and dev not in draft.ports]
        if not seen.marked or draft.owner_of(bridge) != own or not nics:
            continue
        if role is Role.UPLINK and bridge == network.bridge:
            _put_nic(draft, network, name)
            return
        if role is Role.BOND and bridge == bond_names(network.bridge).bridge and name not in draft.ports:
            _put_bond(draft, network, name, nics, seen.port.bond)
            return


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
    if draft.is_bridge(dev):
        raise WorldError(
            f"its uplink {dev} is a bridge of Open vSwitch; write the name of a NIC, or <vnet:patch bridge='{dev}'/> to join another bridge"
        )
    if dev in draft.ports:
        raise WorldError(f"its uplink {dev} is the name of a port of bridge {draft.ports[dev].bridge}; write another name for one of them")
    seen = draft.holders.get(dev)
    if seen is not None:
        _check_holder(draft, network, dev, seen)
    if dev in draft.host.default_route and not force:
        if seen is None or draft.owner_of(seen.port.bridge) != draft.bridges[network.bridge].owner:
            raise WorldError(
                f"its uplink {dev} carries this host's default route, which would be cut; "
                "write another NIC, or force='yes' on <vnet:uplink>"
            )
        # It came after the NIC: taking the NIC out again would cut off the guests, and bring the route nothing.
        draft.notice("network", network.name, f"its uplink {dev} carries this host's default route, which will not work there")


def _check_holder(draft: Draft, network: Network, dev: str, seen: SeenPort) -> None:
    """Raises WorldError unless the port that has the NIC is an uplink or a bond, and may be this network's."""
    bridge, role = seen.port.bridge, seen.port.role
    owner = draft.owner_of(bridge)
    if _may_have(draft, network, seen):
        return
    if not seen.marked and not seen.libvirts:
        raise WorldError(f"its uplink {dev} is in bridge {bridge} already, by hand; remove it there first")
    if not seen.marked or role is Role.GUEST:
        raise WorldError(f"its uplink {dev} is a guest's, in bridge {bridge}; write the name of a NIC of the host")
    if role not in (Role.UPLINK, Role.BOND):
        raise WorldError(f"its uplink {dev} is a {role} of vnetd's in bridge {bridge}; write the name of a NIC of the host")
    if owner in draft.known:
        other = draft.known[owner].name
        raise WorldError(f"its uplink {dev} is network {other}'s, in bridge {bridge}; take it out of that network's <vnet:uplink> first")
    raise WorldError(f"its uplink {dev} is that of a network not read yet, in bridge {bridge}; write another NIC, or remove it there first")


def _may_have(draft: Draft, network: Network, seen: SeenPort) -> bool:
    """Whether a port is an uplink or a bond of this network's, or of one that is no more. One that is served lets go of it first."""
    owner = draft.owner_of(seen.port.bridge)
    mine = owner == draft.bridges[network.bridge].owner or draft.is_gone(owner)
    return mine and seen.marked and seen.port.role in (Role.UPLINK, Role.BOND)


def _check_bond_name(draft: Draft, network: Network, uplink: Uplink, bond: Bond) -> None:
    """A bond is a port without a device, so its name need only be free within Open vSwitch; its bridge's must be anywhere."""
    if bond.name in uplink.devs:
        raise WorldError(f"its bond is called {bond.name} as one of its NICs is; write another name as bond='…'")
    if bond.name in draft.ports:
        raise WorldError(f"its bond's name {bond.name} is that of a port of bridge {draft.ports[bond.name].bridge}; write another name")
    if draft.is_bridge(bond.name):
        raise WorldError(f"its bond's name {bond.name} is that of a bridge; write another name")
    seen = draft.holders.get(bond.name) or draft.rows.ports.get(bond.name)
    if seen is not None and not (seen.port.role is Role.BOND and _may_have(draft, network, seen)):
        raise WorldError(f"its bond's name {bond.name} is that of a port in bridge {seen.port.bridge}; write another name")
    home = bond_names(network.bridge).bridge
    helper = draft.rows.bridges.get(home)
    if (helper is not None and not helper.owner) or (helper is None and home in draft.host.links):
        raise WorldError(f"its bond {bond.name} needs a bridge called {home}, and somebody has made one; rename that")
